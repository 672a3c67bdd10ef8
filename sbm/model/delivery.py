"""What the Message Sender says about outbounds: whether they were delivered."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, get_args

from attrs import frozen

# An outbound is looked at twice: soon, and when it is as good as decided.
DeliveryLook = Literal["first", "last"]

LOOKS: tuple[DeliveryLook, ...] = get_args(DeliveryLook)


@frozen(kw_only=True)
class DeliveryPlace:
    """The outbounds that are to be looked at now, by their times at the Message Sender."""

    since: datetime
    until: datetime


@frozen(kw_only=True)
class ReadUntil:
    """How far the outbounds were looked at; None: not begun."""

    look: DeliveryLook
    place: datetime | None


@frozen(kw_only=True)
class DeliveryCount:
    """The messages of a day, in UTC, of one set and language.

    ``seen`` were looked at; ``delivered`` is how many of them were delivered, and ``final`` how
    many are not looked at again.
    """

    id: int
    day: date
    messageset_id: int
    lang: str
    seen: int
    delivered: int
    final: int


@frozen(kw_only=True)
class UndeliveredPerson:
    """A person whose last messages, ``in_row`` of them, were not delivered.

    The first of them was sent at ``since``, the last one at ``last_at``.
    """

    id: int
    identity: str
    in_row: int
    since: datetime
    last_at: datetime
