import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melagent.vault import NoKey, Tampered, UnknownKey, Vault, key_id, key_id_of

OLD, NEW = bytes(range(32)), bytes(range(100, 132))
CONTEXT = "connections/1/secret"


@given(st.binary(max_size=2_000), st.text(max_size=50))
def test_what_was_sealed_opens_with_its_context(plain, context):
    vault = Vault([os.urandom(32)])
    assert vault.open(vault.seal(plain, context), context) == plain


def test_value_is_nowhere_in_the_blob_and_each_blob_is_new():
    vault = Vault([OLD])
    first, second = vault.seal(b"s3cret-value", CONTEXT), vault.seal(b"s3cret-value", CONTEXT)
    assert b"s3cret" not in first
    assert OLD[:8] not in first
    assert first != second
    assert first[-28:] != second[-28:]


def test_blob_names_the_key_it_is_sealed_under():
    assert key_id_of(Vault([NEW, OLD]).seal(b"x", CONTEXT)) == key_id(NEW)
    assert key_id_of(Vault([OLD]).seal(b"x", CONTEXT)) == key_id(OLD) != key_id(NEW)


def test_blob_of_another_row_or_column_does_not_open():
    vault = Vault([OLD])
    blob = vault.seal(b"x", CONTEXT)
    for other in ("connections/2/secret", "connections/1/token", ""):
        with pytest.raises(Tampered):
            vault.open(blob, other)
        with pytest.raises(Tampered):
            vault.rewrap(blob, other)


def test_any_changed_byte_is_noticed():
    vault = Vault([OLD])
    blob = vault.seal(b"value", CONTEXT)
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises((Tampered, UnknownKey)):
            vault.open(bytes(changed), CONTEXT)


@pytest.mark.parametrize("blob", [b"", b"\x01", b"\x02" + bytes(200), bytes(97)])
def test_what_is_no_blob_of_ours_is_refused(blob):
    with pytest.raises(Tampered):
        Vault([OLD]).open(blob, CONTEXT)


def test_blob_cut_anywhere_does_not_open():
    vault = Vault([OLD])
    blob = vault.seal(b"value", CONTEXT)
    for length in range(len(blob)):
        with pytest.raises(Tampered):
            vault.open(blob[:length], CONTEXT)


def test_blob_under_a_key_we_do_not_have_names_that_key():
    blob = Vault([OLD]).seal(b"x", CONTEXT)
    with pytest.raises(UnknownKey, match=key_id(OLD)):
        Vault([NEW]).open(blob, CONTEXT)


def test_rewrapped_blob_opens_with_the_new_key_alone():
    blob = Vault([OLD]).seal(b"value", CONTEXT)
    rewrapped = Vault([NEW, OLD]).rewrap(blob, CONTEXT)
    assert key_id_of(rewrapped) == key_id(NEW)
    assert Vault([NEW]).open(rewrapped, CONTEXT) == b"value"
    with pytest.raises(UnknownKey):
        Vault([OLD]).open(rewrapped, CONTEXT)


@pytest.mark.parametrize(
    ("others", "sealing", "newest"),
    [
        ([], NEW, True),
        ([[NEW, OLD]], NEW, True),
        ([[NEW, OLD], [OLD]], OLD, False),
        ([[]], NEW, True),
        ([[b"other" * 6 + b"xx"]], NEW, True),
    ],
    ids=["alone", "all have it", "one does not", "one has none", "nothing in common"],
)
def test_new_key_is_sealed_with_once_everybody_has_it(others, sealing, newest):
    vault = Vault([NEW, OLD])
    assert vault.agree([[key_id(key) for key in keys] for keys in others]) is newest
    assert key_id_of(vault.seal(b"x", CONTEXT)) == key_id(sealing)


def test_vault_goes_on_with_other_keys():
    vault = Vault([OLD])
    vault.use([NEW, OLD])
    assert vault.key_ids == (key_id(NEW), key_id(OLD))
    assert key_id_of(vault.seal(b"x", CONTEXT)) == key_id(OLD)
    vault.agree([])
    assert key_id_of(vault.seal(b"x", CONTEXT)) == key_id(NEW)
    vault.use([OLD])
    assert key_id_of(vault.seal(b"x", CONTEXT)) == key_id(OLD)


def test_vault_without_keys_says_so():
    vault = Vault([])
    assert not vault.available
    assert Vault([OLD]).available
    with pytest.raises(NoKey):
        vault.seal(b"x", CONTEXT)
    with pytest.raises(UnknownKey):
        vault.open(Vault([OLD]).seal(b"x", CONTEXT), CONTEXT)
