"""Stands where a container engine would: keeps what docker-compose makes, and runs nothing.

As much of the engine's HTTP API as docker-compose 1.29 needs for `up`, `logs` and `exec`, so that printed commands can
be given to it as they are.
"""

from __future__ import annotations

import json
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

API = "1.41"
SERVICE = "com.docker.compose.service"


@dataclass
class Container:
    id: str
    name: str
    config: dict[str, Any]
    running: bool = False

    @property
    def service(self) -> str:
        return str(self.config["Labels"][SERVICE])

    def listed(self) -> dict[str, Any]:
        return {"Id": self.id, "Names": [f"/{self.name}"], "Image": self.config["Image"],
                "Labels": self.config["Labels"], "State": self.status}  # fmt: skip

    def inspected(self) -> dict[str, Any]:
        state = {"Running": self.running, "Status": self.status, "ExitCode": 0, "Health": {"Status": "healthy"}}
        return {
            "Id": self.id,
            "Created": "2026-11-01T00:00:00Z",
            "Name": f"/{self.name}",
            "Image": "sha256:of-all",
            "Config": self.config,
            "State": state,
            "HostConfig": {**self.config["HostConfig"], "LogConfig": {"Type": "json-file"}},
            "Mounts": [],
            "NetworkSettings": {"Networks": self.config["NetworkingConfig"]["EndpointsConfig"]},
        }

    @property
    def status(self) -> str:
        return "running" if self.running else "exited"


@dataclass
class Engine:
    """`url` is where it listens; `said` is what each container of a service has logged."""

    url: str
    said: dict[str, str] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def running(self, service: str) -> list[Container]:
        return [made for made in self.containers.values() if made.running and made.service == service]

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": API, "Version": "20.10"})

    async def info(self, _request: web.Request) -> web.Response:
        return web.json_response({"Swarm": {"LocalNodeState": "inactive"}})

    async def image(self, request: web.Request) -> web.Response:
        return web.json_response({"Id": "sha256:of-all", "Config": {}, "ContainerConfig": {}})

    async def known(self, request: web.Request) -> web.Response:
        """A network or a volume."""
        name = request.match_info["name"]
        found = {"Id": name, "Name": name, "Driver": "local", "Labels": None, "Options": {}}
        return web.json_response(found) if name in self.made else web.json_response({"message": "no"}, status=404)

    async def listed(self, request: web.Request) -> web.Response:
        wanted = [label.split("=", 1) for label in json.loads(request.query["filters"]).get("label", [])]
        stopped_too = request.query.get("all") == "1"
        found = [
            made.listed()
            for made in self.containers.values()
            if (made.running or stopped_too) and all(made.config["Labels"].get(name) == value for name, value in wanted)
        ]
        return web.json_response(found)

    async def make(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.match_info["kind"] == "containers":
            name = request.query["name"]
            self.containers[name] = Container(name, name, body)
            return web.json_response({"Id": name, "Warnings": []}, status=201)
        self.made.add(body["Name"])
        return web.json_response({"Id": body["Name"], "Name": body["Name"]}, status=201)

    async def inspect(self, request: web.Request) -> web.Response:
        return web.json_response(self._container(request).inspected())

    async def change(self, request: web.Request) -> web.Response:
        container = self._container(request)
        verb = request.match_info["verb"]
        if verb == "wait":
            return web.json_response({"StatusCode": 0})
        if verb in ("start", "stop", "kill"):
            container.running = verb == "start" and container.service != "migrate"  # which ends at once
        return web.Response(status=204)

    async def remove(self, request: web.Request) -> web.Response:
        del self.containers[self._container(request).name]
        return web.Response(status=204)

    async def logs(self, request: web.Request) -> web.Response:
        line = self.said.get(self._container(request).service, "").encode()
        return web.Response(body=struct.pack(">BxxxI", 1, len(line)) + line)

    async def nothing(self, _request: web.Request) -> web.Response:
        return web.Response(status=200)

    def _container(self, request: web.Request) -> Container:
        return self.containers[request.match_info["name"]]


@asynccontextmanager
async def engine(socket: Path) -> AsyncIterator[Engine]:
    made = Engine(f"unix://{socket}")
    app = web.Application()
    app.router.add_get("/version", made.version)
    for method, path, handler in (
        ("GET", "/info", made.info),
        ("GET", "/images/{name:.+}/json", made.image),
        ("GET", "/{kind:networks|volumes}/{name}", made.known),
        ("POST", "/{kind:containers|networks|volumes}/create", made.make),
        ("POST", "/networks/{name}/{verb:connect|disconnect}", made.nothing),
        ("GET", "/containers/json", made.listed),
        ("GET", "/containers/{name}/json", made.inspect),
        ("GET", "/containers/{name}/logs", made.logs),
        ("POST", "/containers/{name}/{verb}", made.change),
        ("DELETE", "/containers/{name}", made.remove),
    ):
        app.router.add_route(method, f"/v{API}{path}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield made
    finally:
        await runner.cleanup()
