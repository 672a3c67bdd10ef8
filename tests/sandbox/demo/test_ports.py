"""Where the sandbox serves the API."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sbm.sandbox.demo.ports import where_to_listen


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_taken_port_is_passed_over(taken: int, free: int) -> None:
    assert where_to_listen([], [taken, free]) == (
        f"http://127.0.0.1:{free}",
        (f"tcp:{free}:interface=127.0.0.1",),
    )


def test_no_free_port_is_an_error(taken: int) -> None:
    with pytest.raises(LookupError):
        where_to_listen([], [taken])


@pytest.mark.parametrize(
    ("description", "url"),
    [
        ("tcp:9000", "http://127.0.0.1:9000"),
        ("tcp:port=9000", "http://127.0.0.1:9000"),
        ("tcp:9000:interface=0.0.0.0", "http://127.0.0.1:9000"),
        ("tcp:9000:interface=10.1.2.3", "http://10.1.2.3:9000"),
        ("tcp6:9000", "http://[::1]:9000"),
        (r"tcp6:9000:interface=fe80\:\:1", "http://[fe80::1]:9000"),
    ],
)
def test_a_given_port_is_taken_at_its_word(description: str, url: str) -> None:
    assert where_to_listen([description], []) == (url, (description,))


def test_the_first_tcp_port_gives_the_address(free: int) -> None:
    given = ["unix:/tmp/sbm", "tcp:9000", "tcp:9001"]
    assert where_to_listen(given, [free]) == ("http://127.0.0.1:9000", tuple(given))


@pytest.mark.parametrize("description", ["unix:/tmp/sbm", "tcp:0"])
def test_without_a_known_port_there_is_one_of_ours_beside_it(description: str, free: int) -> None:
    assert where_to_listen([description], [free]) == (
        f"http://127.0.0.1:{free}",
        (description, f"tcp:{free}:interface=127.0.0.1"),
    )
