"""What would a tick do? Nothing is changed, and the rules are those of the tick itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from attrs import define, evolve, field

from sbm.model.hold import HOLD_SENTENCES, HoldReason
from sbm.model.ids import BEFORE_ALL
from sbm.model.simulation import (
    EXAMPLES,
    Completion,
    MemberGroup,
    PositionContent,
    PrependedMember,
    Result,
    SendingRate,
    SetPosition,
    Simulation,
    SimulationRules,
    SimulationSettings,
    Tally,
    Verdict,
)
from sbm.operations.refusals import NoSuchRow
from sbm.store import schedules, simulations
from sbm.store.postgres.transaction import Transaction
from sbm.store.simulations import FollowingSet, MembersToFind, Staying, TickToSimulate

# How many members with a prepend are read at a time.
PAGE = 5_000


@define(eq=False, kw_only=True)
class Contents:
    """What is sent in each position; each is looked up once."""

    transaction: Transaction
    rules: SimulationRules
    _found: dict[SetPosition, PositionContent] = field(factory=dict, init=False)
    _verdicts: dict[SetPosition, Verdict] = field(factory=dict, init=False)

    async def look_up(
        self, positions: Iterable[SetPosition], *, later: timedelta = timedelta(0)
    ) -> None:
        """Look up those that were not looked up before, as they are so much later.

        Those whose content had changed shortly before are looked up again.
        """
        missing = {
            one for one in positions if one not in self._found or (later and self._rests(one))
        }
        for found in await simulations.find_contents(
            self.transaction,
            positions=missing,
            content_settle=self.rules.content_settle - later,
        ):
            self._found[found.position] = found
            self._verdicts[found.position] = found.verdict(self.rules)

    def may_end(self, position: SetPosition) -> bool:
        """Whether whoever stands there is at the end, or will be when the content is at rest."""
        return self._verdicts[position].is_at_end or self._rests(position)

    def _rests(self, position: SetPosition) -> bool:
        recipient = self._found[position].send.recipient
        return recipient is not None and recipient.lack == "rest"

    def verdict(self, position: SetPosition, member: PrependedMember | None = None) -> Verdict:
        """What happens in a position that was looked up."""
        if member is None:
            return self._verdicts[position]
        return self._found[position].verdict(
            self.rules, prepend=member.prepend, odd_prepend=member.odd_prepend
        )


@define(eq=False, kw_only=True)
class Results:
    """The results so far, and where those stand who are not sent to."""

    following: Mapping[int, FollowingSet]
    tallies: dict[Result, Tally] = field(factory=dict, init=False)
    sent: Tally = field(factory=Tally, init=False)
    not_sent: int = field(default=0, init=False)
    completions: Counter[Completion] = field(factory=Counter, init=False)
    examples: dict[Result, list[tuple[UUID, str]]] = field(
        factory=lambda: defaultdict(list), init=False
    )
    # Where the members of a result are, for the search for examples.
    places: dict[Result, MembersToFind] = field(factory=dict, init=False)

    def skip(self, group: MemberGroup) -> None:
        """Count members that the tick skips."""
        assert group.reason is not None
        result = Result(
            messageset_id=group.messageset_id,
            lang=group.lang,
            sequence_number=None,
            outcome="skipped",
            stage="trigger",
            reason=group.reason,
        )
        self._count(result, group.count)
        self._place(result, group.position, MembersToFind(reason=group.reason))

    def add(
        self, position: SetPosition, verdict: Verdict, count: int, staying: Staying | None = None
    ) -> None:
        """Count members in a position; ``staying`` are those of them who do not go on."""
        staying_count = 0 if staying is None else min(staying.count, count)
        if staying is not None and staying_count:
            longer = verdict.result._replace(reason=verdict.result.reason + staying.added)
            self._count(longer, staying_count)
            ended = Completion(position.messageset_id, position.lang, None)
            self.completions[ended] += staying_count
            self._place(longer, position, MembersToFind(stay=True))
        if count == staying_count:
            return
        self._count(verdict.result, count - staying_count, verdict.parts)
        if verdict.finishes:
            self.completions[self._completion(position)] += count - staying_count
        stay = False if verdict.is_at_end else None
        self._place(verdict.result, position, MembersToFind(stay=stay))

    def add_one(self, member: PrependedMember, verdict: Verdict) -> None:
        """Count a member with a prepend, which is an example if nothing is sent to it."""
        self._count(verdict.result, 1, verdict.parts)
        if verdict.finishes:
            self.completions[self._completion(member.position)] += 1
        examples = self.examples[verdict.result]
        if verdict.result.outcome != "sent" and len(examples) < EXAMPLES:
            examples.append((member.id, member.identity))

    def _completion(self, position: SetPosition) -> Completion:
        next_set = self.following.get(position.messageset_id)
        next_set_id = None if next_set is None else next_set.next_set_id
        return Completion(position.messageset_id, position.lang, next_set_id)

    def _place(self, result: Result, position: SetPosition, members: MembersToFind) -> None:
        self.places.setdefault(result, members).positions.add(position)

    def _count(self, result: Result, count: int, parts: int = 0) -> None:
        self.tallies[result] = self.tallies.get(result, Tally()).plus(count, parts)
        if result.outcome == "sent":
            self.sent = self.sent.plus(count, parts)
        else:
            self.not_sent += count


async def simulate_tick(
    transaction: Transaction,
    *,
    schedule_id: int,
    rules: SimulationRules,
    tick_id: int | None = None,
) -> Results:
    """What a tick would do that is opened now, or one that was just opened, up to the address."""
    tick = TickToSimulate(schedule_id=schedule_id, tick_id=tick_id)
    contents = Contents(transaction=transaction, rules=rules)
    results = Results(following=await simulations.list_following_sets(transaction))
    groups = await simulations.group_members(transaction, tick=tick)
    await contents.look_up(one.position for one in groups if one.reason is None)
    counted: Counter[SetPosition] = Counter()
    for group in groups:
        if group.reason is not None:
            results.skip(group)
        elif not group.is_prepended:
            counted[group.position] += group.count
    if any(group.is_prepended and group.reason is None for group in groups):
        await _add_prepended(transaction, tick, contents, results, counted)
    at_end = [one for one in counted if contents.verdict(one).is_at_end]
    staying = {
        one.place[1]: one
        for one in await simulations.count_members_who_stay(
            transaction, tick=tick, positions=at_end
        )
    }
    for position, count in counted.items():
        results.add(position, contents.verdict(position), count, staying.get(position))
    return results


async def _add_prepended(
    transaction: Transaction,
    tick: TickToSimulate,
    contents: Contents,
    results: Results,
    counted: Counter[SetPosition],
) -> None:
    """Judge the members with a prepend one by one: each may have a prepend of its own.

    In the transaction that opens a tick, they may have moved since their groups were read.
    """
    after, slices = BEFORE_ALL, transaction.slices()
    while members := await simulations.list_prepended_members(
        transaction, tick=tick, limit=PAGE, after=after
    ):
        after = members[-1].id
        await contents.look_up(member.position for member in members)
        for member in members:
            verdict = contents.verdict(member.position, member)
            if verdict.is_at_end:
                counted[member.position] += 1
            else:
                results.add_one(member, verdict)
            if slices.is_over:
                await slices.next_turn()
        if len(members) < PAGE:
            break


async def simulate_now(
    transaction: Transaction, *, schedule_id: int, settings: SimulationSettings
) -> Simulation:
    """What goes out if a tick of the schedule is opened now; raises NoSuchRow."""
    schedule = await schedules.find(transaction, schedule_id=schedule_id)
    if schedule is None:
        raise NoSuchRow
    tick = TickToSimulate(schedule_id=schedule_id)
    results = await simulate_tick(transaction, schedule_id=schedule_id, rules=settings.rules)
    pace = await simulations.find_pace(transaction)
    told = Simulation(
        as_of=pace.now,
        results=results.tallies,
        completions=results.completions,
        examples=await find_examples(
            partial(simulations.find_examples, transaction, tick=tick), results
        ),
        follows=await simulations.find_tick_to_follow(transaction, tick=tick),
        holds=await _holds(transaction, schedule_id, results, schedule.canary),
        last_tick=await simulations.find_last_tick(transaction, schedule_id=schedule_id),
    )
    return with_pace(told, pace, schedule.max_rate, settings.max_rate)


def with_pace(told: Simulation, pace: SendingRate, *limits: int | None) -> Simulation:
    """The simulation with the rate at which messages leave, and when the last one does."""
    rates = [rate for rate in (pace.per_second, *limits) if rate]
    if pace.per_second is None or not told.sent.count:
        return evolve(told, per_second=min(rates) if pace.per_second else None)
    rate = min(rates)
    seconds = (pace.waiting + told.sent.count) / rate
    return evolve(told, per_second=rate, done_at=pace.now + timedelta(seconds=seconds))


async def _holds(
    transaction: Transaction, schedule_id: int, results: Results, canary: int | None
) -> list[str]:
    """Sentences that say what would hold the tick back."""
    sets = sorted({one.messageset_id for one in results.tallies if one.outcome == "sent"})
    found = await simulations.find_holds(transaction, schedule_id=schedule_id, messagesets=sets)
    by_hold: dict[HoldReason, list[int]] = defaultdict(list)
    for messageset_id, hold in found:
        by_hold[hold].append(messageset_id)
    told = []
    for hold, held in by_hold.items():
        which = "" if held == sets else f" (message sets {', '.join(map(str, held))})"
        told.append(f"nothing leaves yet: {HOLD_SENTENCES[hold]}{which}")
    if canary is not None:
        told.append(f"after its first {canary} messages it waits for a person")
    return told


class FindExamples(Protocol):
    """Finds some members of each group; ``are_rare``: the groups are small."""

    async def __call__(
        self, *, wanted: Mapping[int, MembersToFind], are_rare: bool
    ) -> list[tuple[int, UUID, str]]: ...


async def find_examples(
    find: FindExamples, results: Results
) -> dict[Result, Sequence[tuple[UUID, str]]]:
    """Some of the members for each outcome, stage and reason but "sent".

    A member of a large group is found soon. Those of small groups are found in one pass.
    """
    asked: list[tuple[Result, MembersToFind]] = []
    counts: Counter[int] = Counter()
    numbers: dict[tuple[str, str, str], int] = {}
    for result, members in results.places.items():
        if result.outcome == "sent":
            continue
        n = numbers.setdefault((result.outcome, result.stage, result.reason), len(asked))
        if n == len(asked):
            asked.append((result, MembersToFind(reason=members.reason, stay=members.stay)))
        asked[n][1].positions.update(members.positions)
        counts[n] += results.tallies[result].count
    large = _large(counts, sum(one.count for one in results.tallies.values()))
    found = {result: list(examples) for result, examples in results.examples.items() if examples}
    for are_rare in (False, True):
        wanted = {n: one for n, (_, one) in enumerate(asked) if (n not in large) is are_rare}
        for n, subscription_id, identity in await find(wanted=wanted, are_rare=are_rare):
            examples = found.setdefault(asked[n][0], [])
            if len(examples) < EXAMPLES:
                examples.append((subscription_id, identity))
    return dict(found)


def _large(counts: Counter[int], members: int) -> set[int]:
    """The groups of which each has some members among the first that are read."""
    large, rows = set(), 0.0
    for n, count in counts.most_common():
        rows += EXAMPLES * members / count
        if rows > members / 2:
            break
        large.add(n)
    return large
