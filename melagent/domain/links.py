"""Approval links: whoever has one may send one signal to one run, without an account.

A link ends in a token of a run, the name of a signal, and a seal over the name under a key that the run alone has. The
keys of runs are made from one that no worker ever sees, so a worker can make links of the runs that it holds and of no
other.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from uuid import UUID

ID_BYTES = 16
SEAL_BYTES = 32


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the links of one run. `base` is what they begin with: an address, or a path."""

    run_id: UUID
    base: str
    key: bytes

    def url(self, signal: str) -> str:
        return f"{self.base}/resume/{self.token(signal)}"

    def token(self, signal: str) -> str:
        name = signal.encode()
        seal = hmac.digest(self.key, name, "sha256")
        return base64.urlsafe_b64encode(self.run_id.bytes + name + seal).rstrip(b"=").decode()

    def made(self, token: str, signal: str) -> bool:
        """Whether a token is the one for this signal; takes as long whatever is wrong with it."""
        return hmac.compare_digest(self.token(signal).encode(), token.encode())


def key_of(server_key: bytes, run_id: UUID) -> bytes:
    """The key of a run."""
    return hmac.digest(server_key, run_id.bytes, "sha256")


def read(token: str) -> tuple[UUID, str] | None:
    """The run and the signal that a token claims to be for; null when it is none."""
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return UUID(bytes=content[:ID_BYTES]), content[ID_BYTES:-SEAL_BYTES].decode()
    except ValueError:
        return None
