"""The commands and files that the scaling guide prints for container engines, walked as far as without one is possible.

docker-compose itself takes the commands, and tells an engine of the test what to make; the commands that stand in the
files run as processes, with the environment that stands there and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import yaml

from deploy.local.topology import free_port
from tests.builders import eventually
from tests.deploy.container_engine import engine
from tests.deploy.proxy_server import ROOT, program

PRINTED, REGION = Path(__file__).parent / "printed", "docker-compose.region-a.yml"
SCALE = "docker-compose -f docker-compose.scale.yml up -d --scale api={api} --scale worker={worker}"
STEPS = [(3, 2), (5, 4), (2, 1), (5, 2), (2, 6)]
ONCE = {"nginx": 1, "db": 1, "redis": 1}


@pytest.fixture
async def compose():
    """An engine, in a folder with a short name, and how to give it a printed command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "docker").write_text('#!/bin/sh\necho "$@"\n')  # `exec` calls it to reach a terminal
        (folder / "docker").chmod(0o755)
        async with engine(folder / "engine.sock") as made:

            async def give(command, **environment):
                environment |= {"PATH": f"{folder}:/usr/bin:/bin", "HOME": name, "DOCKER_HOST": made.url}
                first, *rest = shlex.split(command)
                process = await asyncio.create_subprocess_exec(
                    program(first), *rest, cwd=ROOT, env=environment,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                )  # fmt: skip
                output, errors = await asyncio.wait_for(process.communicate(), 60)
                assert process.returncode == 0, errors.decode()
                return output.decode()

            yield made, give


async def test_the_printed_commands_scale_up_and_down_and_leave_alone_what_stays(compose):
    made, give = compose
    before = {}
    for api, worker in STEPS:
        await give(SCALE.format(api=api, worker=worker))
        running = {name: container for name, container in made.containers.items() if container.running}
        assert Counter(container.service for container in running.values()) == {**ONCE, "api": api, "worker": worker}
        assert all(running[name] is before[name] for name in running.keys() & before.keys())
        before = running


async def test_the_printed_looks_into_a_deployment_find_what_they_look_for(compose):
    made, give = compose
    await give(SCALE.format(api=3, worker=2))
    made.said |= {"worker": '{"event": "claimed work"}\n', "api": '{"event": "Database connected"}\n'}
    looked = await give("docker-compose -f docker-compose.scale.yml exec nginx cat /var/log/nginx/access.log")
    assert looked.split()[-3:] == [made.running("nginx")[0].id, "cat", "/var/log/nginx/access.log"]
    logs = await give("docker-compose -f docker-compose.scale.yml logs api")
    assert logs.count("Database connected") == 3
    logs = await give("docker-compose logs worker", COMPOSE_FILE="docker-compose.scale.yml")
    assert logs.count("claimed work") == 2


@pytest.fixture
def region():
    return yaml.safe_load((PRINTED / REGION).read_text())["services"]


@pytest.fixture
def objects():
    return {found["metadata"]["name"]: found for found in yaml.safe_load_all((PRINTED / "kubernetes.yaml").read_text())}


def test_the_printed_region_is_ours_without_what_it_leaves_out(region):
    """It names no image; docker-compose takes it as a change of our file."""
    ours = ROOT / "deploy/regions" / REGION
    files = ["-f", str(ours), "-f", str(PRINTED / REGION)]
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgres://db/mel", "TOKEN": "secret"}
    read = subprocess.run(
        [program("docker-compose"), *files, "config"], env=environment, capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr
    merged = yaml.safe_load(read.stdout)["services"]
    assert merged["worker"]["command"] == region["worker"]["command"].replace("$TOKEN", "secret")
    services = yaml.safe_load(ours.read_text())["services"]
    assert services["api"]["command"] == region["api"]["command"]
    assert services.keys() == region.keys()


async def test_the_printed_region_runs(region, database_url):
    api, worker = (shlex.split(region[name]["command"]) for name in ("api", "worker"))
    (variable,) = region["api"]["environment"]
    assert variable.partition("=")[0] == "DATABASE_URL"
    await run_together(api, {"DATABASE_URL": database_url}, worker, {}, database_url)


async def test_the_printed_deployments_run(objects, database_url):
    api, worker = (container_of(objects[name]) for name in ("mel-agent-api", "mel-agent-worker"))
    assert [variable["name"] for variable in api["env"]] == ["DATABASE_URL"]
    assert [variable["name"] for variable in worker["env"]] == ["MEL_WORKER_TOKEN", "MEL_SERVER_URL"]
    environment = {"MEL_WORKER_TOKEN": "$TOKEN", "MEL_SERVER_URL": "https://api.example.com"}
    await run_together(api["command"], {"DATABASE_URL": database_url}, worker["command"], environment, database_url)


async def run_together(api, of_api, worker, of_worker, database_url):
    """The commands as they stand in the files, but for the port, the address and the token."""
    port = str(free_port())
    token = (await output_of("./server", "token", "create", "--kind", "worker", DATABASE_URL=database_url)).split()[-1]
    here = {"8080": port, "https://api.example.com": f"http://127.0.0.1:{port}", "$TOKEN": token}
    async with AsyncExitStack() as stack:
        for command, environment, sign in (
            (api, {**of_api, "PORT": port}, "API server listening"),
            (worker, of_worker, "worker registered"),
        ):
            given = {name: here.get(value, value) for name, value in environment.items()}
            await stack.enter_async_context(running([here.get(part, part) for part in command], given, sign))


async def output_of(*command, **environment):
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=bare(environment), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@asynccontextmanager
async def running(command, environment, sign):
    """A command in the working directory of an image, from when it has logged the sign; it ends well."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=bare(environment), stdout=log, stderr=log
        )

        def has_said_it():
            log.seek(0)
            text = log.read().decode()
            assert process.returncode is None, text
            return sign in text

        try:
            await eventually(has_said_it)
            yield
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 60) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def bare(environment):
    """What a container has, and the interpreter of this test."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"], **environment}


def container_of(deployment):
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("role", ["api", "worker"])
def test_our_deployments_are_the_printed_ones_and_more(objects, role):
    ours = yaml.safe_load((ROOT / f"deploy/kubernetes/base/{role}/deployment.yaml").read_text())
    ports = {port["name"]: port["containerPort"] for port in container_of(ours)["ports"]}
    assert missing(objects[f"mel-agent-{role}"], ours, ports) == []


def missing(printed, ours, ports, path=""):
    """Where ours lacks something or differs; a list has all entries, by their name where they have one."""
    if isinstance(printed, dict):
        found = [missing(value, (ours or {}).get(key), ports, f"{path}.{key}") for key, value in printed.items()]
        return [problem for problems in found for problem in problems]
    if isinstance(printed, list) and isinstance(printed[0], dict):
        found = [min((missing(entry, other, ports, path) for other in ours), key=len) for entry in printed]
        return [problem for problems in found for problem in problems]
    return [] if printed == ports.get(ours if isinstance(ours, str) else "", ours) else [f"{path}: {ours!r}"]


def test_kubernetes_takes_the_printed_deployments_once_their_pods_have_labels(objects, tmp_path):
    for name, deployment in objects.items():
        deployment["spec"]["template"]["metadata"] = {"labels": deployment["spec"]["selector"]["matchLabels"]}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(deployment))
    validate = str(Path(sys.executable).with_name("kubernetes-validate"))
    read = subprocess.run([validate, "--strict", *tmp_path.glob("*.yaml")], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stdout + read.stderr
