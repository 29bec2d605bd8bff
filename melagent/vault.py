"""Envelope encryption of stored secrets: AES-256-GCM, a fresh data key for each value, wrapped by a master key.

A blob is: format version (1 byte), id of the master key (8), nonce and wrapped data key (12 + 48), nonce and sealed
value (12 + length + 16). The associated data of both parts holds the version and the context, a text that says where
the value belongs (`connections/<id>/secret`): a blob that was moved to another row or column does not open. A change of
the master key wraps the data key anew and leaves the value as it is.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from melagent.errors import Internal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

VERSION = 1
KEY_BYTES = 32
ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_ID_END = 1 + ID_BYTES
_WRAPPED_END = _ID_END + _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_SHORTEST = _WRAPPED_END + _NONCE_BYTES + _TAG_BYTES


class NoKey(Unavailable):
    default_message = "Secrets cannot be stored: no encryption key is set here (MEL_ENCRYPTION_KEYS)."


class UnknownKey(Unavailable):
    """The blob is sealed under a master key that is not among ours."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"This is encrypted under the key {key_id}, which MEL_ENCRYPTION_KEYS does not hold here.")
        self.key_id = key_id


class Tampered(Internal):
    default_message = "An encrypted value is damaged, or was put where it does not belong."


def key_id(key: bytes) -> str:
    """The name of a master key, in hex; nothing about the key follows from it."""
    return hashlib.sha256(b"mel-agent master key\x00" + key).digest()[:ID_BYTES].hex()


def key_id_of(blob: bytes) -> str:
    """The id of the master key that a blob is sealed under. Raises Tampered for what is no blob of ours."""
    if len(blob) < _SHORTEST or blob[0] != VERSION:
        raise Tampered
    return blob[1:_ID_END].hex()


class Vault:
    """Seals and opens with master keys of 32 bytes, the newest first; without any it does neither.

    It seals under the newest key, but while other instances run that do not have it yet under the newest that all have.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.sealing_id: str | None = None
        self.use(keys)

    def use(self, keys: Sequence[bytes]) -> None:
        """Go on with these keys. What is sealed with stays the same until `agree`, unless that key is gone."""
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        if self.sealing_id not in self._keys:
            self.sealing_id = next(iter(self._keys), None)

    def agree(self, others: Iterable[Collection[str]]) -> bool:
        """Seal under the newest key that everybody has, given the ids of the others' keys; whether it is the newest.

        Those without any key are left out. With nothing in common it seals under its newest key.
        """
        having = [frozenset(key_ids) for key_ids in others if key_ids]
        common = (key_id for key_id in self._keys if all(key_id in theirs for theirs in having))
        newest = next(iter(self._keys), None)
        self.sealing_id = next(common, newest)
        return self.sealing_id == newest

    @property
    def available(self) -> bool:
        """Whether there is a key."""
        return bool(self._keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys, the newest first."""
        return tuple(self._keys)

    @property
    def announced(self) -> tuple[str, ...]:
        """What others have to know: the ids of the keys, that of the one which is sealed with first."""
        return tuple(sorted(self._keys, key=lambda key_id: key_id != self.sealing_id))

    def seal(self, plain: bytes, context: str) -> bytes:
        """A blob that opens with the same context only. Raises NoKey."""
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        return self._wrap(data_key, context) + _encrypt(AESGCM(data_key), plain, _bound_to(context))

    def open(self, blob: bytes, context: str) -> bytes:
        """The value. Raises UnknownKey, and Tampered for a blob that was changed or has another context."""
        data_key = AESGCM(self._unwrap(blob, context))
        return _decrypt(data_key, blob[_WRAPPED_END:], _bound_to(context))

    def rewrap(self, blob: bytes, context: str) -> bytes:
        """The same value under the key that is sealed with now. Raises UnknownKey, Tampered, NoKey."""
        return self._wrap(self._unwrap(blob, context), context) + blob[_WRAPPED_END:]

    def _wrap(self, data_key: bytes, context: str) -> bytes:
        if self.sealing_id is None:
            raise NoKey
        header = bytes([VERSION]) + bytes.fromhex(self.sealing_id)
        return header + _encrypt(self._keys[self.sealing_id], data_key, header + context.encode())

    def _unwrap(self, blob: bytes, context: str) -> bytes:
        master = self._keys.get(key_id_of(blob))
        if master is None:
            raise UnknownKey(key_id_of(blob))
        return _decrypt(master, blob[_ID_END:_WRAPPED_END], blob[:_ID_END] + context.encode())


def _bound_to(context: str) -> bytes:
    return bytes([VERSION]) + context.encode()


def _encrypt(cipher: AESGCM, plain: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, associated)


def _decrypt(cipher: AESGCM, sealed: bytes, associated: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated)
    except InvalidTag:
        raise Tampered from None
