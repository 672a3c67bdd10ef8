"""A simulation as JSON, for the API and for commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sbm.model.instants import instant
from sbm.model.simulation import EXAMPLES, KEPT, Result, Simulation, Tally


def shown(told: Simulation) -> dict[str, Any]:
    """A simulation as clients see it."""
    sent = {result: tally for result, tally in told.results.items() if result.outcome == "sent"}
    last = told.last_tick
    return {
        "as_of": instant(told.as_of),
        "follows": told.follows,
        "members": told.members,
        "send": {"count": told.sent.count, "sms": told.sent.parts, "by": _by(sent.items())},
        "not": _unsent(told),
        "completes": sum(told.completions.values()),
        "continues": [
            {
                "messageset": completion.messageset_id,
                "lang": completion.lang,
                "next_set": completion.next_set_id,
                "count": count,
            }
            for completion, count in sorted(
                told.completions.items(), key=lambda one: (one[0][:2], -one[1])
            )
        ],
        "ticks": [
            {
                "schedule": tick.schedule_id,
                "at": instant(tick.at),
                "sent": tick.sent,
                "sms": tick.parts,
                "not_sent": tick.not_sent,
            }
            for tick in told.ticks
        ],
        "holds": list(told.holds),
        "last_tick": None
        if last is None
        else {
            "id": last.id,
            "due_at": instant(last.due_at),
            "members": last.members,
            "without_address": last.without_address,
            "refused": last.refused,
        },
        "per_second": None if told.per_second is None else round(told.per_second, 1),
        "done_about": told.done_at and instant(told.done_at),
    }


def shown_token(told: Simulation, token: UUID, allowed_change: int) -> dict[str, Any]:
    """The token of a simulation as clients see it."""
    return {
        "token": str(token),
        "expires_at": instant(told.as_of + KEPT),
        "allowed_change": allowed_change,
    }


def shown_counts(counts: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """The results of a simulation that was kept, in the same form."""
    results = {Result(*result): Tally(count=count) for *result, count in counts}
    sent = {result: tally for result, tally in results.items() if result.outcome == "sent"}
    unsent: dict[tuple[str, str, str], int] = defaultdict(int)
    for result, tally in results.items():
        if result.outcome != "sent":
            unsent[result[3:]] += tally.count
    return {
        "send": {
            "count": sum(tally.count for tally in sent.values()),
            "by": [_place(result) | {"count": tally.count} for result, tally in _sorted(sent)],
        },
        "not": [
            {"outcome": outcome, "stage": stage, "reason": reason, "count": count}
            for (outcome, stage, reason), count in sorted(unsent.items(), key=lambda one: -one[1])
        ],
    }


def _unsent(told: Simulation) -> list[dict[str, Any]]:
    by_reason: dict[tuple[str, str, str], dict[Result, Tally]] = defaultdict(dict)
    for result, tally in told.results.items():
        if result.outcome != "sent":
            by_reason[result[3:]][result] = tally
    examples: dict[tuple[str, str, str], list[tuple[UUID, str]]] = defaultdict(list)
    for result, found in told.examples.items():
        examples[result[3:]] += found
    rows = [
        {
            "outcome": reason[0],
            "stage": reason[1],
            "reason": reason[2],
            "count": sum(tally.count for tally in results.values()),
            "by": [_place(result) | {"count": tally.count} for result, tally in _sorted(results)],
            "examples": [
                {"subscription": str(subscription_id), "identity": identity}
                for subscription_id, identity in examples[reason][:EXAMPLES]
            ],
        }
        for reason, results in by_reason.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["reason"]))


def _by(results: Iterable[tuple[Result, Tally]]) -> list[dict[str, Any]]:
    return [
        _place(result) | {"count": tally.count, "sms": tally.parts}
        for result, tally in _sorted(dict(results))
    ]


def _sorted(results: dict[Result, Tally]) -> list[tuple[Result, Tally]]:
    return sorted(results.items(), key=lambda one: (one[0][:2], one[0].sequence_number or 0))


def _place(result: Result) -> dict[str, Any]:
    return {
        "messageset": result.messageset_id,
        "lang": result.lang,
        "sequence_number": result.sequence_number,
    }
