"""The values of which the report of an import is made."""

from __future__ import annotations

from attrs import frozen


class ImportFailed(Exception):
    """The data could not be imported: nothing was changed. The message says why."""


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
class TableCounts:
    """The numbers of rows of one table: each row was taken over or left behind.

    Some of those that were taken over were ``changed``. ``checksum`` is over the rows that must be
    equal in both databases.
    """

    table: str
    read: int
    taken: int
    changed: int
    left_behind: int
    checksum: str


@frozen(kw_only=True)
class Note:
    """A note about one row: that it was left behind, or changed, and why.

    ``was`` is the text of a JSON object.
    """

    table: str
    id: str
    fate: str
    reason: str
    was: str | None


@frozen(kw_only=True)
class OldFile:
    """A file of messages: its name in the old service, and its name here."""

    id: int
    old_name: str
    name: str


@frozen(kw_only=True)
class OldService:
    """The facts about the old database; ``domain`` is the host of its files' addresses."""

    release: str
    domain: str | None
    missing: tuple[str, ...]
