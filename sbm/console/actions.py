"""Actions: each says first what it will do to how many, and is done once, however often it is sent.

A GET shows what would be done, with a form. The form carries what the user saw: its filter, and the
counts. When it is sent, the counts are made again in the transaction of the change; if they differ,
nothing is done, and the user sees the new ones. The key of the form is an Idempotency-Key: the
answer is kept for a day, so a form that is sent twice leads to the result of the first time.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from attrs import field, frozen

from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.text import one_line
from sbm.operations.refusals import WrongValues
from sbm.store import idempotency
from sbm.store.idempotency import KeyedRequest
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid

MAX_KEY = 64

_NONE: Mapping[str, Any] = {}


@frozen(kw_only=True)
class Proposal:
    """What an action would do, in the words of the reader.

    ``count`` is how many it concerns, and ``sentences`` say what happens to them. ``fields`` are
    the hidden fields of the form: the filter, or what was chosen. ``seen`` is compared when the
    form is sent: texts or numbers that must still be the same. ``undo`` says how it can be undone.
    If there is an ``objection``, it cannot be done, and there is no button.

    An action with inputs of its own has a ``template`` that extends ``action.html`` and fills its
    block ``inputs``; ``values`` are what it shows there. It finds what was typed in ``typed``, and
    the sentences about each field in ``errors``, which are empty at first.
    """

    title: str
    button: str
    sentences: Sequence[str]
    count: int
    back: str
    fields: Mapping[str, str] = field(factory=dict)
    seen: Sequence[str | int | None] = ()
    undo: str = ""
    objection: str = ""
    is_dangerous: bool = False
    needs_reason: bool = True
    template: str = "action.html"
    values: Mapping[str, Any] = field(factory=dict)

    @property
    def mark(self) -> str:
        """What the form carries, to notice that something has changed."""
        return _mark([self.count, *self.seen])


@frozen(kw_only=True)
class Done:
    """What was done, in a sentence, and the page that shows the result."""

    sentence: str
    place: str
    # Called after the commit, once.
    then: Callable[[], None] | None = None


Propose = Callable[[Transaction], Awaitable[Proposal]]
Perform = Callable[[Transaction], Awaitable[Done]]


class HasChanged(Exception):
    """What the user saw is not so any more; ``proposal`` is what would be done now."""

    def __init__(self, proposal: Proposal) -> None:
        super().__init__("it has changed since it was shown")
        self.proposal = proposal


async def show(visit: Visit, propose: Propose, *, is_rehearsed: bool = False) -> View:
    """The page that says what an action would do.

    If it ``is_rehearsed``, ``propose`` itself does what it tells, and that is rolled back.
    """
    return _page(await (visit.rehearse if is_rehearsed else visit.read)(propose))


async def perform(
    visit: Visit, propose: Propose, work: Perform, *, is_rehearsed: bool = False
) -> View:
    """Do it, if it is still what the user saw; else show what it is now, or what is wrong.

    If it ``is_rehearsed``, ``propose`` has done it, and ``work`` only tells.
    """
    keyed = _keyed(visit)
    try:
        return await _carry_out(visit, keyed, propose, work)
    except (Invalid, WrongValues) as error:
        told = error.problems if isinstance(error, WrongValues) else error.body
        if not isinstance(told, Mapping):
            raise
        errors = {name: [visit.retold(one) for one in told[name]] for name in told}
        proposal = await (visit.rehearse if is_rehearsed else visit.read)(propose)
        return _page(proposal, errors=errors, typed=visit.form)


async def carry_out(visit: Visit, propose: Propose, work: Perform) -> View:
    """The same for a form that shows by itself what is wrong; raises Invalid or WrongValues."""
    return await _carry_out(visit, _keyed(visit), propose, work)


async def _carry_out(visit: Visit, keyed: KeyedRequest, propose: Propose, work: Perform) -> View:
    try:
        done, is_new = await visit.change(
            partial(_once, visit=visit, keyed=keyed, propose=propose, work=work)
        )
    except HasChanged as error:
        return _page(error.proposal, has_changed=True)
    if is_new and done.then is not None:
        done.then()
    return View(status=303, goes_to=_with_key(done.place, keyed.key))


def _with_key(place: str, key: str) -> str:
    """The place with the key in its query, before its fragment."""
    page, mark, fragment = place.partition("#")
    return f"{page}{'&' if '?' in page else '?'}done={key}{mark}{fragment}"


def seen_as(*seen: str | int | None) -> str:
    """What a form carries that nobody is shown a proposal for: the same as ``Proposal.mark``."""
    return _mark([0, *seen])


async def sentence_of(visit: Visit) -> str | None:
    """What the action did that has just led to this page, if it was one of this user."""
    key = visit.query.get("done")
    if not key or len(key) > MAX_KEY:
        return None
    found = await visit.change(idempotency.find_answer, request=_request(visit, key))
    if found is None:
        return None
    return str(json.loads(found.body)["sentence"])


async def _once(
    transaction: Transaction, *, visit: Visit, keyed: KeyedRequest, propose: Propose, work: Perform
) -> tuple[Done, bool]:
    kept = await idempotency.find_answer(transaction, request=keyed)
    if kept is not None:
        told = json.loads(kept.body)
        return Done(sentence=told["sentence"], place=told["place"]), False
    proposal = await propose(transaction)
    if proposal.objection or proposal.mark != visit.form.get("seen"):
        raise HasChanged(proposal)
    if proposal.needs_reason and not visit.reason:
        raise Invalid({"reason": [marked("Say why: it is kept in the audit.")]})
    done = await work(transaction)
    body = json.dumps({"sentence": one_line(done.sentence, most=500), "place": done.place})
    await idempotency.keep_answer(
        transaction, request=keyed, status=200, headers={}, body=body.encode("utf-8")
    )
    return done, True


def _page(
    proposal: Proposal,
    *,
    has_changed: bool = False,
    errors: Mapping[str, Sequence[str]] = _NONE,
    typed: Mapping[str, str] = _NONE,
) -> View:
    shown = {
        "proposal": proposal,
        "has_changed": has_changed,
        "once": uuid.uuid4().hex,
        "errors": errors,
        "typed": typed,
    }
    return View(
        template=proposal.template,
        values={**proposal.values, **shown},
        status=409 if has_changed else 400 if errors else 200,
    )


def _mark(seen: Sequence[str | int | None]) -> str:
    return sha256(json.dumps(seen, default=str).encode("utf-8")).hexdigest()[:32]


def _keyed(visit: Visit) -> KeyedRequest:
    key = visit.form.get("once", "")
    if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isalnum():
        raise Invalid({"once": [marked("The form has no key.")]})
    return _request(visit, key)


def _request(visit: Visit, key: str) -> KeyedRequest:
    told = f"console {visit.user.id} {key}".encode()
    digest = sha256(told).digest()
    return KeyedRequest(
        user_id=visit.user.id, path="/console", key=key, digest=digest, fingerprint=digest
    )
