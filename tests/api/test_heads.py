"""The limits of a request's head as docs/guarantees.md names them: what is just within is answered, the next is not."""

from __future__ import annotations

import asyncio

import pytest

LIMIT, HEADERS = 8_190, 128


@pytest.fixture
def status_of(client):
    async def status_of(head: bytes) -> int:
        reader, writer = await asyncio.open_connection(client.host, client.port)
        try:
            writer.write(head)
            async with asyncio.timeout(30):
                return int((await reader.readline()).split()[1])
        finally:
            writer.close()
            await writer.wait_closed()

    return status_of


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 404), (LIMIT + 1, 400)])
async def test_an_address_has_a_largest_size(status_of, size, status):
    assert await status_of(b"GET /" + b"x" * (size - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n") == status


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 400)])
async def test_the_value_of_a_header_has_a_largest_size(status_of, size, status):
    head = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * size + b"\r\n\r\n"
    assert await status_of(head) == status


@pytest.mark.parametrize(("count", "status"), [(HEADERS, 200), (HEADERS + 1, 400)])
async def test_a_head_has_a_largest_number_of_headers(status_of, count, status):
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(count - 1))
    assert await status_of(b"GET /health HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n") == status
