"""``/api/v1/message``: messages, and the content of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from attrs import asdict, evolve, frozen
from twisted.web.server import Request

from sbm.model.content import BinaryContent, Message, fits_whatsapp, typographic_characters
from sbm.model.echo import echoed
from sbm.store import binary_contents, messages, messagesets
from sbm.store.database import Transaction
from sbm.web import filters
from sbm.web.errors import Invalid, NotFound
from sbm.web.exchange import About, Exchange, Front, Reply, new_app
from sbm.web.fields import NON_FIELD, Integer, JsonValue, Language, ReadOnly, Reference, Text
from sbm.web.filters import Filter
from sbm.web.pages import Listing
from sbm.web.shapes import Reading, Shape
from sbm.web.wire import instant, row_id

Files = Mapping[int, BinaryContent]


@frozen(kw_only=True)
class MessageText(Text):
    """The text of a message: blank or null where there is a file, and in plain characters."""

    def objections(self, text: str) -> list[str]:
        found = typographic_characters(text)
        if not found:
            return super().objections(text)
        # Both together are no longer than what other errors echo.
        shown, characters = echoed(text, 150), echoed(" ".join(found), 50)
        return [
            *super().objections(text),
            f'Text "{shown}" has special characters which can be replaced: {characters}',
        ]


SHAPE = Shape(
    [
        ReadOnly(name="id", shown_as="integer"),
        Reference(name="messageset", attribute="messageset_id", hold=messagesets.hold),
        Integer(name="sequence_number"),
        Language(name="lang", max_length=6),
        JsonValue(name="metadata", default={}),
        MessageText(name="text_content", blank=True, null=True, default=None),
        Reference(
            name="binary_content",
            attribute="binary_content_id",
            hold=binary_contents.hold,
            null=True,
            default=None,
        ),
        ReadOnly(name="created_at", shown_as="datetime"),
        ReadOnly(name="updated_at", shown_as="datetime"),
    ]
)

FILTERS = [
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
    ),
    Filter(name="sequence_number", parameter="sequence_number", read=filters.integer),
    Filter(name="lang", parameter="lang", read=filters.text),
]

_DESCRIPTION = "API endpoint that allows Message models to be viewed or edited."
_LIST = About(name="Message List", description=_DESCRIPTION, actions={"POST": SHAPE.description()})
_INSTANCE = About(
    name="Message Instance", description=_DESCRIPTION, actions={"PUT": SHAPE.description()}
)
_CONTENT = About(name="Messages Content", description="A message, with its file.")

_DUPLICATE = "The fields messageset, sequence_number, lang must make a unique set."
_EMPTY = "Messages must have text or file attached"
_UNFIT_FOR_WHATSAPP = "Text for WhatsApp must not include newline, tabs, or 4 consecutive spaces."


@frozen(eq=False)
class Messages:
    """The messages."""

    app = new_app()

    _front: Front

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._create}
        return await self._front.answer(request, _LIST, methods)

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        change = partial(self._change, number)
        methods = {
            "GET": partial(self._read, number),
            "PUT": change,
            "PATCH": change,
            "DELETE": partial(self._delete, number),
        }
        return await self._front.answer(request, _INSTANCE, methods)

    @app.route("/<number>/content")
    async def content(self, request: Request, number: str) -> bytes:
        methods = {"GET": partial(self._read_content, number)}
        return await self._front.answer(request, _CONTENT, methods)

    async def _list(self, exchange: Exchange) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _create(self, exchange: Exchange) -> Reply:
        made = await self._front.database.transact(_create, SHAPE.read(exchange.body()))
        return Reply(status=201, body=shown(made))

    async def _read(self, number: str, _exchange: Exchange) -> Reply:
        found = await self._front.database.transact(messages.find, message_id=row_id(number))
        if found is None:
            raise NotFound
        return Reply(body=shown(found))

    async def _change(self, number: str, exchange: Exchange) -> Reply:
        changed = await self._front.database.transact(_change, row_id(number), exchange)
        return Reply(body=shown(changed))

    async def _delete(self, number: str, _exchange: Exchange) -> Reply:
        if not await self._front.database.transact(messages.delete, message_id=row_id(number)):
            raise NotFound
        return Reply(status=204)

    async def _read_content(self, number: str, exchange: Exchange) -> Reply:
        found, files = await self._front.database.transact(_find_with_file, row_id(number))
        return Reply(body=shown_with_file(exchange, found, files))


def shown(message: Message) -> dict[str, Any]:
    """A message as clients see it."""
    return {
        "id": message.id,
        "messageset": message.messageset_id,
        "sequence_number": message.sequence_number,
        "lang": message.lang,
        "metadata": message.metadata,
        "text_content": message.text_content,
        "binary_content": message.binary_content_id,
        "created_at": instant(message.created_at),
        "updated_at": instant(message.updated_at),
    }


_LISTING = Listing(
    name="message",
    list_page=messages.list_page,
    shown=lambda _exchange, one: shown(one),
    filters=FILTERS,
)


def shown_with_file(exchange: Exchange, message: Message, files: Files) -> dict[str, Any]:
    """A message as clients see it among its set's, or alone with its content."""
    file = files.get(message.binary_content_id) if message.binary_content_id else None
    return {
        "id": message.id,
        "messageset": message.messageset_id,
        "sequence_number": message.sequence_number,
        "lang": message.lang,
        "text_content": message.text_content,
        "binary_content": file
        and {"id": file.id, "content": exchange.url(f"/media/{quote(file.content)}")},
        "created_at": instant(message.created_at),
        "updated_at": instant(message.updated_at),
    }


async def files_of(transaction: Transaction, found: Sequence[Message]) -> Files:
    """The files that these messages carry, by id."""
    ids = {one.binary_content_id for one in found if one.binary_content_id is not None}
    return await binary_contents.find(transaction, ids=ids)


async def _find_with_file(transaction: Transaction, message_id: int) -> tuple[Message, Files]:
    found = await messages.find(transaction, message_id=message_id)
    if found is None:
        raise NotFound
    return found, await files_of(transaction, [found])


async def _create(transaction: Transaction, reading: Reading) -> Message:
    await reading.look_up(transaction)
    reading.check()
    values = reading.attributes()
    await _check(transaction, values)
    made = await messages.create(transaction, **values)
    if made is None:  # taken by another, just now
        raise Invalid({NON_FIELD: [_DUPLICATE]})
    return made


async def _change(transaction: Transaction, message_id: int, exchange: Exchange) -> Message:
    found = await messages.lock(transaction, message_id=message_id)
    if found is None:
        raise NotFound
    reading = SHAPE.read(exchange.body(), method=exchange.method)
    await reading.look_up(transaction)
    reading.check()
    wanted = evolve(found, **reading.attributes())
    await _check(transaction, asdict(wanted), besides=message_id)
    changed = await messages.update(transaction, message=wanted)
    if changed is None:
        raise Invalid({NON_FIELD: [_DUPLICATE]})
    return changed


async def _check(
    transaction: Transaction, values: Mapping[str, Any], *, besides: int | None = None
) -> None:
    """Raise Invalid unless the place is free, and there is a text or a file that suits the set."""
    place = {name: values[name] for name in ("messageset_id", "sequence_number", "lang")}
    if await messages.find_in_place(transaction, **place) not in (None, besides):
        raise Invalid({NON_FIELD: [_DUPLICATE]})
    text = values["text_content"]
    if not text and values["binary_content_id"] is None:
        raise Invalid([_EMPTY])
    messageset = await messagesets.find(transaction, messageset_id=values["messageset_id"])
    assert messageset is not None
    if text and messageset.is_for_whatsapp and not fits_whatsapp(text):
        raise Invalid([_UNFIT_FOR_WHATSAPP])
