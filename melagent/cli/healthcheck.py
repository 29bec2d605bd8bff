"""`server healthcheck`: asks the server of this machine or container, as a container's health check does."""

from __future__ import annotations

import typer

from melagent.cli.options import Config, Host, Port, settings_of

TIMEOUT_SECONDS = 5
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # translated, not listened on


def healthcheck(*, port: Port = None, host: Host = None, config: Config = None) -> None:
    """Exit with 0 when the server on this machine is healthy."""
    from http.client import HTTPConnection, HTTPException

    from melagent.errors import Internal, Unavailable

    server = settings_of({"server.port": port, "server.host": host}, config).server
    connection = HTTPConnection(ANY_ADDRESS.get(server.host, server.host), server.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise Unavailable(f"Nothing healthy listens on {server.host}:{server.port}: {error}") from error
    finally:
        connection.close()
    if status != 200:
        raise Internal(f"/health answered {status}")
    typer.echo("healthy")
