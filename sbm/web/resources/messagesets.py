"""``/api/v1/messageset``: message sets, and all messages of one."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from twisted.web.server import Request

from sbm.model.content import CONTENT_TYPES, NEXT, ListedMessage, MessageSet, is_translation_policy
from sbm.model.instants import instant
from sbm.model.user import CONTENT_EDIT
from sbm.operations.content import change_messageset, create_messageset, delete_messageset
from sbm.store import messages, messagesets, schedules
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import InTransaction
from sbm.web.http.http_errors import NotFound
from sbm.web.http.needs import writing
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import compact_json, row_id, written_in_slices
from sbm.web.openapi.lists import NOT_FOUND
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import one_object, schema, shown
from sbm.web.resources.message_files import Files, files_of, shown_with_file
from sbm.web.schema import filters
from sbm.web.schema.fields import (
    CREATED_AT,
    ID,
    UPDATED_AT,
    UPDATED_BY,
    Choice,
    Integer,
    ReadOnly,
    Reference,
    Text,
)
from sbm.web.schema.filters import Filter
from sbm.web.schema.moments import Hours
from sbm.web.schema.schema import Schema


@frozen(kw_only=True)
class TranslationPolicy(Text):
    """``next``, ``wait``, or ``fallback:`` and a language."""

    def objections(self, text: str) -> list[str]:
        return [] if is_translation_policy(text) else [_NO_POLICY]


_NO_POLICY = "Must be next, wait, or fallback: and a language, such as fallback:eng_ZA."

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        Text(name="short_name", max_length=100, note="A unique name."),
        Text(
            name="label",
            label="User-readable name",
            max_length=100,
            blank=True,
            default="",
            note="A name for people to read.",
        ),
        Choice(
            name="content_type",
            choices=CONTENT_TYPES,
            default="text",
            note="Whether its messages are texts or sound. It can only change if its messages suit"
            " the new type.",
        ),
        Text(
            name="channel",
            max_length=64,
            null=True,
            default=None,
            note="The channel for the Message Sender; null: the Message Sender's default. If the"
            " channel contains whatsapp, the texts of the set must not contain newlines, tabs, or"
            " four blanks in a row; a set with such texts cannot change to such a channel.",
        ),
        Text(name="notes", blank=True, null=True, default=None, note="Anything about the set."),
        Reference(
            name="next_set",
            attribute="next_set_id",
            hold=messagesets.hold,
            null=True,
            default=None,
            note="The set that follows when this one is completed.",
        ),
        Reference(
            name="default_schedule",
            attribute="default_schedule_id",
            hold=schedules.hold,
            note="The schedule of subscriptions that come from another set.",
        ),
        ReadOnly(name="created_at", shown_as="datetime", note=CREATED_AT),
        ReadOnly(name="updated_at", shown_as="datetime", note=UPDATED_AT),
        Hours(
            name="send_hours",
            null=True,
            default=None,
            note="From when until when its messages may leave, by the clock of the schedule, such"
            " as 08:00-20:00; null: always.",
        ),
        Integer(
            name="max_age",
            least=1,
            null=True,
            default=None,
            note="After how many seconds it is too late for what is owed: then it is skipped; null:"
            " it never is.",
        ),
        ReadOnly(name="updated_by", shown_as="count", null=True, note=UPDATED_BY),
        TranslationPolicy(
            name="on_missing_translation",
            default=NEXT,
            max_length=32,
            note="What a reader gets at a number that has messages in other languages only. `next`:"
            " the next message in the own language; `fallback:` and a language, such as"
            " fallback:eng_ZA: the message in that language; `wait`: nothing until it is there."
            " Except with `next`, the set ends with the highest number of all languages.",
        ),
    ]
)

FILTERS = [
    Filter(name="short_name", read=filters.text, note="The message set with this name."),
    Filter(
        name="content_type", read=filters.choice(CONTENT_TYPES), note="Message sets of this type."
    ),
]

RESOURCE = Resource[MessageSet](
    path="/api/v1/messageset/",
    title="Message Set",
    description="API endpoint that allows MessageSet models to be viewed or edited.",
    needs=writing(CONTENT_EDIT, publishes=True),
    is_under_way=messagesets.is_under_way,
    schema=SCHEMA,
    filters=FILTERS,
    key="messageset_id",
    list_page=messagesets.list_page,
    find=messagesets.find,
    create=create_messageset,
    change=change_messageset,
    delete=delete_messageset,
    sentences=Sentences(
        tag="Message sets",
        name="messageset",
        one="a message set",
        many="message sets",
        schema_name="MessageSet",
        key="The message set.",
        in_use=True,
        notes={
            "PUT": "A field that is left out and has a default is not changed.",
            "DELETE": "Its messages are deleted, too, and sets that it follows have no next set any"
            " more. It is refused while subscriptions use the set.",
        },
        example={"short_name": "pregnancy", "content_type": "text", "default_schedule": 1},
        change={"label": "For expectant mothers"},
    ),
)

_MESSAGES = OptionsInfo(
    name="Messageset Messages Content",
    description="A message set, with all of its messages and their files.",
)


@frozen(eq=False, kw_only=True)
class MessageSets(Collection):
    """The message sets, and one with its messages."""

    app = collection_app()
    resource = RESOURCE

    @app.route("/<key>/messages")
    async def messages(self, request: Request, key: str) -> bytes:
        read = InTransaction(
            work=partial(_find_with_messages, key),
            reply=self._with_messages,
            only_reads=True,
            lane="list",
        )
        return await self.endpoint.answer(request, _MESSAGES, {"GET": read})

    async def _with_messages(
        self, request: ApiRequest, all_found: tuple[MessageSet, list[ListedMessage], Files]
    ) -> Reply:
        messageset, found, files = all_found
        messages = await written_in_slices(
            self.endpoint.database.reactor, (shown_with_file(request, one, files) for one in found)
        )
        before = compact_json(
            {
                "id": messageset.id,
                "short_name": messageset.short_name,
                "notes": messageset.notes,
                "next_set": messageset.next_set_id,
                "default_schedule": messageset.default_schedule_id,
            }
        )
        after = compact_json(
            {
                "created_at": instant(messageset.created_at),
                "updated_at": instant(messageset.updated_at),
            }
        )
        return Reply(json=b'%s,"messages":[%s],%s' % (before[:-1], messages, after[1:]))


async def _find_with_messages(
    key: str, transaction: Transaction, _request: ApiRequest
) -> tuple[MessageSet, list[ListedMessage], Files]:
    messageset_id = row_id(key)
    messageset = await messagesets.find(transaction, messageset_id=messageset_id)
    if messageset is None:
        raise NotFound
    found = await messages.list_of_set(transaction, messageset_id=messageset_id)
    return messageset, found, await files_of(transaction, found)


_shown = shown(SCHEMA)["properties"]

SECTION = Section(
    tags=[
        (
            "Message sets",
            "Messages that are sent one after the other, by default on one schedule.",
        )
    ],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/messageset/{id}/messages/",
            tag="Message sets",
            parameters=RESOURCE.row_key,
            operations={
                "GET": Operation(
                    name="read_messageset_messages",
                    summary="Read a message set with all of its messages",
                    description="They are sorted by sequence number.",
                    answers={
                        200: answer_of(schema("MessageSetWithMessages"), "The set."),
                        **NOT_FOUND,
                    },
                )
            },
        ),
    ],
    schemas={
        **RESOURCE.schemas(),
        "MessageSetWithMessages": one_object(
            {
                **{
                    name: _shown[name]
                    for name in ("id", "short_name", "notes", "next_set", "default_schedule")
                },
                "messages": {"type": "array", "items": schema("MessageWithFile")},
                **{name: _shown[name] for name in ("created_at", "updated_at")},
            }
        ),
    },
)
