"""``/api/v1/messageset``: message sets, and all messages of one."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from twisted.web.server import Request

from sbm.model.content import CONTENT_TYPES, Message, MessageSet
from sbm.operations.content import change_messageset, create_messageset, delete_messageset
from sbm.store import messages, messagesets, schedules
from sbm.store.postgres.database import Transaction
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.rows import Rows, collection
from sbm.web.http.endpoint import ApiRequest, OptionsInfo, Reply
from sbm.web.http.errors import NotFound
from sbm.web.http.wire import compact_json, instant, row_id, written_in_slices
from sbm.web.resources.message_files import Files, files_of, shown_with_file
from sbm.web.schema import filters
from sbm.web.schema.fields import Choice, ReadOnly, Reference, Text
from sbm.web.schema.filters import Filter
from sbm.web.schema.schema import Schema

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer"),
        Text(name="short_name", max_length=100),
        Text(name="label", label="User-readable name", max_length=100, blank=True, default=""),
        Choice(name="content_type", choices=CONTENT_TYPES, default="text"),
        Text(name="channel", max_length=64, null=True, default=None),
        Text(name="notes", blank=True, null=True, default=None),
        Reference(
            name="next_set",
            attribute="next_set_id",
            hold=messagesets.hold,
            null=True,
            default=None,
        ),
        Reference(name="default_schedule", attribute="default_schedule_id", hold=schedules.hold),
        ReadOnly(name="created_at", shown_as="datetime"),
        ReadOnly(name="updated_at", shown_as="datetime"),
    ]
)

FILTERS = [
    Filter(name="short_name", parameter="short_name", read=filters.text),
    Filter(name="content_type", parameter="content_type", read=filters.choice(CONTENT_TYPES)),
]

RESOURCE = Resource[MessageSet](
    path="/api/v1/messageset/",
    title="Message Set",
    about="API endpoint that allows MessageSet models to be viewed or edited.",
    schema=SCHEMA,
    filters=FILTERS,
    key="messageset_id",
    list_page=messagesets.list_page,
    find=messagesets.find,
    create=create_messageset,
    change=change_messageset,
    delete=delete_messageset,
)

_MESSAGES = OptionsInfo(
    name="Messageset Messages Content",
    description="A message set, with all of its messages and their files.",
)


@frozen(eq=False, kw_only=True)
class MessageSets(Rows):
    """The message sets, and one with its messages."""

    app = collection()
    resource = RESOURCE

    @app.route("/<key>/messages")
    async def messages(self, request: Request, key: str) -> bytes:
        methods = {"GET": partial(self._read_with_messages, key)}
        return await self.endpoint.answer(request, _MESSAGES, methods)

    async def _read_with_messages(self, key: str, request: ApiRequest) -> Reply:
        messageset, found, files = await self.endpoint.database.transact(
            _find_with_messages, row_id(key)
        )
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
        return Reply(json=b'%s,"messages":%s,%s' % (before[:-1], messages, after[1:]))


async def _find_with_messages(
    transaction: Transaction, messageset_id: int
) -> tuple[MessageSet, list[Message], Files]:
    messageset = await messagesets.find(transaction, messageset_id=messageset_id)
    if messageset is None:
        raise NotFound
    found = await messages.list_of_set(transaction, messageset_id=messageset_id)
    return messageset, found, await files_of(transaction, found)
