"""The messages and identities: a chain of message sets, all of the same length."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID, uuid4

from attrs import define, field, frozen

from tests.arrange import arranged

LANG = "eng_ZA"

# Not due within the next years: ticks come only by HTTP.
_NEVER = {"minute": "0", "hour": "0", "day_of_month": "29", "month_of_year": "2"}
SCHEDULES = 2

# One of this many subscriptions has a prepend for its first message.
PREPENDED = 10


@frozen(kw_only=True, order=True)
class MessageNumber:
    """The number of a message, and of its set in the chain."""

    generation: int
    number: int


@define(eq=False)
class Content:
    """The chain: message set ids in its order, and how many messages each has."""

    messages: int
    schedules: list[int] = field(factory=list)
    sets: list[int] = field(factory=list)

    def text(self, message: MessageNumber) -> str:
        """The text of a message."""
        return f"set {message.generation} message {message.number}"

    def message(self, text: str) -> MessageNumber | None:
        """The message with this text."""
        match text.split(" "):
            case ["set", generation, "message", number]:
                return MessageNumber(generation=int(generation), number=int(number))
        return None

    def generation(self, messageset: int) -> int:
        """The place of a message set in the chain."""
        return self.sets.index(messageset)

    def write(self, uri: str, length: int) -> None:
        """Insert the schedules and this many message sets; the last set first."""
        with arranged(uri) as direct:
            self.schedules = [direct.schedule(**_NEVER) for _ in range(SCHEDULES)]
            following = None
            for generation in reversed(range(length)):
                schedule = self.schedules[generation % SCHEDULES]
                following = direct.messageset(
                    f"set {generation}", schedule, messages=[], next_set=following
                )
                for number in range(1, self.messages + 1):
                    text = self.text(MessageNumber(generation=generation, number=number))
                    direct.message(following, number, LANG, text)
                self.sets.insert(0, following)


@define(eq=False)
class People:
    """Identities: some are subscribed from the beginning, others are spare."""

    subscribed: list[UUID] = field(factory=list)
    prepends: dict[UUID, tuple[str, bool]] = field(factory=dict)
    spare: list[str] = field(factory=list)

    def write(self, uri: str, content: Content, count: int) -> None:
        """Subscribe this many identities, in equal parts to the first sets of the chain."""
        with arranged(uri) as direct:
            for which, schedule in enumerate(content.schedules):
                part = count // len(content.schedules)
                self.subscribed += direct.subscriptions(
                    part, content.sets[which], schedule, lang=LANG
                )
            for subscription in self.subscribed[::PREPENDED]:
                self.prepends[subscription] = (f"first of all {subscription}", True)
                direct.rows(
                    "UPDATE subscriptions SET metadata ="
                    " jsonb_build_object('kept', 'k', 'prepend_next_delivery', %s::text)"
                    " WHERE id = %s",
                    *(self.prepends[subscription][0], subscription),
                )
        self.spare = [str(uuid4()) for _ in range(count // 5)]

    def register(self, uri: str, journal: Path) -> None:
        """Write them into the journal that the Identity Store reads."""
        with arranged(uri) as direct:
            known = [row["identity"] for row in direct.rows("SELECT identity FROM subscriptions")]
        lines = (
            json.dumps({"id": identity, "msisdn": f"+27820{number:06}"})
            for number, identity in enumerate([*known, *self.spare])
        )
        journal.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
