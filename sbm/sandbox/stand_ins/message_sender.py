"""A stand-in of the Seed Message Sender, which stores every outbound and sends none."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from attrs import define, evolve, field, frozen
from twisted.web.resource import Resource
from twisted.web.server import Request

from sbm.sandbox.stand_ins.journal import Journal
from sbm.sandbox.stand_ins.json_fields import (
    InvalidValue,
    instant,
    parsed_boolean,
    parsed_instant,
    parsed_integer,
    parsed_json,
    parsed_text,
    utc_now,
)
from sbm.sandbox.stand_ins.rest import (
    PageCursor,
    Position,
    Refused,
    Response,
    collection_url,
    json_object,
    new_app,
    not_found,
    page,
    parsed_fields,
    query,
    route,
)

LONGEST_CONTENT = 1000

# The web server in front of the real service refuses longer request lines, in bytes.
LONGEST_REQUEST_LINE = 4094


@frozen(kw_only=True)
class NewOutbound:
    """The fields of an outbound that a client may set."""

    to_addr: str | None = None
    to_identity: str | None = None
    content: str | None = None
    channel: str | None = None
    vumi_message_id: str | None = None
    version: int = 1
    attempts: int = 0
    delivered: bool = False
    resend: bool = False
    metadata: Any = field(factory=dict)


@frozen(kw_only=True)
class Outbound:
    """A stored outbound; ``number`` counts outbounds in the order in which they came."""

    number: int
    id: str
    created_at: datetime
    said: NewOutbound

    @property
    def position(self) -> Position:
        """Its place in the order of creation."""
        return (self.created_at, self.number)

    def fields(self) -> dict[str, Any]:
        """The fields as the API shows them except ``url``, in the order of the real service."""
        said = self.said
        return {
            "id": self.id,
            "version": said.version,
            "to_addr": said.to_addr,
            "vumi_message_id": said.vumi_message_id,
            "content": said.content,
            "delivered": said.delivered,
            "attempts": said.attempts,
            "metadata": said.metadata,
            "created_at": instant(self.created_at),
            "updated_at": instant(self.created_at),
            "channel": said.channel,
            "to_identity": said.to_identity,
            "resend": said.resend,
        }

    @classmethod
    def from_fields(cls, number: int, fields: dict[str, Any]) -> Outbound:
        """The outbound that ``fields()`` was called on."""
        said = {name: fields[name] for name in _WRITABLE}
        created_at = parsed_instant(fields["created_at"])
        return cls(number=number, id=fields["id"], created_at=created_at, said=NewOutbound(**said))


@frozen(kw_only=True)
class OutboundQuery:
    """The filters of a list of outbounds; None or an empty set is no filter."""

    to_identity: frozenset[str] = frozenset()
    to_addr: frozenset[str] = frozenset()
    after: datetime | None = None
    before: datetime | None = None
    version: Decimal | None = None
    attempts: Decimal | None = None
    vumi_message_id: str | None = None
    delivered: bool | None = None
    oldest_first: bool = False

    def matches(self, outbound: Outbound) -> bool:
        """Whether all filters except those of the time match an outbound."""
        said = outbound.said
        return (
            (not self.to_identity or said.to_identity in self.to_identity)
            and (not self.to_addr or said.to_addr in self.to_addr)
            and self.version in (None, said.version)
            and self.attempts in (None, said.attempts)
            and self.vumi_message_id in (None, said.vumi_message_id)
            and self.delivered in (None, said.delivered)
        )


@define(eq=False, kw_only=True)
class MessageSender:
    """All outbounds in memory, with indexes by identity and address.

    With a path, they are stored in that file, and loaded after a restart. ``observer`` is called
    with each outbound when it is stored, not when it is loaded.
    """

    clock: Callable[[], datetime] = utc_now
    new_id: Callable[[], UUID] = uuid4
    path: Path | None = None
    observer: Callable[[Outbound], object] | None = None
    _journal: Journal = field(init=False)
    _count: int = field(init=False, default=0)
    _outbounds: dict[Position, Outbound] = field(init=False, factory=dict)
    _positions: list[Position] = field(init=False, factory=list)
    _by_id: dict[str, Position] = field(init=False, factory=dict)
    _by_identity: dict[str | None, list[Position]] = field(init=False, factory=dict)
    _by_address: dict[str | None, list[Position]] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        """Load the file at ``path``."""
        self._journal = Journal(path=self.path)
        for entry in self._journal.replay():
            if "deleted" in entry:
                self._remove(self.get(entry["deleted"]))
            else:
                self._insert(Outbound.from_fields(self._count, entry["stored"]))

    def store(self, said: NewOutbound) -> Outbound:
        """Insert a new outbound, even if there is an equal one."""
        outbound = Outbound(
            number=self._count, id=str(self.new_id()), created_at=self.clock(), said=said
        )
        self._journal.append({"stored": outbound.fields()})
        self._insert(outbound)
        if self.observer is not None:
            self.observer(outbound)
        return outbound

    def get(self, outbound_id: str) -> Outbound:
        """One outbound. Errors: ``KeyError``."""
        return self._outbounds[self._by_id[outbound_id]]

    def report(
        self, outbound_id: str, *, delivered: bool, attempts: int = 1, nack_reason: str = ""
    ) -> None:
        """Note what the network says about an outbound. Errors: ``KeyError``."""
        outbound = self.get(outbound_id)
        metadata = dict(outbound.said.metadata)
        if nack_reason:
            metadata["nack_reason"] = nack_reason
        said = evolve(outbound.said, delivered=delivered, attempts=attempts, metadata=metadata)
        self._outbounds[outbound.position] = evolve(outbound, said=said)

    def delete(self, outbound_id: str) -> None:
        """Delete an outbound. Errors: ``KeyError``."""
        self._remove(self.get(outbound_id))
        self._journal.append({"deleted": outbound_id})

    def find(self, wanted: OutboundQuery, cursor: PageCursor | None = None) -> Iterator[Outbound]:
        """The outbounds beyond a cursor that match; newest first, unless ``oldest_first``."""
        cursor = cursor or PageCursor()
        positions = self._candidates(wanted)
        low, high = 0, len(positions)
        if wanted.after is not None:
            low = bisect_left(positions, (wanted.after, -1))
        if wanted.before is not None:
            high = bisect_right(positions, (wanted.before, inf))
        rising = wanted.oldest_first != cursor.backward
        if cursor.position is not None and rising:
            low = max(low, bisect_right(positions, cursor.position))
        elif cursor.position is not None:
            high = min(high, bisect_left(positions, cursor.position))
        places = range(low, high) if rising else range(high - 1, low - 1, -1)
        found = (self._outbounds[positions[place]] for place in places)
        return (outbound for outbound in found if wanted.matches(outbound))

    def outbounds(self) -> list[Outbound]:
        """All of them, oldest first."""
        return [self._outbounds[position] for position in self._positions]

    def __len__(self) -> int:
        """How many outbounds are stored."""
        return len(self._positions)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _candidates(self, wanted: OutboundQuery) -> list[Position]:
        """The positions of an index that contain all matches, in rising order."""
        if wanted.to_identity:
            index, keys = self._by_identity, wanted.to_identity
        elif wanted.to_addr:
            index, keys = self._by_address, wanted.to_addr
        else:
            return self._positions
        return sorted(position for key in keys for position in index.get(key, ()))

    def _insert(self, outbound: Outbound) -> None:
        position = outbound.position
        self._count += 1
        self._outbounds[position] = outbound
        self._by_id[outbound.id] = position
        for positions in self._lists_of(outbound):
            # This is the end of the list, unless the clock was set back.
            insort(positions, position)

    def _remove(self, outbound: Outbound) -> None:
        position = outbound.position
        del self._outbounds[position]
        del self._by_id[outbound.id]
        for positions in self._lists_of(outbound):
            del positions[bisect_left(positions, position)]

    def _lists_of(self, outbound: Outbound) -> tuple[list[Position], ...]:
        return (
            self._positions,
            self._by_identity.setdefault(outbound.said.to_identity, []),
            self._by_address.setdefault(outbound.said.to_addr, []),
        )


@frozen(eq=False, kw_only=True)
class MessageSenderApp:
    """The Message Sender's HTTP API, as in release 0.10."""

    sender: MessageSender
    page_size: int = 1000

    app = new_app()

    def resource(self) -> Resource:
        """The resource for a site; it can be mounted at any path."""
        return self.app.resource()

    @route(app, "POST", "/outbound/")
    def create(self, request: Request) -> Response:
        """Store an outbound: every POST inserts one."""
        outbound = self.sender.store(_new_outbound(json_object(request)))
        return Response(status=201, body=_described(request, outbound))

    @route(app, "GET", "/outbound/")
    def list_all(self, request: Request) -> Response:
        """A page of the outbounds that match the parameters; unknown parameters are ignored."""
        _check_request_line(request)
        wanted = _outbound_query(query(request))
        return page(
            request,
            lambda cursor: self.sender.find(wanted, cursor),
            lambda outbound: _described(request, outbound),
            size=self.page_size,
        )

    @route(app, "GET", "/outbound/<outbound_id>/")
    def read(self, request: Request, outbound_id: str) -> Response:
        """One outbound."""
        try:
            return Response(body=_described(request, self.sender.get(outbound_id)))
        except KeyError:
            raise not_found() from None

    @route(app, "DELETE", "/outbound/<outbound_id>/")
    def delete(self, _request: Request, outbound_id: str) -> Response:
        """Delete one outbound."""
        try:
            self.sender.delete(outbound_id)
        except KeyError:
            raise not_found() from None
        return Response(status=204)


def _described(request: Request, outbound: Outbound) -> dict[str, Any]:
    url = f"{collection_url(request, 'outbound')}{outbound.id}/"
    return {"url": url, **outbound.fields()}


def _new_outbound(body: dict[str, Any]) -> NewOutbound:
    """The outbound in the body of a POST. Errors: ``Refused`` with 400 and what is wrong."""
    outbound = NewOutbound(**parsed_fields(body, _WRITABLE))
    if not outbound.to_addr and not outbound.to_identity:
        raise _incomplete("Either to_addr or to_identity is required.")
    if not outbound.content and not _has_media(outbound.metadata):
        raise _incomplete("Either content or metadata.voice_speech_url is required.")
    if outbound.content and len(outbound.content) > LONGEST_CONTENT:
        message = f"Ensure this field has no more than {LONGEST_CONTENT} characters."
        raise Refused(400, {"content": [message]})
    return outbound


def _has_media(metadata: object) -> bool:
    # WhatsApp accepts an image without a text.
    keys = ("voice_speech_url", "image_url")
    return isinstance(metadata, dict) and any(metadata.get(key) for key in keys)


def _incomplete(message: str) -> Refused:
    return Refused(400, {"non_field_errors": [message]})


def _outbound_query(given: dict[str, list[str]]) -> OutboundQuery:
    """The filters in the parameters. Errors: ``Refused`` with 400, by parameter."""
    oldest_first = given.get("ordering", [""])[-1] == "created_at"
    return OutboundQuery(oldest_first=oldest_first, **parsed_fields(given, _FILTERS))


def _number(values: list[str]) -> Decimal:
    try:
        number = Decimal(values[-1].strip())
    except InvalidOperation:
        raise InvalidValue("Enter a number.") from None
    if number.is_nan():
        raise InvalidValue("Enter a number.")
    return number


def _truth(values: list[str]) -> bool | None:
    # Any other word is ignored, as in the real service.
    return {"true": True, "1": True, "false": False, "0": False}.get(values[-1].lower())


def _moment(values: list[str]) -> datetime:
    return parsed_instant(values[-1])


def _text(values: list[str]) -> str:
    return values[-1]


_WRITABLE: dict[str, Callable[[Any], Any]] = {
    "to_addr": parsed_text,
    "to_identity": parsed_text,
    "content": parsed_text,
    "channel": parsed_text,
    "vumi_message_id": parsed_text,
    "version": parsed_integer,
    "attempts": parsed_integer,
    "delivered": parsed_boolean,
    "resend": parsed_boolean,
    "metadata": parsed_json,
}

_FILTERS: dict[str, Callable[[list[str]], Any]] = {
    "to_identity": frozenset,
    "to_addr": frozenset,
    "after": _moment,
    "before": _moment,
    "version": _number,
    "attempts": _number,
    "vumi_message_id": _text,
    "delivered": _truth,
}


def _check_request_line(request: Request) -> None:
    length = len(request.method) + len(request.uri) + len(request.clientproto) + 2
    if length > LONGEST_REQUEST_LINE:
        detail = f"Request Line is too large ({length} > {LONGEST_REQUEST_LINE})"
        raise Refused(400, {"detail": detail})
