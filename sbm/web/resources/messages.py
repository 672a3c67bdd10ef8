"""``/api/v1/message``: messages, and the content of one."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from twisted.web.server import Request

from sbm.model.content import Message
from sbm.operations.content import change_message, create_message, delete_message
from sbm.store import binary_contents, messages, messagesets
from sbm.store.postgres.database import Transaction
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.rows import Rows, collection
from sbm.web.http.endpoint import ApiRequest, OptionsInfo, Reply
from sbm.web.http.errors import NotFound
from sbm.web.http.wire import row_id
from sbm.web.resources.message_files import Files, files_of, shown_with_file
from sbm.web.schema import filters
from sbm.web.schema.fields import Integer, JsonValue, Language, ReadOnly, Reference, Text
from sbm.web.schema.filters import Filter
from sbm.web.schema.schema import Schema

SCHEMA = Schema(
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

RESOURCE = Resource[Message](
    path="/api/v1/message/",
    title="Message",
    about="API endpoint that allows Message models to be viewed or edited.",
    schema=SCHEMA,
    filters=FILTERS,
    key="message_id",
    list_page=messages.list_page,
    find=messages.find,
    create=create_message,
    change=change_message,
    delete=delete_message,
)

_CONTENT = OptionsInfo(name="Messages Content", description="A message, with its file.")


@frozen(eq=False, kw_only=True)
class Messages(Rows):
    """The messages, and one with its file."""

    app = collection()
    resource = RESOURCE

    @app.route("/<key>/content")
    async def content(self, request: Request, key: str) -> bytes:
        methods = {"GET": partial(self._read_content, key)}
        return await self.endpoint.answer(request, _CONTENT, methods)

    async def _read_content(self, key: str, request: ApiRequest) -> Reply:
        found, files = await self.endpoint.database.transact(_find_with_file, row_id(key))
        return Reply(body=shown_with_file(request, found, files))


async def _find_with_file(transaction: Transaction, message_id: int) -> tuple[Message, Files]:
    found = await messages.find(transaction, message_id=message_id)
    if found is None:
        raise NotFound
    return found, await files_of(transaction, [found])
