"""Drafts: what somebody wants a row to be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import define, field, frozen

from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.operations.refusals import WrongValues
from sbm.store.postgres.database import Transaction


class Hold(Protocol):
    """Whether a row exists, and if it does, it stays until the transaction ends."""

    def __call__(self, transaction: Transaction, *, row_id: int) -> Awaitable[bool]: ...


@frozen(kw_only=True)
class Referenced:
    """An attribute whose value is the id of a row; ``unknown`` is said if there is no such row."""

    attribute: str
    hold: Hold
    unknown: str


@define
class Problems:
    """What is found to be wrong with a draft: sentences by attribute, or for SEVERAL."""

    found: dict[str, list[str]] = field(factory=dict)

    def add(self, attribute: str, *sentences: str) -> None:
        """Remember what is wrong with an attribute."""
        self.found.setdefault(attribute, []).extend(sentences)

    def check(self) -> None:
        """Raise WrongValues with all that was found, if anything was."""
        if self.found:
            raise WrongValues(self.found)


@frozen(kw_only=True)
class Draft:
    """Typed values for a row, by attribute, and what is wrong with others that were written.

    ``defaults`` are the names of the values that were not written. ``user_id`` is who writes; None
    is nobody whom the database knows. No text that is sent has more than ``max_text_length``
    characters.
    """

    values: Mapping[str, Any]
    defaults: frozenset[str] = frozenset()
    problems: Mapping[str, Sequence[str]] = field(factory=dict)
    references: Sequence[Referenced] = ()
    user_id: int | None = None
    max_text_length: int = MAX_TEXT_LENGTH

    @property
    def written(self) -> dict[str, Any]:
        """The values without the defaults."""
        return {name: value for name, value in self.values.items() if name not in self.defaults}

    def found(self) -> Problems:
        """What is wrong so far. A transaction may be started again: the draft stays as it is."""
        return Problems({name: list(sentences) for name, sentences in self.problems.items()})

    async def hold_references(self, transaction: Transaction) -> Problems:
        """Look up the rows that are referred to, and keep them; what is wrong so far."""
        problems = self.found()
        for one in self.references:
            row_id = self.values.get(one.attribute)
            if row_id is None or one.attribute in problems.found:
                continue
            if not await one.hold(transaction, row_id=row_id):
                problems.add(one.attribute, one.unknown)
        return problems


# What is written of a row that there is, given the values that are stored. Called once the row is
# found, it raises what was wrong with the request: a row that does not exist is told first.
Changes = Callable[[Mapping[str, Any]], Draft]
