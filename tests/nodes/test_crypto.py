"""crypto: known answers, ways back, and what cannot be decoded."""

import pytest
from pydantic import ValidationError

from melagent.sdk import NodeError

# FIPS 180-2 and RFC 1321: the answers for "abc"
ABC = {
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha384": ("cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"),
    "sha512": (
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    ),
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "md5": "900150983cd24fb0d6963f7d28e17f72",
}


@pytest.mark.parametrize("algorithm", ABC)
async def test_hashes_are_those_of_the_standards(run_node, algorithm):
    assert await run_node("crypto", {"value": "abc", "algorithm": algorithm}) == ABC[algorithm]


async def test_a_hash_is_written_in_the_encoding_asked_for(run_node):
    config = {"value": "{{ input.name }}", "encoding": "base64url"}
    made = await run_node("crypto", config, input={"name": "abc"})
    assert made == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
    assert await run_node("crypto", {"value": 12}) == await run_node("crypto", {"value": "12"})


# RFC 4648, section 10, and a text whose bytes need both characters that differ
@pytest.mark.parametrize(
    ("encoding", "text", "encoded"),
    [
        ("base64", "foob", "Zm9vYg=="),
        ("base64url", "foob", "Zm9vYg"),
        ("hex", "foob", "666f6f62"),
        ("base64", "ÿ>?", "w78+Pw=="),
        ("base64url", "ÿ>?", "w78-Pw"),
        ("base64", "", ""),
    ],
)
async def test_a_text_is_encoded_and_decoded(run_node, encoding, text, encoded):
    assert await run_node("crypto", {"operation": "encode", "value": text, "encoding": encoding}) == encoded
    assert await run_node("crypto", {"operation": "decode", "value": encoded, "encoding": encoding}) == text


@pytest.mark.parametrize(
    ("encoding", "encoded"), [("base64", "Zm9v\r\nYg==\n"), ("base64url", "Zm9vYg=="), ("hex", "66 6F\n6f62")]
)
async def test_broken_lines_padding_and_capitals_are_understood(run_node, encoding, encoded):
    assert await run_node("crypto", {"operation": "decode", "value": encoded, "encoding": encoding}) == "foob"


@pytest.mark.parametrize(
    ("encoding", "encoded", "problem"),
    [
        ("base64", "Zm9vYg", "valid base64"),
        ("base64", "Zm9-", "valid base64"),
        ("base64url", "w78+Pw", "valid base64url"),
        ("base64url", "Zm9vY", "valid base64url"),
        ("base64", "Zm9vYé==", "valid base64"),
        ("hex", "6", "valid hex"),
        ("hex", "xy", "valid hex"),
        ("base64", "/w==", "not text in UTF-8"),
    ],
)
async def test_what_is_no_encoded_text_is_refused(run_node, encoding, encoded, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("crypto", {"operation": "decode", "value": encoded, "encoding": encoding})
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


async def test_half_of_a_surrogate_pair_is_no_text(run_node):
    with pytest.raises(NodeError, match="surrogate"):
        await run_node("crypto", {"value": "\ud800"})


async def test_random_bytes_cannot_be_told_from_the_run(run_node):
    config = {"operation": "random_bytes", "length": 16}
    made = [await run_node("crypto", config) for _ in range(2)]
    assert [len(bytes.fromhex(text)) for text in made] == [16, 16]
    assert made[0] != made[1]  # though both have the same seed in their context


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"operation": "encode"},
        {"value": {"a": 1}},
        {"value": "x", "algorithm": "crc32"},
        {"operation": "random_bytes", "length": 1025},
    ],
)
async def test_wrong_parameters_are_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("crypto", config)
