#!/usr/bin/env bash
# Proves that the scaled deployment scales: load balancing, readiness, the API, workers, fail-over, scaling up and down,
# and live editing over instances.
#
#   ./test-scaling.sh           with containers, by docker-compose.scale.yml
#   ./test-scaling.sh --local   the same topology as processes of this machine, behind nginx; no container engine
#
# Leaves nothing behind but the images; with --keep it leaves the deployment running when all checks hold, for a look
# around. The containers are a project of their own (mel-test-scaling): no other deployment is touched.
set -euo pipefail
cd "$(dirname "$0")"

PROJECT=(-p mel-test-scaling -f docker-compose.scale.yml)
URL=http://localhost:${MEL_HTTP_PORT:-8080}

say() { printf '%s\n' "$*"; }
fail() { say "FAIL  $*"; exit 1; }

locally() {
    ./server --prepare
    .ci/packages nginx-light redis-server
    PYTHONPATH=. exec .venv/bin/python -m deploy.local.scaling "$@"
}

compose() {
    if docker compose version >/dev/null 2>&1; then docker compose "${PROJECT[@]}" "$@"; else docker-compose "${PROJECT[@]}" "$@"; fi
}

answers_from() { # how many instances answer through nginx
    for _ in $(seq 1 30); do curl -sf -o /dev/null -D - "$URL/health" | tr -d '\r' | awk -F': ' 'tolower($1) == "x-mel-instance" { print $2 }'; done | sort -u | wc -l
}

until_answers_from() {
    for _ in $(seq 1 60); do
        [ "$(answers_from)" -eq "$1" ] && return
        sleep 1
    done
    fail "expected answers from $1 instances, got $(answers_from)"
}

run_workflow() { # starts a run through nginx and waits for its end
    curl -sf -H "X-API-Key: $MEL_API_KEY" -H 'Content-Type: application/json' "$URL/api/workflow-runs" -d '{
        "name": "scaling", "wait_seconds": 60,
        "definition": {
            "nodes": [{"id": "start", "type": "manual_trigger"},
                      {"id": "say", "type": "set", "config": {"fields": {"text": "it works"}}}],
            "edges": [{"source": "start", "target": "say"}]}}' | grep "\"status\":\"completed\"" >/dev/null
}

live_editing() { # two people on two instances through nginx; the instance of one of them is killed
    local word rest
    coproc EDITING { compose run --rm -T --no-deps -e "MEL_API_KEY=$MEL_API_KEY" worker python -c "$(cat deploy/local/editing.py)" http://nginx:8080 2>&1; }
    while read -r word rest <&"${EDITING[0]}"; do
        case $word in
        kill) docker kill "${rest%-*}" >/dev/null && echo killed >&"${EDITING[1]}" ;; # a container is called as its host
        ok) say "ok    live editing: $rest" && return ;;
        FAIL) fail "live editing: $rest" ;;
        esac
    done
    fail "live editing ended without a word"
}

in_containers() {
    docker info >/dev/null 2>&1 || fail "no container engine answers here; ./test-scaling.sh --local needs none"
    export MEL_API_KEY=${MEL_API_KEY:-change-me}
    trap 'compose down --volumes --remove-orphans >/dev/null 2>&1' EXIT
    compose up -d --build --scale api=3 --scale worker=2
    until_answers_from 3
    say "ok    readiness and load balancing: three instances answer"
    curl -sf "$URL/ready" >/dev/null || fail "not ready"
    [ "$(curl -sf "$URL/api/node-types" | tr ',' '\n' | grep -c '"entry_point"')" -gt 5 ] || fail "no node types"
    say "ok    API: node types are there"
    for _ in 1 2 3 4 5 6 7 8; do run_workflow || fail "a run failed"; done
    compose logs worker | grep "claimed work" >/dev/null || fail "no worker claimed work"
    say "ok    runs were executed by the workers"
    docker kill "$(compose ps -q api | head -n 1)" "$(compose ps -q worker | head -n 1)" >/dev/null
    until_answers_from 2
    for _ in 1 2 3 4; do run_workflow || fail "no run after the death of an instance and a worker"; done
    say "ok    fail-over: an instance and a worker were killed, runs go on"
    compose up -d --no-recreate --scale api=5 --scale worker=4
    until_answers_from 5
    say "ok    scaling up: five instances answer"
    live_editing
    compose up -d --no-recreate --scale api=2 --scale worker=1
    until_answers_from 2
    run_workflow || fail "no run after scaling down"
    say "ok    scaling down: two instances answer, runs go on"
    [ "${1:-}" = --keep ] || return 0
    trap - EXIT
    say "running at $URL with the API key $MEL_API_KEY; end it with: docker compose ${PROJECT[*]} down --volumes"
}

case "$*" in
--local | "--local --keep") locally "${@:2}" ;;
"" | --keep) in_containers "$@" ;;
*) say "usage: $0 [--local] [--keep]"; exit 2 ;;
esac
