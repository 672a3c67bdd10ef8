"""A place of a message set: a number and a language, its message, and who gets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from sbm.model.content import BinaryContent, Message, MessageSet
from sbm.model.paging import PageRequest
from sbm.operations.content import delete_message
from sbm.store import binary_contents, messages, messagesets
from sbm.store.postgres.transaction import Transaction

# More languages than any set has.
_LANGUAGES = 200


@frozen(kw_only=True)
class MessagePlace:
    """A place; ``message`` is None if it is empty. ``others`` are its messages by language.

    ``files`` are those of the messages, by their ids.
    """

    messageset: MessageSet
    number: int
    lang: str
    message: Message | None
    others: Mapping[str, Message]
    files: Mapping[int, BinaryContent]

    @property
    def version(self) -> str:
        """What changes whenever the message does."""
        return version_of(self.message)

    def file_name(self, message: Message | None) -> str | None:
        """The name of the file of a message."""
        file = None if message is None else self.files.get(message.binary_content_id or 0)
        return None if file is None else file.content


@frozen(kw_only=True)
class PlaceReaders:
    """How many people get the message of a place next, and how many of its language stand there."""

    get_it: int
    stand_here: int


@frozen(kw_only=True)
class Replacement:
    """What some people get instead of a message that is deleted; see ``StandingPeople``."""

    number: int | None
    message_lang: str | None
    count: int


def version_of(message: Message | None) -> str:
    """What changes whenever a message does; empty for none."""
    return "" if message is None else f"{message.id} {message.updated_at.isoformat()}"


async def read_place(
    transaction: Transaction, *, messageset: MessageSet, number: int, lang: str
) -> MessagePlace:
    """What there is at a number in a language."""
    page = await messages.list_page(
        transaction,
        page=PageRequest(limit=_LANGUAGES),
        messageset_id=messageset.id,
        sequence_number=number,
    )
    ids = {one.binary_content_id for one in page.rows if one.binary_content_id is not None}
    return MessagePlace(
        messageset=messageset,
        number=number,
        lang=lang,
        message=next((one for one in page.rows if one.lang == lang), None),
        others={one.lang: one for one in page.rows if one.lang != lang},
        files=await binary_contents.find(transaction, ids=ids),
    )


async def count_readers(transaction: Transaction, *, place: MessagePlace) -> PlaceReaders:
    """How many people get the message of a place next, as the set is now."""
    number, lang = place.number, place.lang
    standing = await messagesets.list_standing(transaction, messageset_id=place.messageset.id)
    here = [one for one in standing if (one.next_sequence_number, one.lang) == (number, lang)]
    return PlaceReaders(
        get_it=sum(one.count for one in standing if one.get(number, lang)),
        stand_here=sum(one.count for one in here),
    )


async def delete_and_compare(
    transaction: Transaction, *, message: Message
) -> Sequence[Replacement]:
    """Delete a message; returns what those get who would have got it next. Raises NoSuchRow."""
    before = await messagesets.list_standing(transaction, messageset_id=message.messageset_id)
    await delete_message(transaction, message_id=message.id)
    after = await messagesets.list_standing(transaction, messageset_id=message.messageset_id)
    place = message.sequence_number, message.lang
    concerned = {(one.lang, one.next_sequence_number) for one in before if one.get(*place)}
    counts: dict[tuple[int | None, str | None], int] = {}
    for one in after:
        if (one.lang, one.next_sequence_number) in concerned:
            key = one.number, one.message_lang
            counts[key] = counts.get(key, 0) + one.count
    return [
        Replacement(number=number, message_lang=lang, count=count)
        for (number, lang), count in sorted(counts.items(), key=str)
    ]
