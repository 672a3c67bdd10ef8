"""Drafts: the values that a client wants a row to have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from attrs import define, field, frozen

from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.operations.refusals import WrongValues
from sbm.store.postgres.transaction import Transaction


class Hold(Protocol):
    """Whether a row exists; if it does, it is locked until the transaction ends."""

    def __call__(self, transaction: Transaction, *, row_id: int) -> Awaitable[bool]: ...


@frozen(kw_only=True)
class Referenced:
    """An attribute whose value is the id of a row; ``unknown`` is the error if there is no row."""

    attribute: str
    hold: Hold
    unknown: str


@define
class Problems:
    """The problems of a draft: sentences by attribute, or for SEVERAL."""

    found: dict[str, list[str]] = field(factory=dict)

    def add(self, attribute: str, *sentences: str) -> None:
        """Add a problem of an attribute."""
        self.found.setdefault(attribute, []).extend(sentences)

    def check(self) -> None:
        """Raise WrongValues with all problems, if there are any."""
        if self.found:
            raise WrongValues(self.found)


@frozen(kw_only=True)
class Draft:
    """Typed values for a row, by attribute, and the problems of values that could not be read.

    ``defaults`` are the names of the values that the client did not write. ``user_id`` is the user
    who writes; None if the database does not know the user. A text that is sent has at most
    ``max_text_length`` characters. ``ticking_zone`` is the time zone of the Scheduler, if it makes
    the ticks.
    """

    values: Mapping[str, Any]
    defaults: frozenset[str] = frozenset()
    problems: Mapping[str, Sequence[str]] = field(factory=dict)
    references: Sequence[Referenced] = ()
    user_id: int | None = None
    max_text_length: int = MAX_TEXT_LENGTH
    ticking_zone: ZoneInfo | None = None

    @property
    def written(self) -> dict[str, Any]:
        """The values without the defaults."""
        return {name: value for name, value in self.values.items() if name not in self.defaults}

    def found(self) -> Problems:
        """A copy of the problems: the transaction may run again, so the draft must not change."""
        return Problems({name: list(sentences) for name, sentences in self.problems.items()})

    async def hold_references(self, transaction: Transaction) -> Problems:
        """Look up and lock the rows that the draft refers to; returns the problems so far."""
        problems = self.found()
        for one in self.references:
            row_id = self.values.get(one.attribute)
            if row_id is None or one.attribute in problems.found:
                continue
            if not await one.hold(transaction, row_id=row_id):
                problems.add(one.attribute, one.unknown)
        return problems


# Makes the draft of an existing row from its stored values. It is called after the row was found,
# and raises the errors of the request: so a row that does not exist is reported first.
Changes = Callable[[Mapping[str, Any]], Draft]
