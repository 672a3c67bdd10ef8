"""The limits of a connection, and its states."""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

# A connection is read in small pieces: the smallest chunks that a piece of a body can be made of
# are then done with in a few milliseconds.
READ_BYTES = 2**12
# What is only dropped is read in larger ones.
DROPPED_BYTES = 2**16


@frozen(kw_only=True)
class Limits:
    """The limits of a connection.

    ``connections``: how many at once, and ``of_address``: from one address. ``left``: how many more
    there may be if their clients are known. ``spare``: how many more there may be, which only
    answer the probes, and tell all others to come again. ``replaced``: how many connections of
    others may be closed for those of one address in ``replace_seconds``.

    Bytes: of the request line, of one header, and of all headers.

    Seconds: from the first byte of a request to the end of its headers, also on a spare connection;
    then to the end of its body; then to the end of the answer; between two requests; the time in
    which a client must close, if its request was not read. A connection is not closed for another
    in the first ``new_seconds`` of a phase, and that of a known client is not closed for that of a
    stranger in the first ``known_seconds``. A client who was told to come again later is not read
    for ``later_seconds``.
    """

    connections: int = 400
    of_address: int = 200
    left: int = 40
    spare: int = 40
    line_bytes: int = 4094
    header_bytes: int = 8190
    headers_bytes: int = 2**15
    headers: int = 100
    header_seconds: float = 20
    spare_seconds: float = 5
    body_seconds: float = 60
    upload_seconds: float = 900
    answer_seconds: float = 900
    idle_seconds: float = 75
    linger_seconds: float = 15
    new_seconds: float = 1
    known_seconds: float = 10
    later_seconds: float = 1
    replaced: int = 10
    replace_seconds: float = 5


class Phase(IntEnum):
    """The state of a connection. If there are too many, the lowest states are closed first."""

    CLOSING = 0
    IDLE = 1
    HEADERS = 2
    BODY = 3
    ANSWER = 4
