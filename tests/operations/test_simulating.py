"""A simulation says what the tick then does, whatever the world is like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import blockon, ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.author import Author
from sbm.model.send import Send, Settled, objection
from sbm.model.simulation import (
    Completion,
    ContentChange,
    MemberGroup,
    Result,
    SetSimulation,
    Simulation,
    SimulationRules,
    SimulationSettings,
    changed,
    sms_parts,
)
from sbm.model.time_zones import TimeZones
from sbm.operations import simulating_world
from sbm.operations.refusals import WorldHasChanged, WrongValues
from sbm.operations.simulating import simulate_now
from sbm.operations.simulating_content import simulate_changes
from sbm.operations.simulating_days import simulate_at, simulate_days
from sbm.operations.triggers import open_simulated_tick
from sbm.store import clock, sends, simulations, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.store.simulations import TickToSimulate
from tests.arrange import Arranged
from tests.pipeline.simulated import apart

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
SETTINGS = SimulationSettings()
UTC = TimeZones(default=ZoneInfo("UTC"))
LANGS = ("eng_ZA", "zul_ZA", "xho_ZA")
TABLES = (
    "subscriptions, sends, ledger, failed_tasks, messages, messagesets, schedules, ticks, pauses,"
    " content_changes, binary_contents, watched_ticks"
)


@frozen(kw_only=True)
class WorldSet:
    """A message set: what is missing, what is wrong, and what follows."""

    policy: str
    content_type: str
    channel: str | None
    texts: Mapping[tuple[int, str], str]
    is_followed: bool
    has_changed: bool
    is_dry: bool = False


@frozen(kw_only=True)
class WorldMember:
    """A subscription; ``is_late`` ones come after the tick that is under way."""

    of_set: int
    lang: str
    number: int
    prepend: Any
    state: str
    is_late: bool
    was_sent_to: bool
    is_owed: bool
    # It joined on another server, whose transactions are ahead of those of this one.
    is_from_elsewhere: bool = False


@frozen(kw_only=True)
class WorldOfTicks:
    """All that decides what a tick does.

    ``under_way`` is how far the tick before it is; ``is_old``: it came more than an hour ago;
    ``is_stopped``: a person has stopped it just now.
    """

    sets: list[WorldSet]
    members: list[WorldMember]
    under_way: str = "none"
    is_old: bool = False
    is_skipped: bool = False
    is_stopped: bool = False
    paused: int | None = None
    max_age: int | None = None


TEXTS = st.sampled_from(["fine", "fine", "fine", " ", "x" * 1001, "é" * 80, "ŵ" * 80, "a\nb"])
PREPENDS = st.sampled_from([None] * 6 + ["", "Hi", "x" * 995, 5, {"a": 1}, False, "a\nb"])


@st.composite
def _sets(draw: st.DrawFn) -> WorldSet:
    is_audio = draw(st.booleans()) and draw(st.booleans())
    places = st.tuples(st.integers(1, 4), st.sampled_from(LANGS))
    return WorldSet(
        policy=draw(st.sampled_from(["next", "wait", "fallback:eng_ZA", "fallback:zul_ZA"])),
        content_type="audio" if is_audio else "text",
        channel=draw(st.sampled_from([None, None, "WHATSAPP_1"])),
        texts=draw(st.dictionaries(places, TEXTS, max_size=9)),
        is_followed=draw(st.booleans()),
        has_changed=draw(st.booleans()) and draw(st.booleans()),
        is_dry=draw(st.booleans()) and draw(st.booleans()),
    )


MEMBERS = st.builds(
    WorldMember,
    of_set=st.integers(0, 2),
    lang=st.sampled_from(LANGS),
    number=st.integers(1, 6),
    prepend=PREPENDS,
    state=st.sampled_from(
        ["active = true"] * 6 + ["active = false", "process_status = -1", "completed = true"]
    ),
    is_late=st.booleans(),
    was_sent_to=st.booleans(),
    is_owed=st.sampled_from([False, False, False, True]),
    is_from_elsewhere=st.sampled_from([False, False, False, True]),
)
WORLDS = st.builds(
    WorldOfTicks,
    sets=st.lists(_sets(), min_size=3, max_size=3),
    members=st.lists(MEMBERS, min_size=1, max_size=14),
    under_way=st.sampled_from(["none", "none", "opened", "expanded", "half"]),
    is_old=st.booleans(),
    is_skipped=st.sampled_from([False, False, True]),
    is_stopped=st.sampled_from([False, False, True]),
    paused=st.sampled_from([None, None, None, 0, 3]),
    max_age=st.sampled_from([None, None, 3600, 10800]),
)


class Played:
    """A world in the database; its schedule is due once a day, half a day from now."""

    def __init__(self, database: Database, direct: Arranged, world: WorldOfTicks) -> None:
        self.database, self.direct, self.world = database, direct, world
        direct.rows(f"TRUNCATE {TABLES} CASCADE")
        # Not within an hour from now: content that has just changed completes nobody for an hour.
        self.schedule = direct.schedule(
            minute="0", hour=str((datetime.now(timezone.utc).hour + 12) % 24)
        )
        direct.rows("UPDATE schedules SET max_age = %s", world.max_age)
        self.sets = [
            direct.messageset(
                f"set{n}",
                self.schedule,
                messages=[],
                content_type=one.content_type,
                channel=one.channel,
            )
            for n, one in enumerate(world.sets)
        ]
        for n, one in enumerate(world.sets):
            for (number, lang), text in one.texts.items():
                file_name = (
                    f"{uuid4()}.mp3" if one.content_type == "audio" and text == "fine" else None
                )
                direct.message(self.sets[n], number, lang, text, file_name=file_name)
            direct.rows(
                "UPDATE messagesets SET on_missing_translation = %s, next_set_id = %s"
                " WHERE id = %s",
                *(one.policy, self.sets[(n + 1) % 3] if one.is_followed else None, self.sets[n]),
            )
            if not one.has_changed:
                direct.rows("DELETE FROM content_changes WHERE messageset_id = %s", self.sets[n])

    @property
    def settings(self) -> SimulationSettings:
        """Those by which it is simulated."""
        dry = zip(self.sets, self.world.sets, strict=True)
        return SimulationSettings(
            rules=SimulationRules(dry_runs=frozenset(number for number, one in dry if one.is_dry))
        )

    async def prepare(self) -> None:
        """Let the tick before come as far as it does, and everybody be where the world has them."""
        await self._subscribe(is_late=False)
        if self.world.under_way != "none":
            await self._begin_the_tick_before()
        await self._subscribe(is_late=True)
        if self.world.paused is not None:
            self._pause(None if self.world.paused == 3 else self.sets[self.world.paused])

    async def _begin_the_tick_before(self) -> None:
        if self.world.is_skipped:
            self._pause(None)
        before = await self._open()
        self.direct.rows("UPDATE pauses SET ended_at = now()")
        if self.world.under_way == "half":
            await self.database.transact(ticks.expand, limit=1)
        elif self.world.under_way == "expanded":
            while await self.database.transact(ticks.expand, limit=100) is not None:
                pass
        if self.world.is_old:
            self.direct.rows("UPDATE ticks SET created_at = created_at - interval '2 hours'")
        if self.world.is_stopped:
            await self.database.transact(ticks.stop, tick_id=before, stopped_by="ann")

    def _pause(self, messageset: int | None) -> None:
        self.direct.rows(
            "INSERT INTO pauses (kind, reason, messageset_id, on_ticks, paused_by, paused_at)"
            " VALUES ('operator', 'test', %s, 'skip', 'ann', now())",
            messageset,
        )

    async def _subscribe(self, *, is_late: bool) -> None:
        for one in self.world.members:
            if one.is_late is not is_late:
                continue
            (made,) = self.direct.subscriptions(
                *(1, self.sets[one.of_set], self.schedule),
                lang=one.lang,
                next_sequence_number=one.number,
                metadata=None if one.prepend is None else {"prepend_next_delivery": one.prepend},
            )
            set_state = f"UPDATE subscriptions SET {one.state} WHERE id = %s"  # noqa: S608
            self.direct.rows(set_state, made)
            if one.is_from_elsewhere:
                self.direct.rows(
                    "UPDATE subscriptions SET joined_xid = '9999999999' WHERE id = %s", made
                )
            if one.was_sent_to:
                self.direct.rows(
                    "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason,"
                    " subscription_id, identity, messageset_id, lang)"
                    " SELECT gen_random_uuid(), 0, 'next', 'sent', 'post', '', id, identity,"
                    " messageset_id, lang FROM subscriptions WHERE id = %s",
                    made,
                )
            if one.is_owed:
                await self.database.transact(sends.owe, subscription_id=made)

    async def _open(self) -> int:
        opened = await self.database.transact(ticks.open_tick, schedule_id=self.schedule)
        assert opened is not None
        return opened

    async def tick(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What the ledger says of a tick, up to the address, and who has completed by it."""
        self.direct.rows("UPDATE pauses SET on_ticks = 'skip'")
        opened = await self._open()
        self._forget_who_was_skipped_before(opened)
        while (
            await self.database.transact(ticks.skip_stopped, limit=2)
            or await self.database.transact(ticks.expand, limit=5) is not None
        ):
            self._forget_who_was_skipped_before(opened)
        self.direct.rows("UPDATE pauses SET ended_at = now()")
        completed = {
            row["id"] for row in self.direct.rows("SELECT id FROM subscriptions WHERE completed")
        }
        await self.deliver()
        rows = self.direct.rows("SELECT * FROM ledger WHERE tick_id = %s", opened)
        assert self.direct.rows("SELECT FROM sends") == []
        ended = self.direct.rows(
            "SELECT s.*, (SELECT messageset_id FROM subscriptions WHERE chained_from = s.id)"
            " AS next_set_id FROM subscriptions s WHERE completed AND id = ANY(%s)",
            [row["subscription_id"] for row in rows if row["stage"] != "trigger"],
        )
        return rows, [one for one in ended if one["id"] not in completed]

    def _forget_who_was_skipped_before(self, tick_id: int) -> None:
        """Let the tick have a row for each member: it would only count those who have one."""
        self.direct.rows(
            "DELETE FROM ledger WHERE tells_unfinished(reason) AND tick_id <> %s", tick_id
        )

    async def deliver(self) -> None:
        """Send all that is owed."""
        claimed = await self.database.transact(
            sends.claim, owner=uuid4(), limit=100, lease=timedelta(minutes=1)
        )
        results = [(send, objection(send) or self._sent(send)) for send in claimed]
        await self.database.transact(sends.settle, results=results)

    def _sent(self, send: Send) -> Settled:
        assert send.recipient is not None
        is_dry = send.recipient.messageset_id in self.settings.rules.dry_runs
        return Settled(outcome="dry-run", stage="post") if is_dry else SENT


def told(simulation: Simulation) -> dict[Result, int]:
    return {result: tally.count for result, tally in simulation.results.items()}


def happened(rows: list[dict[str, Any]]) -> dict[Result, int]:
    return Counter(map(result_of, rows))


def result_of(row: dict[str, Any]) -> Result:
    return Result(
        messageset_id=row["messageset_id"],
        lang=row["lang"],
        sequence_number=row["sequence_number"],
        outcome=row["outcome"],
        stage=row["stage"],
        reason=row["reason"] or "",
    )


def check_examples(simulation: Simulation, rows: list[dict[str, Any]]) -> None:
    """Five people for each outcome, stage and reason, or all of them, and the right ones."""
    reasons: dict[UUID, tuple[str, str, str]] = {
        row["subscription_id"]: (row["outcome"], row["stage"], row["reason"] or "") for row in rows
    }
    shown: Counter[tuple[str, str, str]] = Counter()
    for result, examples in simulation.examples.items():
        for subscription_id, _ in examples:
            assert reasons[subscription_id] == result[3:]
            shown[result[3:]] += 1
    unsent = Counter(reason for reason in reasons.values() if reason[0] != "sent")
    assert shown.keys() == unsent.keys()
    assert all(shown[reason] >= min(5, count) for reason, count in unsent.items())


@pytest.mark.parametrize(
    "examples", [40, pytest.param(500, marks=pytest.mark.long)], ids=["short", "500"]
)
@ensureDeferred
async def test_a_simulation_is_what_the_tick_then_does(
    database: Database, direct: Arranged, examples: int
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(world=WORLDS)
    def compare(world: WorldOfTicks) -> None:
        blockon(Deferred.fromCoroutine(compared(world)))

    async def compared(world: WorldOfTicks) -> None:
        played = Played(database, direct, world)
        await played.prepare()
        simulation = await database.read_snapshot(
            simulate_now, schedule_id=played.schedule, settings=played.settings
        )
        rows, ended = await played.tick()
        assert told(simulation) == happened(rows)
        assert dict(simulation.completions) == Counter(map(completion_of, ended))
        check_examples(simulation, rows)

    await apart(compare)


@pytest.mark.parametrize(
    "examples", [25, pytest.param(300, marks=pytest.mark.long)], ids=["short", "300"]
)
@ensureDeferred
async def test_days_are_what_their_ticks_then_do_one_after_the_other(
    database: Database, direct: Arranged, examples: int
) -> None:
    """What is owed at the beginning is sent before them."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(world=WORLDS, days=st.integers(1, 4))
    def compare(world: WorldOfTicks, days: int) -> None:
        blockon(Deferred.fromCoroutine(compared(world, days)))

    async def compared(world: WorldOfTicks, days: int) -> None:
        quiet = evolve(world, under_way="none", paused=None, max_age=None)
        played = Played(database, direct, quiet)
        await played.prepare()
        now = await database.read(clock.now)
        simulation = await database.read_snapshot(
            simulate_days,
            until=now + timedelta(days=days),
            zones=UTC,
            settings=played.settings,
        )
        # A second tick of the same moment would only skip what the first one had.
        at = await database.read_snapshot(
            simulate_at,
            schedule_id=played.schedule,
            at=now + timedelta(days=days),
            zones=UTC,
            settings=played.settings,
        )
        await played.deliver()
        # The changes of the content are at rest by the first tick.
        direct.rows("UPDATE content_changes SET changed_at = changed_at - interval '2 days'")
        results: Counter[Result] = Counter()
        completed: Counter[Completion] = Counter()
        for _ in range(days):
            rows, ended = await played.tick()
            results.update(happened(rows))
            completed.update(map(completion_of, ended))
            direct.rows("UPDATE ticks SET created_at = created_at - interval '2 hours'")
        assert told(simulation) == results
        assert dict(simulation.completions) == completed
        rows, _ = await played.tick()
        assert told(at) == happened(rows)

    await apart(compare)


def completion_of(ended: dict[str, Any]) -> Completion:
    return Completion(ended["messageset_id"], ended["lang"], ended["next_set_id"])


def test_people_whose_result_differs_are_counted() -> None:
    before = [["a", 10], ["b", 5]]
    assert changed(before, before) == 0
    assert changed(before, [["a", 8], ["b", 7]]) == 2
    assert changed(before, [["a", 10], ["b", 5], ["c", 4]]) == 4
    assert changed(before, [["a", 1]]) == 14


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ŵ" * 70, 1),
        ("ŵ" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_the_short_messages_of_a_text_are_counted(text: str, parts: int) -> None:
    assert sms_parts(text) == parts


@pytest.mark.parametrize("expanded", [0, 2])
@ensureDeferred
async def test_who_waits_for_an_older_tick_is_not_sent_a_second_message(
    database: Database, direct: Arranged, expanded: int
) -> None:
    """It came more than an hour ago, so that a tick now does not follow it."""
    schedule = direct.schedule()
    direct.subscriptions(3, direct.messageset("set", schedule), schedule)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    direct.rows("UPDATE ticks SET created_at = created_at - interval '2 hours'")
    if expanded:
        await database.transact(ticks.expand, limit=expanded)
    simulation = await database.read_snapshot(simulate_now, schedule_id=schedule, settings=SETTINGS)
    assert [one.reason for one in simulation.results] == [
        "a message is already owed to the subscription"
    ]
    opened = await database.transact(ticks.open_tick, schedule_id=schedule)
    while await database.transact(ticks.expand, limit=100) is not None:
        pass
    assert told(simulation) == happened(
        direct.rows("SELECT * FROM ledger WHERE tick_id = %s", opened)
    )


@ensureDeferred
async def test_a_member_with_a_prepend_may_move_while_a_simulated_tick_is_opened(
    database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(
        *(2, direct.messageset("set", schedule), schedule),
        metadata={"prepend_next_delivery": "Hi"},
    )
    simulation = await database.read_snapshot(simulate_now, schedule_id=schedule, settings=SETTINGS)
    token = await database.transact(
        simulations.keep,
        schedule_id=schedule,
        made_by="ann",
        allowed_change=0,
        counts=simulation.counts(),
    )
    group_members = simulations.group_members

    async def moved(transaction: Transaction, *, tick: TickToSimulate) -> list[MemberGroup]:
        groups = await group_members(transaction, tick=tick)
        direct.rows("UPDATE subscriptions SET next_sequence_number = 2")
        return groups

    monkeypatch.setattr(simulations, "group_members", moved)
    with pytest.raises(WorldHasChanged):
        await database.transact(
            open_simulated_tick,
            schedule_id=schedule,
            opened_by="ann",
            token=token,
            rules=SETTINGS.rules,
        )


@ensureDeferred
async def test_of_those_at_the_end_the_very_ones_who_are_owed_a_message_go_on_first(
    database: Database, direct: Arranged
) -> None:
    """One of the two was never sent a message of the set from here, and stays."""
    world = WorldOfTicks(
        sets=[a_set(is_followed=True)] + [a_set()] * 2,
        members=[a_member(number=3, was_sent_to=was, is_owed=was) for was in (True, False)],
    )
    played = Played(database, direct, world)
    await played.prepare()
    assert [(one.sent, one.not_sent) for one in (await days(played, 1)).ticks] == [(1, 1)]


@pytest.mark.parametrize("on_ticks", ["later", "skip"])
@pytest.mark.parametrize("is_at_the_moment", [True, False])
@ensureDeferred
async def test_what_waited_for_the_end_of_a_pause_is_sent_once(
    database: Database, direct: Arranged, on_ticks: str, is_at_the_moment: bool
) -> None:
    world = WorldOfTicks(
        sets=[a_set(texts={(n, "eng_ZA"): "fine" for n in range(1, 9)})] * 3, members=[a_member()]
    )
    played = Played(database, direct, world)
    await played.prepare()
    first, second, *_ = [one.at for one in (await days(played, 3)).ticks]
    end = second if is_at_the_moment else first + timedelta(hours=1)
    for kind in ("later", on_ticks):
        direct.rows(
            "INSERT INTO pauses (kind, reason, on_ticks, paused_by, paused_at, until)"
            " VALUES ('operator', 'test', %s, 'ann', now(), %s)",
            *(kind, end),
        )
    sent: Counter[datetime] = Counter()
    for tick in (await days(played, 3)).ticks:
        sent[tick.at] += tick.sent
    assert (sent[first], sent[second]) == (0, 1)
    assert sent[end] == (1 if is_at_the_moment or on_ticks == "later" else 0)
    assert sum(sent.values()) == (2 if is_at_the_moment or on_ticks == "skip" else 3)


@ensureDeferred
async def test_whoever_goes_on_to_a_schedule_without_members_waits_there_for_a_pause(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule(minute="0", hour="8")
    other = direct.schedule(minute="30", hour="*")
    direct.subscriptions(
        1,
        direct.messageset("a", schedule, messages=2, next_set=direct.messageset("b", other)),
        schedule,
    )
    now = await database.read(clock.now)
    direct.rows(
        "INSERT INTO pauses (kind, reason, on_ticks, paused_by, paused_at, until, schedule_id)"
        " VALUES ('operator', 'test', 'later', 'ann', now(), %s, %s)",
        *(now + timedelta(days=2, hours=12), other),
    )
    simulation = await database.read_snapshot(
        simulate_days, until=now + timedelta(days=2, hours=12), zones=UTC, settings=SETTINGS
    )
    assert [one.schedule_id for one in simulation.ticks] == [schedule, schedule, other]


@ensureDeferred
async def test_whoever_is_at_the_end_completes_when_the_content_is_at_rest(
    database: Database, direct: Arranged
) -> None:
    world = WorldOfTicks(
        sets=[a_set(has_changed=True)] * 3, members=[a_member(number=3, was_sent_to=True)]
    )
    played = Played(database, direct, world)
    direct.rows("UPDATE schedules SET minute = '*/10', hour = '*'")
    await played.prepare()
    simulation = await days(played, 1)
    waiting = round(SETTINGS.rules.content_settle / timedelta(minutes=10))
    assert abs(len(simulation.ticks) - waiting) <= 1
    assert sum(simulation.completions.values()) == 1
    assert simulation.members == len(simulation.ticks)


@pytest.mark.parametrize(("number", "is_refused"), [(1, True), (3, False)])
@ensureDeferred
async def test_too_many_ticks_with_members_are_refused(
    database: Database,
    direct: Arranged,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    is_refused: bool,
) -> None:
    """The only member completes at once, or stays for two ticks."""
    monkeypatch.setattr(simulating_world, "MOST_TICKS", 1)
    world = WorldOfTicks(
        sets=[a_set(texts={(n, "eng_ZA"): "fine" for n in range(1, 4)})] * 3,
        members=[a_member(number=number)],
    )
    played = Played(database, direct, world)
    await played.prepare()
    if is_refused:
        with pytest.raises(WrongValues, match="There are more than 1 ticks until then"):
            await days(played, 31)
    else:
        assert len((await days(played, 31)).ticks) == 1


@ensureDeferred
async def test_simulated_changes_hold_up_no_send_and_leave_no_trace(
    database: Database, direct: Arranged
) -> None:
    world = WorldOfTicks(sets=[a_set()] * 3, members=[a_member(is_owed=True)])
    played = Played(database, direct, world)
    await played.prepare()
    tables = ("messages", "message_versions", "content_changes", "audit", "simulations")
    before = [direct.rows(f"SELECT * FROM {one} ORDER BY 1") for one in tables]  # noqa: S608
    database.author = Author(actor="ann", action="simulate", reason="", request_id="1")

    async def work(transaction: Transaction) -> SetSimulation:
        database.author = None  # of the send below
        made = await simulate_changes(
            transaction,
            messageset_id=played.sets[0],
            changes=[
                ContentChange(sequence_number=1, lang="eng_ZA", text_content="new"),
                ContentChange(sequence_number=2, lang="eng_ZA", text_content=None),
                ContentChange(sequence_number=3, lang="eng_ZA", text_content="new"),
            ],
            settings=SETTINGS,
        )
        await played.deliver()
        direct.subscriptions(1, played.sets[0], played.schedule)
        return made

    await database.rehearse(work)
    assert [row["outcome"] for row in direct.ledger()] == ["sent"]
    after = [direct.rows(f"SELECT * FROM {one} ORDER BY 1") for one in tables]  # noqa: S608
    assert after == before


def a_set(**different: Any) -> WorldSet:
    usual: dict[str, Any] = {
        "policy": "next",
        "content_type": "text",
        "channel": None,
        "texts": {(1, "eng_ZA"): "fine", (2, "eng_ZA"): "fine"},
        "is_followed": False,
        "has_changed": False,
    }
    return WorldSet(**usual | different)


def a_member(**different: Any) -> WorldMember:
    usual: dict[str, Any] = {
        "of_set": 0,
        "lang": "eng_ZA",
        "number": 1,
        "prepend": None,
        "state": "active = true",
        "is_late": False,
        "was_sent_to": False,
        "is_owed": False,
    }
    return WorldMember(**usual | different)


async def days(played: Played, count: int) -> Simulation:
    until = await played.database.read(clock.now) + timedelta(days=count)
    return await played.database.read_snapshot(
        simulate_days, until=until, zones=UTC, settings=SETTINGS
    )
