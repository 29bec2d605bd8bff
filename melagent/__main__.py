"""Runs the command line: `python -m melagent` is `server`."""

from melagent.cli import main

if __name__ == "__main__":
    main()
