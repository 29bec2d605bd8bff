"""The encryption keys of `server server`: given in the settings, else in a file of the data directory, made if needed.

The file has one key a line, in hex, the newest first, and is readable by its owner alone.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from melagent.errors import Conflict
from melagent.setting_kinds import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE_NAME = "encryption.keys"


def read(data_dir: Path) -> tuple[bytes, ...]:
    """The keys of the file; none when there is no file. Conflict when it does not hold keys."""
    path = data_dir / FILE_NAME
    try:
        keys = tuple(bytes.fromhex(line) for line in path.read_text().split())
    except FileNotFoundError:
        return ()
    except ValueError:
        keys = (b"",)
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise Conflict(f"{path} is damaged: it should have a key of 32 bytes in hex on each line.")
    return keys


def read_or_make(data_dir: Path) -> tuple[bytes, ...]:
    """The keys of the file, which is made with a new one if need be. Of two who make it at once one succeeds."""
    while not (keys := read(data_dir)):
        data_dir.mkdir(parents=True, exist_ok=True)
        temporary = _written(data_dir, [secrets.token_bytes(KEY_BYTES)])
        try:
            (data_dir / FILE_NAME).hardlink_to(temporary)  # unlike a rename it replaces nothing
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return keys


def add(data_dir: Path) -> tuple[bytes, ...]:
    """Put a new key before those that are there; all of them."""
    keys = (secrets.token_bytes(KEY_BYTES), *read(data_dir))
    _written(data_dir, keys).replace(data_dir / FILE_NAME)
    return keys


def _written(data_dir: Path, keys: Sequence[bytes]) -> Path:
    """A temporary file with these keys that has reached the disk: what was sealed with a lost key would be lost."""
    descriptor, name = tempfile.mkstemp(dir=data_dir, prefix=FILE_NAME)  # mode 0600 from the start
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{key.hex()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
