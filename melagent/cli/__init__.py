"""The command line: the Typer program `server`.

One file per group of commands. Whatever is slow to import is imported inside the command that needs it, so that
`--help` and completion answer at once. Standard output is for answers, standard error for logs, progress and errors.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with a code of `errors.ExitCode`."""
    from melagent.cli.program import app
    from melagent.cli.show import show_error
    from melagent.errors import EXIT_CODE, ExitCode, MelError

    try:
        app(prog_name="server")
    except MelError as error:
        show_error(error, as_json="--json" in sys.argv)
        sys.exit(EXIT_CODE.get(error.code, ExitCode.FAILED))
    except KeyboardInterrupt:
        sys.exit(ExitCode.FAILED)
    except BrokenPipeError:  # the reader of our output, `head` for one, has had enough
        sys.stderr.close()
        sys.exit(ExitCode.DONE)
