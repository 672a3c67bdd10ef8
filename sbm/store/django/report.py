"""What an import tells of itself."""

from __future__ import annotations

from attrs import frozen


class ImportFailed(Exception):
    """The data could not be taken over: nothing was imported. The message says why."""


@frozen(kw_only=True)
class Sums:
    """How many rows there are, and a checksum that does not depend on their order.

    The checksum is the sum of the MD5 of each row, in two halves; so sums can be added.
    """

    count: int
    high: int
    low: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            count=self.count + other.count, high=self.high + other.high, low=self.low + other.low
        )

    def __sub__(self, other: Sums) -> Sums:
        return Sums(
            count=self.count - other.count, high=self.high - other.high, low=self.low - other.low
        )

    @property
    def checksum(self) -> str:
        """The checksum as 32 hexadecimal digits."""
        return f"{self.high % 2**64:016x}{self.low % 2**64:016x}"


@frozen(kw_only=True)
class TableTally:
    """What became of the rows of one table: each was taken over or left behind.

    Of those that were taken over, some were ``changed`` on the way. ``checksum`` is over those that
    both databases must have alike.
    """

    table: str
    read: int
    taken: int
    changed: int
    left_behind: int
    checksum: str


@frozen(kw_only=True)
class Note:
    """What is to be told of one row: that it was left behind, or changed, and why.

    ``was`` is the text of a JSON object.
    """

    table: str
    id: str
    fate: str
    reason: str
    was: str | None


@frozen(kw_only=True)
class OldFile:
    """A file of messages: as the old service called it, and as it is called here."""

    id: int
    old_name: str
    name: str


@frozen(kw_only=True)
class Origin:
    """What the old database says of itself; ``domain`` is the host of its files' addresses."""

    release: str
    domain: str | None
    missing: tuple[str, ...]
