"""``/api/v1/message``: messages, and the content of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from attrs import asdict, evolve, frozen
from twisted.web.server import Request

from sbm.model.content import BinaryContent, Message
from sbm.model.content_rules import Code, Content, Medium, new_problems
from sbm.store import binary_contents, messages, messagesets
from sbm.store.postgres.database import Transaction
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import Invalid, NotFound
from sbm.web.http.wire import instant, row_id
from sbm.web.schema import filters
from sbm.web.schema.fields import NON_FIELD, Integer, JsonValue, Language, ReadOnly, Reference, Text
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import Listing
from sbm.web.schema.schema import ParsedBody, Schema

Files = Mapping[int, BinaryContent]


SHAPE = Schema(
    [
        ReadOnly(name="id", shown_as="integer"),
        Reference(name="messageset", attribute="messageset_id", hold=messagesets.hold),
        Integer(name="sequence_number"),
        Language(name="lang", max_length=6),
        JsonValue(name="metadata", default={}),
        Text(name="text_content", blank=True, null=True, default=None),
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
_LIST = OptionsInfo(
    name="Message List", description=_DESCRIPTION, actions={"POST": SHAPE.description()}
)
_INSTANCE = OptionsInfo(
    name="Message Instance", description=_DESCRIPTION, actions={"PUT": SHAPE.description()}
)
_CONTENT = OptionsInfo(name="Messages Content", description="A message, with its file.")

_DUPLICATE = "The fields messageset, sequence_number, lang must make a unique set."

# Of which field it is told what cannot be sent; the rest is told of the message as a whole.
_FIELDS: Mapping[Code, str] = {
    "typographic": "text_content",
    "length": "text_content",
    "no audio": "binary_content",
    "only audio": "binary_content",
}


@frozen(eq=False)
class Messages:
    """The messages; no text of them is longer than ``max_text_length`` characters."""

    app = new_app()

    _front: Endpoint
    _max_text_length: int

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

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _create(self, exchange: ApiRequest) -> Reply:
        reading = SHAPE.read(exchange.body())
        made = await self._front.database.transact(_create, reading, self._max_text_length)
        return Reply(status=201, body=shown(made))

    async def _read(self, number: str, _exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(messages.find, message_id=row_id(number))
        if found is None:
            raise NotFound
        return Reply(body=shown(found))

    async def _change(self, number: str, exchange: ApiRequest) -> Reply:
        changed = await self._front.database.transact(
            _change, row_id(number), exchange, self._max_text_length
        )
        return Reply(body=shown(changed))

    async def _delete(self, number: str, _exchange: ApiRequest) -> Reply:
        if not await self._front.database.transact(messages.delete, message_id=row_id(number)):
            raise NotFound
        return Reply(status=204)

    async def _read_content(self, number: str, exchange: ApiRequest) -> Reply:
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


def shown_with_file(exchange: ApiRequest, message: Message, files: Files) -> dict[str, Any]:
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


async def _create(transaction: Transaction, reading: ParsedBody, limit: int) -> Message:
    await reading.look_up(transaction)
    values = await _checked(transaction, reading, None, limit)
    made = await messages.create(transaction, **values)
    if made is None:  # taken by another, just now
        raise Invalid({NON_FIELD: [_DUPLICATE]})
    return made


async def _change(
    transaction: Transaction, message_id: int, exchange: ApiRequest, limit: int
) -> Message:
    found = await messages.lock(transaction, message_id=message_id)
    if found is None:
        raise NotFound
    reading = SHAPE.read(exchange.body(), method=exchange.method, stored=asdict(found))
    await reading.look_up(transaction)
    values = await _checked(transaction, reading, found, limit)
    changed = await messages.update(transaction, message=evolve(found, **values))
    if changed is None:
        raise Invalid({NON_FIELD: [_DUPLICATE]})
    return changed


async def _checked(
    transaction: Transaction, reading: ParsedBody, found: Message | None, limit: int
) -> dict[str, Any]:
    """The values to write; raises Invalid unless the place is free, and it all can be sent.

    What an import brought, and what stays as it is, is no reason to refuse.
    """
    values = reading.attributes()
    stored = {} if found is None else asdict(found)
    wanted = stored | values
    before = None if found is None else await _content(transaction, stored)
    after = await _content(transaction, wanted)
    of_the_whole = []
    for problem in new_problems(before, after, limit=limit):
        field = _FIELDS.get(problem.code)
        if field is None:
            of_the_whole.append(problem.sentence)
        else:
            reading.refuse(field, problem.sentence)
    reading.check()
    place = {name: wanted[name] for name in ("messageset_id", "sequence_number", "lang")}
    besides = None if found is None else found.id
    if await messages.find_in_place(transaction, **place) not in (None, besides):
        raise Invalid({NON_FIELD: [_DUPLICATE]})
    if of_the_whole:
        raise Invalid(of_the_whole)
    return values


async def _content(transaction: Transaction, values: Mapping[str, Any]) -> Content:
    """What these values carry, and how it goes out; the set is kept as it is until the end."""
    messageset_id, file_id = values.get("messageset_id"), values.get("binary_content_id")
    medium = Medium(content_type="text", channel=None)
    if messageset_id is not None and await messagesets.hold(transaction, row_id=messageset_id):
        messageset = await messagesets.find(transaction, messageset_id=messageset_id)
        assert messageset is not None
        medium = messageset.medium
    files = await binary_contents.find(transaction, ids=[] if file_id is None else [file_id])
    file = files.get(file_id) if file_id is not None else None
    return Content(
        text=values.get("text_content"),
        file_name=None if file is None else file.content,
        medium=medium,
    )
