"""The pages and their examples are tried in a shell with a server, as in the tests of the command line."""

from tests.cli.conftest import cli, remote, running

__all__ = ["cli", "remote", "running"]
