"""Intake: what became of each request for a subscription."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from klein import Klein
from twisted.web.server import Request

from sbm.console.answering import PageNeeds, Pages
from sbm.console.asked import around, day_asked, faults_of, rows_asked
from sbm.console.masking import HIDDEN
from sbm.console.texts import marked
from sbm.console.visit import View, Visit
from sbm.model.intake import (
    OUTCOMES,
    IntakeCount,
    IntakeDay,
    IntakeEntry,
    PeriodTooLong,
    period,
)
from sbm.model.subscription import Subscription
from sbm.model.user import PEOPLE_READ
from sbm.operations.refusals import NoSuchRow
from sbm.store import audit, intake, messagesets, subscriptions
from sbm.store.intake import IntakeFilter
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.http_errors import Invalid
from sbm.web.http.wire import row_id
from sbm.web.schema import filters

PLACE = "/console/intake/"

# The days of the chart, if no others are asked for; and the lines of the table of reasons.
_DAYS = 14
_REASONS = 20


@frozen(eq=False, kw_only=True)
class IntakeAccount:
    """The pages of the intake account."""

    app = Klein()

    pages: Pages

    @app.route("/")
    async def entries(self, request: Request) -> bytes:
        return await self.pages.answer(request, PageNeeds(get=PEOPLE_READ), get=self._list)

    @app.route("/<entry>/")
    async def entry(self, request: Request, entry: str) -> bytes:
        """A POST shows the masked values, and the audit has who saw them."""
        return await self.pages.answer(
            request,
            PageNeeds(get=PEOPLE_READ, post=PEOPLE_READ),
            get=partial(self._entry, entry=entry),
            post=partial(self._unmask, entry=entry),
        )

    async def _list(self, visit: Visit) -> View:
        try:
            return await visit.read(self._read, visit=visit, query=visit.query)
        except Invalid as error:
            # What is wrong is told in the form, as it was filled in; the list is the usual one.
            view = await visit.read(self._read, visit=visit, query={})
            faults = {
                name: [visit._(one) for one in told] for name, told in faults_of(error).items()
            }
            values = {**view.values, "asked": visit.query, "errors": faults, "is_filtered": True}
            return View(template=view.template, values=values, status=400)

    async def _read(
        self, transaction: Transaction, *, visit: Visit, query: Mapping[str, str]
    ) -> View:
        asked = rows_asked(query)
        wanted = self._wanted(transaction, query)
        page = await intake.list_page(transaction, page=asked, wanted=wanted)
        counts = await intake.count(transaction, period=wanted.period)
        zone = self.pages.renderer.zone
        days = await intake.count_by_day(transaction, period=wanted.period, zone=zone)
        last = min(wanted.period.before, transaction.local_time).astimezone(zone).date()
        first = wanted.period.after.astimezone(zone).date()
        return View(
            template="intake.html",
            values={
                "entries": page.rows,
                "links": around(visit.path, query, asked, page),
                "asked": query,
                "errors": {},
                "outcomes": OUTCOMES,
                "days": _by_day(days, first, last),
                "reasons": [(one, self._place(one, query)) for one in counts[:_REASONS]],
                "more_reasons": len(counts) > _REASONS,
                "total": sum(one.count for one in days),
                "is_filtered": any(
                    query.get(name)
                    for name in ("outcome", "reason", "caller", "identity", "request_id", "from")
                ),
            },
        )

    def _wanted(self, transaction: Transaction, query: Mapping[str, str]) -> IntakeFilter:
        """Raises Invalid for what is none of the choices, and what no index serves."""
        given = {name: text.strip() or None for name, text in query.items()}
        if any("\0" in text for text in given.values() if text):
            raise Invalid({"reason": [marked("A filter must not contain null characters.")]})
        outcome = given.get("outcome")
        if outcome not in (None, *OUTCOMES):
            raise Invalid({"outcome": [marked("There is no such choice.")]})
        zone, now = self.pages.renderer.zone, transaction.local_time
        after = day_asked(query, "from", zone)
        before = day_asked(query, "to", zone, is_end=True)
        if after is None and before is None:
            after = now - timedelta(days=_DAYS)
        try:
            asked = period(after, before, now=now)
        except PeriodTooLong:
            told = marked("The two days are too far apart: at most 31 days.")
            raise Invalid({"to": [told]}) from None
        identity = given.get("identity")
        wanted = IntakeFilter(
            period=asked,
            outcome=outcome,
            reason=given.get("reason"),
            caller=given.get("caller"),
            identity=None if identity is None else filters.identity(identity),
            request_id=given.get("request_id"),
        )
        if not wanted.is_served:
            told = marked("Add another filter to the caller: an outcome, a reason or a person.")
            raise Invalid({"caller": [told]})
        return wanted

    @staticmethod
    def _place(one: IntakeCount, query: Mapping[str, str]) -> str | None:
        """The list of the requests that were counted; None if it would be too long to read."""
        if one.outcome == "created":
            return None
        days = {name: query[name] for name in ("from", "to") if query.get(name)}
        wanted = {"outcome": one.outcome, "reason": one.reason, "caller": one.caller, **days}
        return f"{PLACE}?{urlencode({name: text for name, text in wanted.items() if text})}"

    async def _entry(self, visit: Visit, *, entry: str) -> View:
        return await visit.read(_read_entry, visit=visit, entry_id=row_id(entry))

    async def _unmask(self, visit: Visit, *, entry: str) -> View:
        return await visit.change(_unmasked, visit=visit, entry_id=row_id(entry))


async def _unmasked(transaction: Transaction, *, visit: Visit, entry_id: int) -> View:
    view = await _read_entry(transaction, visit=visit, entry_id=entry_id, is_open=True)
    await audit.record(
        transaction,
        actor=visit.user.username,
        action="show personal data",
        reason=visit.reason,
        details={"shown": "intake", "entry": entry_id},
    )
    return view


async def _read_entry(
    transaction: Transaction, *, visit: Visit, entry_id: int, is_open: bool = False
) -> View:
    found = await intake.find(transaction, entry_id=entry_id)
    if found is None:
        raise NoSuchRow
    subscription: Subscription | None = None
    set_name = ""
    if found.subscription_id is not None:
        subscription = await subscriptions.find(transaction, subscription_id=found.subscription_id)
    if subscription is not None:
        messageset = await messagesets.find(transaction, messageset_id=subscription.messageset_id)
        set_name = "" if messageset is None else messageset.short_name
    return View(
        template="intake_entry.html",
        values={
            "entry": found,
            "set_name": set_name,
            "told": _told(found, is_open=is_open),
            "is_open": is_open,
            "subscription": subscription,
            "in_audit": f"/console/audit/?{urlencode({'request_id': found.request_id})}"
            if found.request_id and visit.user.may("administer")
            else None,
        },
    )


def _told(entry: IntakeEntry, *, is_open: bool) -> Mapping[str, Any]:
    """What may be about a person, masked unless it ``is_open``."""

    def shown(text: str | None) -> str | None:
        return text if is_open or not text else HIDDEN

    payload = None
    if entry.payload is not None:
        payload = json.dumps(entry.payload, ensure_ascii=False, indent=2)
    return {
        "identity": shown(entry.identity),
        "idempotency_key": shown(entry.idempotency_key),
        "payload": shown(payload),
    }


def _by_day(days: list[IntakeDay], first: date, last: date) -> list[tuple[str, list[int]]]:
    """For each day: how many requests made a subscription, repeated one, and were refused."""
    counts: dict[date, list[int]] = {
        first + timedelta(days=number): [0, 0, 0] for number in range((last - first).days + 1)
    }
    places = {"created": 0, "replayed": 1, "twin": 1, "refused": 2}
    for one in days:
        counts.setdefault(one.day, [0, 0, 0])[places[one.outcome]] += one.count
    return [(day.isoformat(), values) for day, values in sorted(counts.items())]
