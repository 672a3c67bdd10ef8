"""What a person would be sent: a message as the pipeline would compose it, with her prepend."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from attrs import frozen

from sbm.model.content_rules import prepend_of
from sbm.model.identity import canonical_uuid
from sbm.model.outbound import compose
from sbm.model.paging import PageRequest
from sbm.model.send import MessageToSend, Recipient, Send, objection
from sbm.model.subscription import Subscription
from sbm.operations.message_place import MessagePlace
from sbm.store import subscriptions
from sbm.store.postgres.transaction import Transaction
from sbm.store.subscriptions import SubscriptionFilter

_NONE = UUID(int=0)

# A person has few subscriptions to one set.
_LOOKED_AT = 20


@frozen(kw_only=True)
class Preview:
    """An outbound that is not sent.

    ``subscription`` is that of the person to the set; None: there is none, so nothing comes before
    the message. ``content`` is the text, None for a sound. ``picture`` and ``sounds`` are addresses
    of files. ``objection`` is why it would not be sent; empty: it would be.
    """

    subscription: Subscription | None
    content: str | None
    picture: str | None
    sounds: tuple[str, ...]
    objection: str


@frozen(kw_only=True)
class PreviewRules:
    """The settings with which messages are sent: the address of their files, and their length."""

    media_url: str
    max_text_length: int


async def preview(
    transaction: Transaction,
    *,
    place: MessagePlace,
    text: str | None,
    identity: str,
    rules: PreviewRules,
) -> Preview:
    """What a person would be sent if the message of this place had this text."""
    found = await _subscription(transaction, place.messageset.id, identity)
    send = _send(place, text, identity, found)
    settled = objection(send, max_text_length=rules.max_text_length)
    composed = json.loads(compose(send, "", rules.media_url))
    metadata = composed["metadata"]
    return Preview(
        subscription=found,
        content=composed.get("content"),
        picture=metadata.get("image_url"),
        sounds=tuple(metadata.get("voice_speech_url", ())),
        objection="" if settled is None else settled.reason,
    )


async def _subscription(
    transaction: Transaction, messageset_id: int, identity: str
) -> Subscription | None:
    """The person's subscription to the set: the newest one that is under way, or the newest."""
    page = await subscriptions.list_page(
        transaction,
        page=PageRequest(limit=_LOOKED_AT),
        wanted=SubscriptionFilter(
            identity=canonical_uuid(identity) or identity, messageset_id=messageset_id
        ),
    )
    under_way = [one for one in page.rows if one.active and not one.completed]
    return next(iter(under_way or page.rows), None)


def _send(place: MessagePlace, text: str | None, identity: str, found: Subscription | None) -> Send:
    messageset, message = place.messageset, place.message
    prepend: Any = None if found is None else prepend_of(found.metadata)
    is_text = prepend is None or isinstance(prepend, str)
    return Send(
        id=_NONE,
        kind="next",
        lane="single",
        schedule_id=0,
        tick_id=0,
        attempt=1,
        owner=_NONE,
        faults=0,
        subscription_id=_NONE if found is None else found.id,
        identity=identity,
        prepend=prepend if is_text else None,
        odd_prepend=None if is_text else type(prepend).__name__,
        recipient=Recipient(
            active=True,
            completed=False,
            process_status=0,
            lang=place.lang,
            messageset_id=messageset.id,
            messageset=messageset.short_name,
            content_type="audio" if messageset.medium.is_audio else "text",
            channel=messageset.channel,
            message=MessageToSend(
                sequence_number=place.number,
                text_content=text,
                file_name=place.file_name(message),
                metadata="{}" if message is None else message.metadata,
            ),
        ),
        sequence_number=place.number,
    )
