"""`server healthcheck`: asks the process of this machine or container, as a container's health check does."""

from __future__ import annotations

import typer

from melagent.cli.listening import LOOPBACK_OF
from melagent.cli.options import AsJson, Config, Host, Port, settings_of
from melagent.cli.show import show_json

TIMEOUT_SECONDS = 5


def healthcheck(*, as_json: AsJson = False, port: Port = None, host: Host = None, config: Config = None) -> None:
    """Exit with 0 when the server, or the worker with a health port, on this machine is healthy."""
    from melagent.errors import Unavailable

    settings = settings_of({"server.port": port, "server.host": host}, config)
    addresses = [(LOOPBACK_OF.get(settings.server.host, settings.server.host), settings.server.port)]
    if settings.worker.health_port is not None:
        addresses.append(("127.0.0.1", settings.worker.health_port))
    problems = []
    for address in addresses:
        problem = _problem(*address)
        if problem is None:
            show_json({"status": "healthy"}) if as_json else typer.echo("healthy")
            return
        problems.append(f"{address[0]}:{address[1]}: {problem}")
    raise Unavailable(f"Nothing healthy listens on {', or on '.join(problems)}")


def _problem(host: str, port: int) -> str | None:
    """What is wrong with the process that listens there; null when it is healthy."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return str(error)
    finally:
        connection.close()
    return None if status == 200 else f"/health answered {status}"
