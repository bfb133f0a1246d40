"""Turning new callers away: who is connected stays, who comes is not let in."""

from __future__ import annotations

import socket

import pytest

from serinus.serving.listeners import connected, turn_away


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_new_callers_are_turned_away_and_those_who_wait_are_served(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        at = listener.getsockname()[:2]
        with socket.create_connection(at, 5) as early:  # stands in the queue of the kernel
            assert turn_away(at[1])
            with pytest.raises(TimeoutError):
                socket.create_connection(at, 0.2)
            served, _ = listener.accept()
            with served:
                assert connected(at[1]) == 1
                early.sendall(b"hello")
                served.settimeout(5)
                assert served.recv(5) == b"hello"
                served.sendall(b"and back")
                assert early.recv(8) == b"and back"
    assert connected(at[1]) == 0


def test_a_port_on_which_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert not turn_away(port)
        assert connected(port) == 0
