"""`python -m tests.fuzz.guided TARGET [option of libFuzzer…]`: fuzz one target, guided by the code that it reaches."""

import sys

import atheris

with atheris.instrument_imports(include=["melagent", "multipart", "yaml"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
