"""What the pages of one message have in common: where it is, and the page that edits it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from attrs import frozen

from sbm.console.actions import MAX_KEY, seen_as
from sbm.console.asked import number_asked
from sbm.console.drafting import DraftRules
from sbm.console.form_fields import FormState
from sbm.console.language_tags import tag
from sbm.console.media_kinds import shown_file
from sbm.console.screens.set_fields import find_set, named, why_blocked
from sbm.console.visit import View, Visit
from sbm.model.content import Message
from sbm.model.ledger_entry import MessageVersion
from sbm.model.paging import PageRequest
from sbm.model.short_messages import SmsCount
from sbm.model.user import CONTENT_EDIT
from sbm.operations.content_grid import sms_of
from sbm.operations.message_place import (
    MessagePlace,
    PlaceReaders,
    count_readers,
    read_place,
    version_of,
)
from sbm.operations.previewing import Preview
from sbm.store import ledger, messages, messagesets, users
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import NotFound
from sbm.web.http.publishing import check_publishing

# So many earlier versions are shown.
_VERSIONS = 6
_LONGEST_LANG = 6


@frozen(kw_only=True)
class PlaceKey:
    """A place as its address names it."""

    key: str
    number: str
    lang: str

    @property
    def base(self) -> str:
        """The address of its page."""
        return f"/console/content/{quote(self.key)}/{quote(self.number)}/{quote(self.lang)}/"


@frozen(kw_only=True)
class MessageRules:
    """The settings by which messages are judged, stored and shown.

    ``media_url`` is the address of the media folder; ``can_store``: there is such a folder.
    """

    drafts: DraftRules
    media_url: str
    can_store: bool


@frozen(kw_only=True)
class _ToldPlace:
    place: MessagePlace
    readers: PlaceReaders
    versions: Sequence[MessageVersion]
    blocked: str


class HasConflict(Exception):
    """The message has changed since the form was made; ``place`` is how it is now."""

    def __init__(self, place: MessagePlace) -> None:
        super().__init__("the message has changed")
        self.place = place


async def find_place(transaction: Transaction, *, where: PlaceKey) -> MessagePlace:
    """The place of an address; raises NoSuchRow or NotFound."""
    number = number_asked({"number": where.number}, "number")
    if number is None or not where.lang.isprintable() or len(where.lang) > _LONGEST_LANG:
        raise NotFound
    messageset = await find_set(transaction, key=where.key)
    return await read_place(transaction, messageset=messageset, number=number, lang=where.lang)


async def hold_version(transaction: Transaction, *, visit: Visit, where: PlaceKey) -> MessagePlace:
    """The place, with its message locked; raises HasConflict if the form is of another version."""
    place = await find_place(transaction, where=where)
    if place.message is not None:
        locked = await messages.lock(transaction, message_id=place.message.id)
        if version_of(locked) != place.version:
            place = await find_place(transaction, where=where)
    if place.version != visit.form.get("version", ""):
        raise HasConflict(place)
    return place


async def check_reach(transaction: Transaction, *, visit: Visit, message: Message | None) -> None:
    """Raise Forbidden if people get messages of its set, and the user may not publish."""
    if message is not None:
        await check_publishing(
            transaction, user=visit.user, is_under_way=messages.is_under_way, row_id=message.id
        )


async def why_unreachable(transaction: Transaction, *, visit: Visit, place: MessagePlace) -> str:
    """Why the user may not change the messages of this set; empty: nothing prevents it."""
    if not visit.user.may(CONTENT_EDIT):
        return ""  # then nothing offers it
    return await why_blocked(
        transaction,
        visit=visit,
        is_under_way=messagesets.is_under_way,
        row_id=place.messageset.id,
    )


def edit_state(
    visit: Visit,
    version: str,
    *,
    problems: Mapping[str, Sequence[str]] | None = None,
    is_new: bool = False,
) -> FormState:
    """The keys of a form; those of the form that was sent, unless a new one is to be sent."""
    once = visit.form.get("once", "")
    is_kept = not is_new and once.isascii() and once.isalnum() and len(once) <= MAX_KEY
    return FormState(
        values={"version": version, "reason": visit.form.get("reason", "")},
        once=once if is_kept else uuid.uuid4().hex,
        seen=seen_as(version),
        problems={
            name: [visit.retold(one) for one in sentences]
            for name, sentences in (problems or {}).items()
        },
    )


async def editor(
    visit: Visit,
    where: PlaceKey,
    rules: MessageRules,
    *,
    state: FormState | None = None,
    written: Mapping[str, str] | None = None,
    preview: Preview | None = None,
    identity: str = "",
    done: str | None = None,
    status: int | None = None,
) -> View:
    """The page of a message; ``written`` is what a form had that was sent, and is not saved."""
    told = await visit.read_snapshot(_read, visit=visit, where=where)
    place = told.place
    state = state or edit_state(visit, place.version, is_new=True)
    values = {**_stored(place.message), **(written or {})}
    return View(
        template="message.html",
        values={
            "place": place,
            "readers": told.readers,
            "found": place.messageset,
            "base": where.base,
            "name": named(visit, place.lang),
            "tag": tag(place.lang),
            "state": state,
            "text": values["text_content"],
            "metadata": values["metadata"],
            "sms": count_of(place, values["text_content"]),
            "longest": rules.drafts.limits.text_length,
            "others": [
                {
                    "lang": lang,
                    "name": named(visit, lang),
                    "tag": tag(lang),
                    "message": one,
                    "file": shown_file(place.file_name(one), rules.media_url),
                }
                for lang, one in sorted(place.others.items())
            ],
            "file": shown_file(place.file_name(place.message), rules.media_url),
            "versions": told.versions,
            "blocked": told.blocked,
            "can_store": rules.can_store,
            "file_once": uuid.uuid4().hex,
            "preview": preview,
            "preview_sms": None if preview is None else count_of(place, preview.content),
            "identity": identity,
            "done": done,
        },
        status=status or state.status,
    )


async def conflict(visit: Visit, where: PlaceKey, error: HasConflict) -> View:
    """The page with both texts, of which the user chooses one."""
    place = error.place
    by = await visit.read(_who, message=place.message)
    return View(
        template="message_conflict.html",
        values={
            "place": place,
            "found": place.messageset,
            "base": where.base,
            "tag": tag(place.lang),
            "by": by,
            "state": edit_state(visit, place.version, is_new=True),
            "mine": written_in(visit),
        },
        status=409,
    )


def written_in(visit: Visit) -> dict[str, str]:
    """What the form has of a message. Browsers end lines with CR and LF; we do not."""
    names = ("text_content", "metadata")
    return {name: visit.form[name].replace("\r\n", "\n") for name in names if name in visit.form}


def count_of(place: MessagePlace, text: str | None) -> SmsCount | None:
    """The size of a text by SMS, without the blanks around it; None if it does not go by SMS."""
    return sms_of(place.messageset, (text or "").strip())


def _stored(message: Message | None) -> dict[str, str]:
    metadata: Any = {} if message is None else message.metadata.value
    return {
        "text_content": "" if message is None else message.text_content or "",
        "metadata": json.dumps(metadata, ensure_ascii=False, indent=1) if metadata else "",
    }


async def _read(transaction: Transaction, *, visit: Visit, where: PlaceKey) -> _ToldPlace:
    place = await find_place(transaction, where=where)
    versions = await ledger.list_versions(
        transaction,
        page=PageRequest(limit=_VERSIONS),
        messageset_id=place.messageset.id,
        sequence_number=place.number,
        lang=place.lang,
    )
    return _ToldPlace(
        place=place,
        readers=await count_readers(transaction, place=place),
        versions=versions.rows,
        blocked=await why_unreachable(transaction, visit=visit, place=place),
    )


async def _who(transaction: Transaction, *, message: Message | None) -> str | None:
    if message is None or message.updated_by is None:
        return None
    user = await users.find(transaction, user_id=message.updated_by)
    return None if user is None else user.username
