"""MEL Agent: an open platform for AI workflow automation that scales by starting more processes."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mel-agent")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+source"
