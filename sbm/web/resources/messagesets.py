"""``/api/v1/messageset``: message sets, and all messages of one."""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import asdict, evolve, frozen
from twisted.web.server import Request

from sbm.model.content import CONTENT_TYPES, Message, MessageSet
from sbm.model.content_rules import Content, Problem, new_problems
from sbm.store import messages, messagesets, schedules
from sbm.store.postgres.database import Transaction
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import InUse, Invalid, NotFound
from sbm.web.http.wire import compact_json, instant, row_id, written_in_slices
from sbm.web.resources.messages import Files, files_of, shown_with_file
from sbm.web.schema import filters
from sbm.web.schema.fields import Choice, ReadOnly, Reference, Text
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import Listing
from sbm.web.schema.schema import ParsedBody, Schema

SHAPE = Schema(
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

_DESCRIPTION = "API endpoint that allows MessageSet models to be viewed or edited."
_LIST = OptionsInfo(
    name="Message Set List", description=_DESCRIPTION, actions={"POST": SHAPE.description()}
)
_INSTANCE = OptionsInfo(
    name="Message Set Instance", description=_DESCRIPTION, actions={"PUT": SHAPE.description()}
)
_MESSAGES = OptionsInfo(
    name="Messageset Messages Content",
    description="A message set, with all of its messages and their files.",
)

_TAKEN = "message set with this Short name already exists."
# How many messages are named that keep a set from being changed.
_NAMED = 3


@frozen(eq=False)
class MessageSets:
    """The message sets; no text in them is longer than ``max_text_length`` characters."""

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

    @app.route("/<number>/messages")
    async def messages(self, request: Request, number: str) -> bytes:
        methods = {"GET": partial(self._read_with_messages, number)}
        return await self._front.answer(request, _MESSAGES, methods)

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _create(self, exchange: ApiRequest) -> Reply:
        made = await self._front.database.transact(_create, SHAPE.read(exchange.body()))
        return Reply(status=201, body=shown(made))

    async def _read(self, number: str, _exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(messagesets.find, messageset_id=row_id(number))
        if found is None:
            raise NotFound
        return Reply(body=shown(found))

    async def _change(self, number: str, exchange: ApiRequest) -> Reply:
        changed = await self._front.database.transact(
            _change, row_id(number), exchange, self._max_text_length
        )
        return Reply(body=shown(changed))

    async def _delete(self, number: str, _exchange: ApiRequest) -> Reply:
        await self._front.database.transact(_delete, row_id(number))
        return Reply(status=204)

    async def _read_with_messages(self, number: str, exchange: ApiRequest) -> Reply:
        messageset, found, files = await self._front.database.transact(
            _find_with_messages, row_id(number)
        )
        messages = await written_in_slices(
            self._front.database.reactor, (shown_with_file(exchange, one, files) for one in found)
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


def shown(messageset: MessageSet) -> dict[str, Any]:
    """A message set as clients see it."""
    return {
        "id": messageset.id,
        "short_name": messageset.short_name,
        "label": messageset.label,
        "content_type": messageset.content_type,
        "channel": messageset.channel,
        "notes": messageset.notes,
        "next_set": messageset.next_set_id,
        "default_schedule": messageset.default_schedule_id,
        "created_at": instant(messageset.created_at),
        "updated_at": instant(messageset.updated_at),
    }


_LISTING = Listing(
    name="messageset",
    list_page=messagesets.list_page,
    shown=lambda _exchange, one: shown(one),
    filters=FILTERS,
)


async def _create(transaction: Transaction, reading: ParsedBody) -> MessageSet:
    await _check(transaction, reading)
    made = await messagesets.create(transaction, **reading.attributes())
    if made is None:  # taken by another, just now
        raise Invalid({"short_name": [_TAKEN]})
    return made


async def _change(
    transaction: Transaction, messageset_id: int, exchange: ApiRequest, limit: int
) -> MessageSet:
    found = await messagesets.lock(transaction, messageset_id=messageset_id)
    if found is None:
        raise NotFound
    reading = SHAPE.read(exchange.body(), method=exchange.method, stored=asdict(found))
    await _check(transaction, reading, besides=messageset_id)
    wanted = evolve(found, **reading.attributes())
    await _check_messages(transaction, found, wanted, limit)
    changed = await messagesets.update(transaction, messageset=wanted)
    if changed is None:
        raise Invalid({"short_name": [_TAKEN]})
    return changed


async def _delete(transaction: Transaction, messageset_id: int) -> None:
    if await messagesets.lock(transaction, messageset_id=messageset_id) is None:
        raise NotFound
    users = await messagesets.find_users(transaction, messageset_id=messageset_id)
    if users:
        raise InUse(f"message set {messageset_id}", users)
    await messagesets.delete(transaction, messageset_id=messageset_id)


async def _check(
    transaction: Transaction, reading: ParsedBody, *, besides: int | None = None
) -> None:
    """Raise Invalid for wrong fields, unknown references, and a name that another set has."""
    await reading.look_up(transaction)
    short_name = reading.values.get("short_name")
    if short_name is not None:
        holder = await messagesets.find_by_name(transaction, short_name=short_name)
        if holder not in (None, besides):
            reading.refuse("short_name", _TAKEN)
    reading.check()


async def _check_messages(
    transaction: Transaction, found: MessageSet, wanted: MessageSet, limit: int
) -> None:
    """Raise Invalid if messages of the set can be sent as it is, but not as it is to be."""
    before, after = found.medium, wanted.medium
    if (before.is_audio, before.is_whatsapp) == (after.is_audio, after.is_whatsapp):
        return

    def problems(content: Content) -> list[Problem]:
        return new_problems(content, evolve(content, medium=after), limit=limit)

    offenders = await messages.find_offenders(
        transaction, messageset_id=found.id, problems=problems, most=_NAMED
    )
    told: dict[str, list[str]] = {}
    for one, problem in offenders:
        is_of_channel = problem.code == "whatsapp" and before.is_whatsapp != after.is_whatsapp
        field = "channel" if is_of_channel else "content_type"
        told.setdefault(field, []).append(one.told(problem))
    if told:
        raise Invalid(told)


async def _find_with_messages(
    transaction: Transaction, messageset_id: int
) -> tuple[MessageSet, list[Message], Files]:
    messageset = await messagesets.find(transaction, messageset_id=messageset_id)
    if messageset is None:
        raise NotFound
    found = await messages.list_of_set(transaction, messageset_id=messageset_id)
    return messageset, found, await files_of(transaction, found)
