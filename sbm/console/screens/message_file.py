"""The file of a message, a picture or a sound: upload another, or remove it."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import partial
from typing import Any

from attrs import define, field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.actions import Done, Proposal, carry_out, perform, seen_as, show
from sbm.console.answering import PageNeeds, Pages
from sbm.console.drafting import SHOWN, problems_of
from sbm.console.screens.message_screen import (
    HasConflict,
    MessageRules,
    PlaceKey,
    check_reach,
    edit_state,
    editor,
    find_place,
    hold_version,
    why_unreachable,
)
from sbm.console.visit import View, Visit
from sbm.model.content import Message
from sbm.model.user import CONTENT_EDIT
from sbm.operations.content import change_message, create_message
from sbm.operations.drafts import Draft
from sbm.operations.media_files import new_name
from sbm.operations.message_place import MessagePlace, count_readers
from sbm.operations.refusals import CannotBeSent, NoSuchRow
from sbm.store import binary_contents
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.bodies import Body
from sbm.web.http.http_errors import Invalid, NotStored
from sbm.web.http.uploads import StoredFile, UploadPlace, publish_with
from sbm.web.resources.binary_contents import PART, SCHEMA
from sbm.web.resources.messages import SCHEMA as MESSAGE_SCHEMA

# The path to which the form of a message uploads.
_PATH = re.compile(r"/console/content/[^/]+/[^/]+/[^/]+/file/")


def upload_place(pages: Pages) -> UploadPlace:
    """Where the console takes files: from users who are logged in and may edit."""
    return UploadPlace(path=_PATH, part=PART, admit=partial(pages.admit, permission=CONTENT_EDIT))


class _NotKept(Exception):
    """The file was not recorded by this request; ``view`` is its answer."""

    def __init__(self, view: View) -> None:
        super().__init__("the file was not recorded")
        self.view = view


@define(eq=False, kw_only=True)
class _Recording:
    """Records a file that is stored under a name; ``is_done`` if the row was made."""

    visit: Visit
    where: PlaceKey
    rules: MessageRules
    name: str
    is_done: bool = field(default=False, init=False)

    async def propose(self, transaction: Transaction) -> Proposal:
        """What the form carries: the version of the message."""
        place = await hold_version(transaction, visit=self.visit, where=self.where)
        return Proposal(
            title=self.visit._("Upload the file again"),
            button=self.visit._("Upload"),
            sentences=[],
            objection=self.visit._("The form is not that of this page. Choose the file again.")
            if self.visit.form.get("seen") != seen_as(place.version)
            else "",
            count=0,
            back=self.where.base,
            seen=(place.version,),
            needs_reason=False,
        )

    async def work(self, transaction: Transaction) -> Done:
        """Make the row of the file, and put it into the message."""
        place = await find_place(transaction, where=self.where)
        await check_reach(transaction, visit=self.visit, message=place.message)
        file = await binary_contents.create(transaction, content=self.name)
        message = await _put(transaction, self.visit, self.rules, place, file.id)
        await check_reach(transaction, visit=self.visit, message=message)
        readers = await count_readers(transaction, place=place)
        self.is_done = True
        told = self.visit.counted(
            "The file was saved. %(num)s person gets the message next.",
            "The file was saved. %(num)s people get the message next.",
            readers.get_it,
        )
        return Done(sentence=told, place=self.where.base)

    async def record(self) -> View:
        """Do it once; raises _NotKept if the same form did it before, or nothing was done."""
        view = await carry_out(self.visit, self.propose, self.work)
        if not self.is_done:
            raise _NotKept(view)
        return view


@frozen(eq=False, kw_only=True)
class MessageFile:
    """The form that uploads a file, and the action that removes it from its message."""

    app = Klein()

    pages: Pages
    rules: MessageRules

    @app.route("/")
    async def upload(self, request: Request, key: str, number: str, lang: str) -> bytes:
        where = PlaceKey(key=key, number=number, lang=lang)
        return await self.pages.answer(
            request, PageNeeds(post=CONTENT_EDIT), post=partial(self._upload, where)
        )

    @app.route("/remove/")
    async def remove(self, request: Request, key: str, number: str, lang: str) -> bytes:
        where = PlaceKey(key=key, number=number, lang=lang)
        return await self.pages.answer(
            request,
            PageNeeds(get=CONTENT_EDIT, post=CONTENT_EDIT),
            get=partial(self._ask_remove, where),
            post=partial(self._remove, where),
        )

    async def _upload(self, where: PlaceKey, visit: Visit) -> View:
        if not self.rules.can_store:
            raise NotStored("Files cannot be stored here: no folder is set for them.")
        await visit.read(find_place, where=where)
        try:
            file = _file(visit)
            name = new_name(file.name, datetime.now(timezone.utc))
            recording = _Recording(visit=visit, where=where, rules=self.rules, name=name)
            return await publish_with(file, name, recording.record)
        except _NotKept as error:
            return error.view
        except HasConflict:
            told = visit._("Nothing was saved: the message has changed since you looked.")
            return await self._refused(visit, where, {PART: [told]}, status=409)
        except SHOWN as error:
            problems = problems_of(error, MESSAGE_SCHEMA)
            told_of_file = problems.pop("binary_content", [])
            if told_of_file:
                problems[PART] = [*problems.get(PART, []), *told_of_file]
            return await self._refused(visit, where, problems)

    async def _refused(
        self,
        visit: Visit,
        where: PlaceKey,
        problems: dict[str, list[str]],
        *,
        status: int | None = None,
    ) -> View:
        place = await visit.read(find_place, where=where)
        state = edit_state(visit, place.version, problems=problems, is_new=True)
        return await editor(visit, where, self.rules, state=state, status=status)

    async def _ask_remove(self, where: PlaceKey, visit: Visit) -> View:
        return await show(visit, partial(_propose_remove, visit=visit, where=where))

    async def _remove(self, where: PlaceKey, visit: Visit) -> View:
        async def work(transaction: Transaction) -> Done:
            place = await find_place(transaction, where=where)
            await check_reach(transaction, visit=visit, message=place.message)
            await _put(transaction, visit, self.rules, place, None)
            return Done(sentence=visit._("The file was removed."), place=where.base)

        try:
            return await perform(visit, partial(_propose_remove, visit=visit, where=where), work)
        except CannotBeSent as error:
            problems = problems_of(error, MESSAGE_SCHEMA)
            return await self._refused(visit, where, problems)


def _file(visit: Visit) -> StoredFile:
    """The file of the form; raises Invalid."""
    if PART not in visit.files:
        raise Invalid({PART: [visit._("Choose a file.")]})
    parsed = SCHEMA.read(Body(value={PART: visit.files[PART]}))
    parsed.check()
    file: StoredFile = parsed.values[PART]
    return file


async def _put(
    transaction: Transaction,
    visit: Visit,
    rules: MessageRules,
    place: MessagePlace,
    file_id: int | None,
) -> Message:
    """Give the message of a place this file, or none."""
    values: dict[str, Any] = {"binary_content_id": file_id}
    if place.message is None:
        values |= {
            "messageset_id": place.messageset.id,
            "sequence_number": place.number,
            "lang": place.lang,
            "metadata": {},
            "text_content": None,
        }
    draft = Draft(
        values=values, user_id=visit.user.id, max_text_length=rules.drafts.limits.text_length
    )
    if place.message is None:
        return await create_message(transaction, draft)
    return await change_message(transaction, lambda _stored: draft, message_id=place.message.id)


async def _propose_remove(transaction: Transaction, *, visit: Visit, where: PlaceKey) -> Proposal:
    place = await find_place(transaction, where=where)
    if place.file_name(place.message) is None:
        raise NoSuchRow
    readers = await count_readers(transaction, place=place)
    told = {"number": place.number, "lang": place.lang, "name": place.messageset.short_name}
    return Proposal(
        title=visit._("Remove the file of message %(number)s in %(lang)s of “%(name)s”") % told,
        button=visit._("Remove the file"),
        sentences=[
            visit.counted(
                "%(num)s person gets this message next, without the file.",
                "%(num)s people get this message next, without the file.",
                readers.get_it,
            ),
            visit._("The file stays at its address: messages that were sent link to it."),
        ],
        count=readers.get_it,
        back=where.base,
        seen=(place.version,),
        undo=visit._("An administrator can undo it in the audit."),
        objection=await why_unreachable(transaction, visit=visit, place=place),
        needs_reason=False,
    )
