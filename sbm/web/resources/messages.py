"""``/api/v1/message``: messages, and the content of one."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from twisted.web.server import Request

from sbm.model.content import Message
from sbm.model.user import CONTENT_EDIT
from sbm.operations.content import change_message, create_message, delete_message
from sbm.store import binary_contents, messages, messagesets
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import reading
from sbm.web.http.http_errors import NotFound
from sbm.web.http.needs import writing
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
from sbm.web.openapi.lists import NOT_FOUND
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema, shown
from sbm.web.resources.message_files import files_of, shown_with_file
from sbm.web.schema import filters
from sbm.web.schema.fields import (
    CREATED_AT,
    ID,
    UPDATED_AT,
    UPDATED_BY,
    Integer,
    JsonValue,
    Language,
    ReadOnly,
    Reference,
    Text,
)
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import ROW_ID, URL
from sbm.web.schema.schema import Schema

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        Reference(
            name="messageset",
            attribute="messageset_id",
            hold=messagesets.hold,
            note="The set of the message.",
        ),
        Integer(name="sequence_number", note="Its place in the set. Gaps are skipped."),
        Language(name="lang", max_length=6, note="ISO 639-3, or with a country: eng, eng_ZA."),
        JsonValue(
            name="metadata",
            default={},
            note="Any JSON but null. If it is an object, its members go out with the message. At"
            " most 16,384 bytes, unless SBM_MAX_METADATA_BYTES has another value, and 1,000"
            " values.",
        ),
        Text(
            name="text_content",
            blank=True,
            null=True,
            default=None,
            note="The text, in plain characters: “ ” ’ – are refused. At most 1,000 characters,"
            " unless SBM_MAX_TEXT_LENGTH has another value.",
        ),
        Reference(
            name="binary_content",
            attribute="binary_content_id",
            hold=binary_contents.hold,
            null=True,
            default=None,
            note="The file. A message in a set of sounds needs a sound, and no image.",
        ),
        ReadOnly(name="created_at", shown_as="datetime", note=CREATED_AT),
        ReadOnly(name="updated_at", shown_as="datetime", note=UPDATED_AT),
        ReadOnly(name="updated_by", shown_as="count", null=True, note=UPDATED_BY),
    ]
)

FILTERS = [
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
        note="Messages of this set.",
    ),
    Filter(name="sequence_number", read=filters.integer, note="Messages in this place."),
    Filter(name="lang", read=filters.text, note="Messages in this language."),
]

RESOURCE = Resource[Message](
    path="/api/v1/message/",
    title="Message",
    description="API endpoint that allows Message models to be viewed or edited.",
    needs=writing(CONTENT_EDIT, publishes=True),
    is_under_way=messages.is_under_way,
    schema=SCHEMA,
    filters=FILTERS,
    key="message_id",
    list_page=messages.list_page,
    find=messages.find,
    create=create_message,
    change=change_message,
    delete=delete_message,
    sentences=Sentences(
        tag="Messages",
        name="message",
        one="a message",
        many="messages",
        schema_name="Message",
        key="The message.",
        notes={
            "POST": "A message needs a text or a file. Two messages of a set cannot have the same"
            " place and language.",
            "PUT": "A field that is left out and has a default is not changed.",
        },
        example={
            "messageset": 1,
            "sequence_number": 1,
            "lang": "eng_ZA",
            "text_content": "Your baby is as big as a bean now.",
        },
        change={"text_content": "Your baby is as big as a lemon now."},
    ),
)

_CONTENT = OptionsInfo(name="Messages Content", description="A message, with its file.")


@frozen(eq=False, kw_only=True)
class Messages(Collection):
    """The messages, and one with its file."""

    app = collection_app()
    resource = RESOURCE

    @app.route("/<key>/content")
    async def content(self, request: Request, key: str) -> bytes:
        methods = {"GET": reading(partial(_read_content, key))}
        return await self.endpoint.answer(request, _CONTENT, methods)


async def _read_content(key: str, transaction: Transaction, request: ApiRequest) -> Reply:
    found = await messages.find(transaction, message_id=row_id(key))
    if found is None:
        raise NotFound
    return Reply(body=shown_with_file(request, found, await files_of(transaction, [found])))


_FILE = nullable(one_object({"id": ROW_ID, "content": said(URL, "The URL of the file.")}))

SECTION = Section(
    tags=[("Messages", "A message is a text, a file, or both, in one language.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/message/{id}/content/",
            tag="Messages",
            parameters=RESOURCE.row_key,
            operations={
                "GET": Operation(
                    name="read_message_content",
                    summary="Read a message with its file",
                    answers={
                        200: answer_of(schema("MessageWithFile"), "The message."),
                        **NOT_FOUND,
                    },
                )
            },
        ),
    ],
    schemas={
        **RESOURCE.schemas(),
        "MessageWithFile": one_object(
            {
                name: said(_FILE, "Its file.") if name == "binary_content" else one
                for name, one in shown(SCHEMA)["properties"].items()
                if name not in ("metadata", "updated_by")
            }
        ),
    },
)
