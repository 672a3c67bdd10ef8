"""Person: search, and all that happened to one person, with what comes next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from attrs import field, frozen
from klein import Klein
from twisted.web.server import Request

from sbm.clients.identity_store import FoundIdentities, IdentityStore
from sbm.clients.outcomes import Rejected, Unavailable
from sbm.console import cron_words, wording
from sbm.console.actions import sentence_of
from sbm.console.answering import PageNeeds, Pages
from sbm.console.cursors import PagedList
from sbm.console.language_tags import tag
from sbm.console.masking import HIDDEN, short, without_numbers
from sbm.console.visit import View, Visit, go_to
from sbm.model.content import MessageSet
from sbm.model.identity import canonical_uuid
from sbm.model.paging import EndlessPage, PageRequest
from sbm.model.subscription import Subscription
from sbm.model.text import is_storable
from sbm.model.timeline import PersonEvent, Plan, PlanClock
from sbm.model.user import PEOPLE_READ
from sbm.operations import people
from sbm.operations.refusals import NoSuchRow
from sbm.store import audit, messagesets, schedules, subscriptions
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedules import ToldSchedule
from sbm.store.subscriptions import SubscriptionFilter
from sbm.web.schema.pages import Order

PEOPLE = "/console/people/"

# The events of a page: fewer, if they have more than so many bytes of details, which are parsed.
EVENTS, EVENT_BYTES = 30, 2 * 2**20
# No person has so many.
MOST_SUBSCRIPTIONS = 50

LONGEST_SOUGHT = 100
_BETWEEN_DIGITS = re.compile(r"[\s()./-]")
_DIGITS = re.compile(r"[+]?[0-9]{6,20}")

_NEEDS = PageNeeds(get=PEOPLE_READ, post=PEOPLE_READ)


def place_of(person: str) -> str:
    """The address of a person's page.

    ``person`` is the identity. If that is no UUID, it may be a telephone number, which no address
    should have: then it is the id of a subscription of the person.
    """
    return f"{PEOPLE}{quote(person, safe='')}/"


@frozen(kw_only=True)
class Story:
    """What is known of a person: some events, the subscriptions, and what these refer to."""

    events: EndlessPage[PersonEvent]
    subscriptions: Sequence[Subscription]
    plans: Mapping[Any, Plan]
    sets: Mapping[int, MessageSet]
    languages: Mapping[int, Sequence[str]]
    schedules: Mapping[int, ToldSchedule]


@frozen(kw_only=True)
class FoundPerson:
    """A person whom the Identity Store has found, and how many subscriptions sbm has of them."""

    identity: str
    subscriptions: int


@frozen(kw_only=True)
class ToldNumber:
    """The number of a person, or why it is not told: ``away`` or ``none``."""

    number: str = ""
    why: str = ""


@frozen(kw_only=True)
class FieldChange:
    """A column that was changed, by its name for people; hidden values are not told."""

    name: str
    before: Any
    after: Any


def _key_of(key: list[Any]) -> tuple[datetime, str, str]:
    moment, source, name = key
    at = datetime.fromisoformat(moment)
    if at.tzinfo is None or not isinstance(source, str) or not isinstance(name, str):
        raise ValueError("no key of an event")
    return at, source, name


_EVENTS: PagedList[PersonEvent] = PagedList(
    name="story",
    order=Order(
        written=lambda event: [event.at.isoformat(), event.source, event.ref], read=_key_of
    ),
)


@frozen(eq=False, kw_only=True)
class Helpdesk:
    """The search for a person, and the page of a person. ``clock`` says when messages come."""

    app = Klein()

    pages: Pages
    clock: PlanClock
    identity_store: IdentityStore | None = field(default=None)

    @app.route("/")
    async def search(self, request: Request) -> bytes:
        return await self.pages.answer(request, _NEEDS, get=self._asked, post=self._found)

    @app.route("/<told>/")
    async def person(self, request: Request, told: str) -> bytes:
        return await self.pages.answer(
            request,
            _NEEDS,
            get=partial(self._person, told),
            post=partial(self._person_shown, told),
        )

    async def _asked(self, visit: Visit) -> View:
        return _search_page(done=await sentence_of(visit))

    async def _found(self, visit: Visit) -> View:
        """Find what was typed; it came in a form, so that no address and no log has it."""
        sought = str(visit.form.get("sought", "")).strip()
        if not sought or len(sought) > LONGEST_SOUGHT or not is_storable(sought):
            return _search_page(sought, problem="empty")
        identity = await visit.read(people.find_person, told=sought)
        if canonical_uuid(identity):
            return go_to(place_of(identity))
        if await self._knows(visit, identity):
            return go_to(place_of(await visit.read(_name_in_address, identity=identity)))
        numbers = _numbers(sought)
        if not numbers:
            return _search_page(sought, problem="unclear")
        return await self._found_by_number(visit, sought, numbers)

    async def _knows(self, visit: Visit, identity: str) -> bool:
        """Whether there is anything about an identity that is no UUID, as after an import."""
        try:
            await visit.read(people.list_events, identity=identity, limit=1)
        except NoSuchRow:
            return False
        return True

    async def _found_by_number(self, visit: Visit, sought: str, numbers: Sequence[str]) -> View:
        found = await self._ask(numbers)
        if found is None:
            return _search_page(sought, problem="away", status=503)
        # The number itself is not noted.
        await visit.change(
            audit.record,
            actor=visit.user.username,
            action="console search",
            reason="",
            details={"searched_by": "number", "found": len(found.identities)},
        )
        if len(found.identities) == 1:
            return go_to(place_of(found.identities[0]))
        listed = await visit.read(_count_subscriptions, identities=found.identities)
        return _search_page(sought, problem="" if listed else "none", found=listed, more=found.more)

    async def _ask(self, numbers: Sequence[str]) -> FoundIdentities | None:
        """The identities with the first of these numbers that anybody has; None: it is away."""
        if self.identity_store is None:
            return None
        found = FoundIdentities(identities=[], more=False)
        try:
            for number in numbers:
                found = await self.identity_store.search(number)
                if found.identities:
                    break
        except Unavailable:
            return None
        return found

    async def _person(self, told: str, visit: Visit) -> View:
        if not is_storable(told):
            raise NoSuchRow
        identity = await visit.read(people.find_person, told=told)
        if identity != told and canonical_uuid(identity):
            return go_to(place_of(identity))
        return await self._page(visit, told, identity, is_shown=False)

    async def _person_shown(self, told: str, visit: Visit) -> View:
        """The same page with the person's data, for this once."""
        if not is_storable(told):
            raise NoSuchRow
        identity = await visit.read(people.find_person, told=told)
        await visit.change(
            audit.record,
            actor=visit.user.username,
            action="console show",
            reason="",
            details={"shown": ["identity", "number", "texts"]},
        )
        return await self._page(visit, told, identity, is_shown=True)

    async def _page(self, visit: Visit, told: str, identity: str, *, is_shown: bool) -> View:
        try:
            story = await visit.read(
                self._read, identity=identity, after=_EVENTS.after(visit.query)
            )
        except NoSuchRow:
            return View(
                template="stranger.html",
                values={
                    "identity": identity if is_shown else short(identity),
                    "is_known": await self._is_known(identity),
                },
                status=404,
            )
        return View(
            template="person.html",
            values={
                "place": place_of(told),
                "identity": identity if is_shown else short(identity),
                "is_shown": is_shown,
                "number": await self._number(identity) if is_shown else None,
                "story": story,
                "links": _EVENTS.further(visit.path, visit.query, story.events),
                "changes": partial(_changes, story, is_shown=is_shown),
                "masked": without_numbers if not is_shown else str,
                "hidden": HIDDEN,
                "reasons": wording.REASONS,
                "stages": wording.STAGES,
                "fields": wording.FIELDS,
                "tag": tag,
                "when": partial(_when, visit),
                "done": await sentence_of(visit),
            },
        )

    async def _read(
        self, transaction: Transaction, *, identity: str, after: tuple[datetime, str, str] | None
    ) -> Story:
        events = await people.list_events(
            transaction, identity=identity, limit=EVENTS, most_bytes=EVENT_BYTES, after=after
        )
        found = await subscriptions.list_page(
            transaction,
            page=PageRequest(limit=MOST_SUBSCRIPTIONS),
            wanted=SubscriptionFilter(identity=identity),
        )
        plans = await people.list_plans(transaction, identity=identity, clock=self.clock)
        return Story(
            events=events,
            subscriptions=found.rows,
            plans={one.subscription_id: one for one in plans},
            sets={one.id: one for one in await messagesets.list_all(transaction)},
            languages=await messagesets.list_languages(transaction),
            schedules={one.id: one for one in await schedules.list_told(transaction)},
        )

    async def _number(self, identity: str) -> ToldNumber:
        if self.identity_store is None:
            return ToldNumber(why="away")
        try:
            return ToldNumber(number=await self.identity_store.address_of(identity))
        except Rejected:
            return ToldNumber(why="none")
        except Unavailable:
            return ToldNumber(why="away")

    async def _is_known(self, identity: str) -> bool | None:
        """Whether the Identity Store knows the person; None: it does not answer."""
        if self.identity_store is None:
            return None
        try:
            return await self.identity_store.is_known(identity)
        except Unavailable:
            return None


async def _name_in_address(transaction: Transaction, *, identity: str) -> str:
    """What stands for a person in an address, whose identity is no UUID."""
    found = await subscriptions.list_page(
        transaction, page=PageRequest(limit=1), wanted=SubscriptionFilter(identity=identity)
    )
    return str(found.rows[0].id) if found.rows else identity


async def _count_subscriptions(
    transaction: Transaction, *, identities: Sequence[str]
) -> list[FoundPerson]:
    found = []
    for identity in identities:
        page = await subscriptions.list_page(
            transaction, page=PageRequest(limit=1), wanted=SubscriptionFilter(identity=identity)
        )
        found.append(FoundPerson(identity=identity, subscriptions=page.count))
    return found


def _search_page(
    sought: str = "",
    *,
    problem: str = "",
    found: Sequence[FoundPerson] = (),
    more: bool = False,
    done: str | None = None,
    status: int | None = None,
) -> View:
    refused = 422 if problem in ("empty", "unclear") else 200
    return View(
        template="people.html",
        values={
            "sought": sought,
            "problem": problem,
            "found": found,
            "more": more,
            "place_of": place_of,
            "short": short,
            "done": done,
        },
        status=status or refused,
    )


def _when(visit: Visit, schedule: ToldSchedule) -> str:
    """When a schedule is due, in words; its fields, if they cannot be read."""
    if schedule.cron is not None:
        return cron_words.words(schedule.cron, visit.texts, visit.language)
    return " ".join(
        (
            *(schedule.minute, schedule.hour, schedule.day_of_month),
            *(schedule.month_of_year, schedule.day_of_week),
        )
    )


def _numbers(sought: str) -> list[str]:
    """The ways in which the Identity Store may have this number; none: it is no number."""
    plain = _BETWEEN_DIGITS.sub("", sought)
    if plain.startswith("00"):
        plain = f"+{plain[2:]}"
    if not _DIGITS.fullmatch(plain):
        return []
    # Without the code of a country, only the Identity Store may know it as it is.
    return [plain] if plain.startswith(("+", "0")) else [f"+{plain}", plain]


def _changes(story: Story, event: PersonEvent, *, is_shown: bool) -> list[FieldChange]:
    """What a change has changed; values that may be about the person are hidden."""
    details = event.details.value
    before, after = details.get("before") or {}, details.get("after") or {}
    found = []
    for name in sorted({*before, *after}):
        if name in ("updated_at", "updated_by", "joined_at", "joined_xid"):
            continue
        told = [_value(story, name, values.get(name)) for values in (before, after)]
        if name not in wording.FIELDS and not is_shown:
            told = [None if value is None else HIDDEN for value in told]
        found.append(
            FieldChange(name=wording.FIELDS.get(name, name), before=told[0], after=told[1])
        )
    return found


def _value(story: Story, name: str, value: Any) -> Any:
    if name == "messageset_id" and value in story.sets:
        return story.sets[value].short_name
    return value
