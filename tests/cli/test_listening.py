"""The end of listening: nobody who is connected is cut off, and nobody new gets in."""

from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from melagent.cli.listening import begin_no_more, listen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can ignore who wants to connect")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_is_connected_is_accepted_and_who_comes_later_is_refused_after_the_end(host):
    listening = listen(host, 0)
    address = listening.getsockname()[:2]
    with socket.create_connection(address, timeout=20) as early, socket.socket(listening.family) as late:
        early.sendall(b"a request")
        begin_no_more(listening)
        late.settimeout(0)
        with pytest.raises(BlockingIOError):
            late.connect(address)
        accepted, _ = listening.accept()
        with pytest.raises(BlockingIOError):
            listening.accept()
        listening.close()
        with accepted:
            assert accepted.recv(100) == b"a request"
            accepted.sendall(b"an answer")
        assert early.recv(100) == b"an answer"
        assert select.select([], [late], [], 20)[1] == [late]
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
