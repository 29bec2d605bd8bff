"""The files of the deployments: valid by the tools that read them, and true to each other and to the program."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from deploy.local.topology import free_port
from tests.builders import eventually
from tests.deploy.proxy_server import NGINX, ROOT, configuration, program

KUBERNETES = ROOT / "deploy/kubernetes"
COMPOSE = ["docker-compose.yml", "docker-compose.scale.yml", "deploy/regions/docker-compose.region-a.yml"]
OBJECTS = sorted(
    path for path in KUBERNETES.rglob("*.yaml") if path.name not in ("kustomization.yaml", "keda.yaml", "region.yaml")
)


def run(*command, **options):
    return subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, check=False, **options)


def compose(name):
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_takes_the_file(name):
    secrets = {"DATABASE_URL": "postgres://db/mel", "TOKEN": "secret", "PATH": os.environ["PATH"]}
    answer = run("docker-compose", "-f", str(ROOT / name), "config", "-q", env=secrets)
    assert answer.returncode == 0, answer.stderr


def test_a_region_does_not_start_without_its_secrets():
    answer = run("docker-compose", "-f", str(ROOT / COMPOSE[2]), "config", "-q", env={"PATH": os.environ["PATH"]})
    assert answer.returncode != 0
    assert "give the address of the database" in answer.stderr


def test_the_access_log_of_the_container_is_a_file():
    """The image has a link to the standard output there, and a new volume would begin with a copy of it."""
    mounts = compose("docker-compose.scale.yml")["services"]["nginx"]["volumes"]
    (logs,) = (mount for mount in mounts if isinstance(mount, dict))
    assert logs["target"] == "/var/log/nginx"
    assert logs["volume"]["nocopy"]
    assert "access_log /var/log/nginx/access.log upstream;" in (NGINX / "nginx.conf").read_text()


@pytest.mark.parametrize("name", COMPOSE[:2])
def test_nobody_else_reaches_a_deployment_that_has_the_secrets_of_the_example(name):
    for service in compose(name)["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("${MEL_HTTP_ADDRESS:-127.0.0.1}:")


def test_what_is_scaled_has_neither_a_name_nor_a_port_of_its_own():
    services = compose("docker-compose.scale.yml")["services"]
    assert {"nginx", "api", "realtime", "worker", "db", "redis"} <= set(services)
    for name in ("api", "realtime", "worker"):
        assert not {"container_name", "ports"} & set(services[name])
        assert "ip_hash" not in (NGINX / "nginx.conf").read_text()


def test_the_commands_of_the_compose_files_are_commands_of_the_program():
    for name in COMPOSE:
        for service in compose(name)["services"].values():
            command = service.get("command", [])
            command = shlex.split(command) if isinstance(command, str) else command
            if command[:1] == ["./server"]:
                answer = run(sys.executable, "-m", "melagent", *command[1:], "--help", cwd=ROOT)
                assert answer.returncode == 0, answer.stderr


def test_every_setting_of_the_deployments_is_one_of_the_program():
    known = set(re.findall(r'"([A-Z][A-Z_]+)"', (ROOT / "melagent/settings.py").read_text()))
    later = {"MEL_ENCRYPTION_KEYS"}  # read by a version to come; its secret is optional
    given = set()
    for name in ("docker-compose.yml", "docker-compose.scale.yml"):
        for service in compose(name)["services"].values():
            if service.get("image") == "mel-agent:latest":
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
            if target.is_dir():
                assert (target / "kustomization.yaml").exists(), f"{path}: {entry}"
            else:  # kustomize refuses files from outside the folder of its kustomization.yaml
                assert target.is_relative_to(path.parent), f"{path}: {entry}"
            named.add(target)
    assert {path for path in (KUBERNETES / "base").rglob("*.yaml") if path.name != "kustomization.yaml"} <= named


def test_a_patch_of_a_region_is_for_an_object_that_is_there():
    patch = yaml.safe_load((KUBERNETES / "overlays/several-regions/region.yaml").read_text())
    target = yaml.safe_load((KUBERNETES / "base/worker/deployment.yaml").read_text())
    assert (patch["kind"], patch["metadata"]["name"]) == (target["kind"], target["metadata"]["name"])
    patched, container = (found["spec"]["template"]["spec"]["containers"][0] for found in (patch, target))
    assert patched["name"] == container["name"]


def test_the_example_for_keda_scales_the_workers_by_what_the_cluster_endpoint_answers():
    authentication, scaled = yaml.safe_load_all((KUBERNETES / "keda.yaml").read_text())
    (trigger,) = scaled["spec"]["triggers"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == "mel-agent-worker"
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert trigger["metadata"]["url"] == "http://mel-agent-api-service/api/cluster"
    assert trigger["metadata"]["valueLocation"] == "queue.depth"  # tests/deploy/test_guide.py asks for it


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
    realtime = objects["Deployment", "mel-agent-realtime"]
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert (kind, "mel-agent-realtime") in objects
    for deployment in (api, realtime, worker):
        spec = deployment["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > 30  # the grace time of the program
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_an_ingress_sends_sockets_to_the_realtime_instances_and_all_else_to_the_api():
    ingress = yaml.safe_load((KUBERNETES / "overlays/one-region-realtime/ingress.yaml").read_text())
    (rule,) = ingress["spec"]["rules"]
    leads = {path["path"]: path["backend"]["service"] for path in rule["http"]["paths"]}
    assert leads.keys() == {"/api/ws/", "/"}
    for (path, service), role, port in zip(leads.items(), ("realtime", "api"), (8090, 8080), strict=True):
        base = KUBERNETES / "base" / role
        made, deployed = (yaml.safe_load((base / name).read_text()) for name in ("service.yaml", "deployment.yaml"))
        assert (service["name"], service["port"]) == (made["metadata"]["name"], {"name": "http"}), path
        labels = deployed["spec"]["template"]["metadata"]["labels"]
        assert made["spec"]["selector"].items() <= labels.items()
        (container,) = deployed["spec"]["template"]["spec"]["containers"]
        assert container["ports"] == [{"containerPort": port, "name": made["spec"]["ports"][0]["targetPort"]}]


def test_sockets_find_the_port_that_the_realtime_service_listens_on():
    service = compose("docker-compose.scale.yml")["services"]["realtime"]
    port = service["environment"]["PORT"]
    assert service["expose"] == [port]
    assert f"http://$realtime:{port};" in (NGINX / "nginx.conf").read_text()
    assert f"realtime-1:{port} " in (NGINX / "realtime.conf").read_text()


@pytest.mark.parametrize("name", ["nginx.conf", "round-robin.conf", "least-conn.conf", "realtime.conf"])
def test_nginx_takes_the_configuration(name, tmp_path):
    names = [
        (f"{kind}-{number}:", f"127.0.0.{number}:") for kind in ("api", "realtime") for number in (1, 2, 3)
    ]  # which only the real network knows
    path = configuration((NGINX / name).read_text(), tmp_path, changes=names)
    answer = run("nginx", "-t", "-p", str(tmp_path), "-c", str(path))
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
    commands = {
        "./server api-server",
        "./server realtime",
        "./server worker",
        "./server migrate",
        "./server healthcheck",
    }
    for command in commands:
        answer = run(str(app / "server"), command.split()[1], "--help", cwd=app, env=environment)
        assert answer.returncode == 0, answer.stderr
    asked = "from melagent import schema; print(*sorted(schema.known_ids()))"
    python = str(Path(environment["PATH"].split(":")[0]) / "python")
    answer = run(python, "-c", asked, cwd=app, env=environment)
    assert "0004.workers" in answer.stdout


async def test_the_processes_of_the_image_are_healthy_and_write_nothing_beside_their_data(
    image, database_url, tmp_path
):
    """So that the root file system can be read-only."""
    app, environment = image
    port, health_port = free_port(), free_port()
    environment = environment | {
        "MEL_DATA_DIR": str(tmp_path),
        "MEL_WORKER_TOKEN": "a token of the test",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    api = environment | {"DATABASE_URL": database_url, "PORT": str(port)}
    worker = environment | {"MEL_SERVER_URL": f"http://127.0.0.1:{port}", "MEL_WORKER_HEALTH_PORT": str(health_port)}
    before = files_below(app.parent)
    async with started(app, "api-server", api), started(app, "worker", worker | {"PORT": str(free_port())}):
        pass
    assert files_below(app.parent) == before


@asynccontextmanager
async def started(app, command, environment):
    """The program in its container until the end of the block; it is healthy first, and ends well."""
    process = await asyncio.create_subprocess_exec(
        str(app / "server"), command, cwd=app, env=environment, stderr=asyncio.subprocess.DEVNULL
    )

    async def is_healthy():
        assert process.returncode is None, f"{command} has ended"
        return await healthy(app, environment)

    try:
        await eventually(is_healthy)
        yield
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def healthy(app, environment):
    process = await asyncio.create_subprocess_exec(
        str(app / "server"), "healthcheck", cwd=app, env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait() == 0


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_dockerfile_copies_only_what_the_context_has_and_starts_as_somebody_else_than_root():
    text = (ROOT / "Dockerfile").read_text()
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", text, re.MULTILINE):
        assert set(sources.split()) <= context
    assert "ENTRYPOINT" not in text
    assert text.index("USER mel") < text.index("CMD [")
    assert "HEALTHCHECK" in text
