"""The files of the deployments: valid by the tools that read them, and true to each other and to the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
NGINX = ROOT / "deploy/nginx"
OBJECTS = sorted(
    path for path in KUBERNETES.rglob("*.yaml") if path.name not in ("kustomization.yaml", "keda.yaml", "region.yaml")
)


def run(*command, **options):
    program = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, f"{command[0]} is missing; .ci/run says how it is installed"
    return subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, **options)


def compose(name):
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.scale.yml"])
def test_compose_takes_the_file(name):
    answer = run("docker-compose", "-f", str(ROOT / name), "config", "-q")
    assert answer.returncode == 0, answer.stderr


def test_what_is_scaled_has_neither_a_name_nor_a_port_of_its_own():
    services = compose("docker-compose.scale.yml")["services"]
    assert {"nginx", "api", "worker", "db", "redis"} <= set(services)
    for name in ("api", "worker"):
        assert not {"container_name", "ports"} & set(services[name])
        assert "ip_hash" not in (NGINX / "nginx.conf").read_text()


def test_the_commands_of_the_compose_files_are_commands_of_the_program():
    for name in ("docker-compose.yml", "docker-compose.scale.yml"):
        for service in compose(name)["services"].values():
            command = service.get("command", [])
            if command[:1] == ["./server"]:
                answer = run(sys.executable, "-m", "melagent", *command[1:], "--help", cwd=ROOT)
                assert answer.returncode == 0, answer.stderr


def test_every_setting_of_the_deployments_is_one_of_the_program():
    known = set(re.findall(r'"([A-Z][A-Z_]+)"', (ROOT / "melagent/settings.py").read_text()))
    later = {"MEL_ENCRYPTION_KEYS"}  # read by a version to come; its secret is optional
    given = set()
    for name in ("docker-compose.yml", "docker-compose.scale.yml"):
        for service in compose(name)["services"].values():
            if service.get("image") == "mel-agent:latest" or "<<" in service:
                given |= set(service.get("environment", {}))
    for path in OBJECTS:
        given |= set(re.findall(r"- name: ([A-Z][A-Z_]+)\n", path.read_text()))
    assert {"DATABASE_URL", "MEL_WORKER_TOKEN", "MEL_SERVER_URL"} <= given
    assert given - later <= known


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_kubernetes_takes_the_object(path):
    answer = run(str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", str(path))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_file_that_a_kustomization_names_is_there_and_every_object_is_named():
    named = set()
    for path in KUBERNETES.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        entries = content.get("resources", []) + [patch["path"] for patch in content.get("patches", [])]
        for entry in entries:
            target = (path.parent / entry).resolve()
            assert target.exists(), f"{path}: {entry}"
            named.add(target)
    assert {path for path in KUBERNETES.glob("base/*.yaml") if path.name != "kustomization.yaml"} <= named


def test_the_objects_have_the_names_that_the_contract_promises():
    objects = {}
    for path in OBJECTS:
        for found in yaml.safe_load_all(path.read_text()):
            objects[found["kind"], found["metadata"]["name"]] = found
    api, worker = objects["Deployment", "mel-agent-api"], objects["Deployment", "mel-agent-worker"]
    assert (api["spec"]["replicas"], worker["spec"]["replicas"]) == (3, 5)
    (port,) = objects["Service", "mel-agent-api-service"]["spec"]["ports"]
    (container,) = api["spec"]["template"]["spec"]["containers"]
    assert (port["port"], container["ports"][0]["containerPort"]) == (80, 8080)
    probes = (container["livenessProbe"]["httpGet"]["path"], container["readinessProbe"]["httpGet"]["path"])
    assert probes == ("/health", "/ready")
    for deployment in (api, worker):
        spec = deployment["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > 30  # the grace time of the program
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("name", ["nginx.conf", "round-robin.conf", "least-conn.conf"])
def test_nginx_takes_the_configuration(name, tmp_path):
    text = (
        (NGINX / name).read_text()
        if name == "nginx.conf"
        else f"events {{}}\nhttp {{\n{(NGINX / name).read_text()}\n}}"
    )
    for path in ("access.log", "error.log"):
        text = text.replace(f"/var/log/nginx/{path}", str(tmp_path / path))
    text = text.replace("/etc/nginx/mel-agent", str(NGINX)).replace("/var/run/nginx.pid", str(tmp_path / "pid"))
    text = re.sub(r"server api-(\d)", r"server 127.0.0.\1", text)  # names that only the real network knows
    (tmp_path / "nginx.conf").write_text(text)
    answer = run("nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-g", f"error_log {tmp_path}/error.log;")
    assert answer.returncode == 0, answer.stderr


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What the Dockerfile makes, by its steps: a wheel from the build context alone, in an environment of its own."""
    context, folder = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("image")
    for entry in (ROOT / ".dockerignore").read_text().splitlines():
        if entry.startswith("!"):
            source = ROOT / entry[1:]
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, context / entry[1:])
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv/bin/python")
    wheel = run(python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder / "wheels"), str(context))
    assert wheel.returncode == 0, wheel.stderr
    (made,) = (folder / "wheels").glob("*.whl")
    installed = run(python, "-m", "pip", "install", "--quiet", f"{made}[embedded]")
    assert installed.returncode == 0, installed.stderr
    app = folder / "app"
    app.mkdir()
    shutil.copy(context / "server", app / "server")
    return app, {"PATH": f"{folder / 'venv/bin'}:{os.environ['PATH']}", "HOME": str(folder)}


def test_the_image_runs_the_program_by_its_launcher_with_its_migrations(image):
    app, environment = image
    answer = run(str(app / "server"), "version", cwd=app, env=environment)
    assert answer.returncode == 0, answer.stderr
    commands = {"./server api-server", "./server worker", "./server migrate", "./server healthcheck"}
    for command in commands:
        answer = run(str(app / "server"), command.split()[1], "--help", cwd=app, env=environment)
        assert answer.returncode == 0, answer.stderr
    asked = "from melagent import migrate; print(*sorted(migrate.known_ids()))"
    python = str(Path(environment["PATH"].split(":")[0]) / "python")
    answer = run(python, "-c", asked, cwd=app, env=environment)
    assert "0004.workers" in answer.stdout


def test_the_dockerfile_copies_only_what_the_context_has_and_starts_as_somebody_else_than_root():
    text = (ROOT / "Dockerfile").read_text()
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", text, re.MULTILINE):
        assert set(sources.split()) <= context
    assert "ENTRYPOINT" not in text
    assert text.index("USER mel") < text.index("CMD [")
    assert "HEALTHCHECK" in text
