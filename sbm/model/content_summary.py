"""What message sets and schedules have and who uses them, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen


@frozen(kw_only=True)
class SetSummary:
    """How many messages and numbers a set has, in which languages; ``people`` are under way."""

    messageset_id: int
    messages: int
    numbers: int
    languages: Sequence[str] = field(converter=tuple)
    people: int

    @property
    def missing(self) -> int:
        """How many messages are missing until each number has one in each language."""
        return self.numbers * len(self.languages) - self.messages


@frozen(kw_only=True)
class StandingPeople:
    """How many people of a language stand at a number of a set, and what they get next.

    ``number`` is that of the next message, None: they are at the end. ``message_lang`` is its
    language, None: they wait for a translation.
    """

    lang: str
    next_sequence_number: int
    count: int
    number: int | None
    message_lang: str | None

    def get(self, number: int, lang: str) -> bool:
        """Whether they get the message of this number and language next."""
        return (self.number, self.message_lang) == (number, lang)


@frozen(kw_only=True)
class ScheduleSummary:
    """How many people are on a schedule, and the names of the sets whose default it is."""

    schedule_id: int
    people: int
    messagesets: Sequence[str] = field(converter=tuple)
