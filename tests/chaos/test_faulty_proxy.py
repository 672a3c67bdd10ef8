"""The proxy does to a line what it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from attrs import define, field

from tests.chaos.faulty_proxy import PASS, FaultyProxy, Mode, ProxyThread
from tests.chaos.servers import eventually
from tests.ports import free_port

# A hang guard; that nothing comes is seen by what comes later.
PATIENCE_SECONDS = 30


@define(eq=False)
class Echo:
    """Answers everything with itself, and remembers it."""

    listening: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    heard: bytes = b""

    def serve(self) -> None:
        while True:
            try:
                line, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with line:
            try:
                while data := line.recv(1000):
                    self.heard += data
                    line.sendall(data)
            except OSError:
                return


@define(eq=False)
class ProxiedConnection:
    """A client, through a proxy, of an echo."""

    proxy: FaultyProxy
    echo: Echo

    def call(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE_SECONDS)


@pytest.fixture
def line() -> Iterator[ProxiedConnection]:
    echo, wires = Echo(), ProxyThread()
    threading.Thread(target=echo.serve, daemon=True).start()
    proxy = FaultyProxy(wires, free_port(), lambda: ("127.0.0.1", echo.listening.getsockname()[1]))
    proxy.open()
    try:
        yield ProxiedConnection(proxy, echo)
    finally:
        proxy.close()
        wires.stop()
        echo.listening.close()


def test_it_passes_on_what_comes(line: ProxiedConnection) -> None:
    with line.call() as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_what_is_delayed_comes(line: ProxiedConnection) -> None:
    line.proxy.set(Mode(kind="delay", seconds=0.01))
    with line.call() as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_an_answer_is_truncated_after_the_request_has_arrived(line: ProxiedConnection) -> None:
    line.proxy.set(Mode(kind="truncate"))
    with line.call() as client:
        client.sendall(b"hello")
        answer = b""
        while data := client.recv(100):
            answer += data
        assert b"hello".startswith(answer)
        assert answer != b"hello"
    assert line.echo.heard == b"hello"


def test_a_swallowed_answer_never_comes_though_the_request_has_arrived(
    line: ProxiedConnection,
) -> None:
    line.proxy.set(Mode(kind="swallow"))
    with line.call() as client:
        client.sendall(b"hello")
        eventually(lambda: line.echo.heard == b"hello", "the request arrives")
        eventually(lambda: any(one.is_torn for one in line.proxy.lines), "the answer is gone")
        line.proxy.set(PASS)
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_nothing_comes_out_of_a_black_hole(line: ProxiedConnection) -> None:
    line.proxy.set(Mode(kind="black-hole"))
    with line.call() as client:
        client.sendall(b"hello")
        eventually(lambda: any(one.is_torn for one in line.proxy.lines), "the request is gone")
        line.proxy.set(PASS)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with line.call() as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"
    assert line.echo.heard == b"again"


def test_a_refused_client_cannot_connect_until_it_is_lifted(line: ProxiedConnection) -> None:
    with line.call() as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        line.proxy.set(Mode(kind="refuse"))
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with pytest.raises(ConnectionRefusedError):
        line.call()
    line.proxy.set(PASS)
    line.call().close()


def test_a_line_is_reset(line: ProxiedConnection) -> None:
    with line.call() as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        line.proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_frozen_line_stays_silent_and_a_new_one_does_not(line: ProxiedConnection) -> None:
    with line.call() as frozen:
        frozen.sendall(b"hello")
        assert frozen.recv(100) == b"hello"
        line.proxy.freeze()
        frozen.sendall(b"anybody there?")
        eventually(lambda: any(one.loses_requests for one in line.proxy.lines), "it is gone")
        line.proxy.set(PASS)
        with line.call() as fresh:
            fresh.sendall(b"again")
            assert fresh.recv(100) == b"again"
        frozen.setblocking(False)
        with pytest.raises(BlockingIOError):
            frozen.recv(100)
    assert line.echo.heard == b"helloagain"
