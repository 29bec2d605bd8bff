# Every target does its own set-up: the virtual environment in .venv is made when it is missing.
PYTHON := .venv/bin/python
RUN := .venv/bin/
ARGS ?=
PARALLEL := -n auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup packages web run test check format lint types contracts lint-web types-web test-web pictures docs bench measure prove

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:
	@./server --prepare dev

packages:
	@.ci/packages

web: setup ## Build the editor
	$(PYTHON) web/build.py --again

run: ## Start everything in one process, on http://127.0.0.1:8080
	./server server

test: setup packages web ## Run the tests, as many at once as there are cores; ARGS="tests/store -k lease" runs some
	$(PYTHON) -m pytest $(PARALLEL) $(ARGS)

check: format lint types contracts lint-web types-web test-web test ## All that must pass before a commit

format: setup ## Is the code formatted?
	$(RUN)ruff format --check .

lint: setup ## Does the linter find anything?
	$(RUN)ruff check .

types: setup ## Do the types fit?
	$(RUN)mypy

contracts: setup ## Do imports point one way?
	$(RUN)lint-imports

lint-web: setup ## Is the editor's code formatted, and does its linter find anything?
	$(PYTHON) web/build.py run lint

types-web: setup ## Do the editor's types fit each other and the API?
	$(RUN)server openapi > web/openapi.json
	$(PYTHON) web/build.py run types
	$(PYTHON) web/build.py run check

test-web: setup ## Run the editor's own tests; those in a browser are in tests/web
	$(PYTHON) web/build.py run test

pictures: setup packages web ## Take the pictures of docs/editor.md anew
	PICTURES=$(CURDIR)/docs/images $(PYTHON) -m pytest tests/web/test_canvas.py -k two_people

docs: setup ## Write docs/reference from the code
	$(PYTHON) -m docs.generate

bench: setup ## Measure the product as shipped, in three minutes; `python -m benchmarks` is the full measurement
	$(PYTHON) -m benchmarks $(or $(ARGS),pure effectful forty claim start --seconds 2 --connections 1 50 --out bench.json)

measure: setup packages ## Measure everything, in twenty minutes, and write docs/benchmarks.md
	$(PYTHON) -m benchmarks --seconds 2 $(ARGS)
	$(PYTHON) -m benchmarks.page

prove: setup packages ## The long tests: simulation, state machine, and chaos, whose result goes to benchmarks/results/chaos.json
	$(PYTHON) -m pytest -m prove $(ARGS)
