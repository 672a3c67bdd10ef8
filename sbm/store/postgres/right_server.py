"""Which of several servers is the right one: the rules, without connections."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen

from sbm.store.postgres.timelines import FoundServer, History

TWO_ACCEPT_WRITES = (
    "two servers accept writes; the one on the lower timeline is an old primary, and is not used:"
    " stop it, and make it a standby"
)
SAME_TIMELINE = (
    "two servers accept writes on the same timeline, and nothing tells which of them is right:"
    " stop the wrong one"
)
UNTOLD = (
    "two servers accept writes, and the user of the database may not ask which of them is right:"
    " stop the wrong one, and grant EXECUTE on pg_control_system and pg_walfile_name"
)
NOT_COMPARED = (
    "the servers of the database cannot be compared, because the user of the database may not"
    " execute pg_control_system or pg_walfile_name: grant EXECUTE on them"
)
OTHER_CLUSTER = (
    "two servers of different database clusters accept writes: stop the wrong one, or take it out"
    " of the URL"
)
PARTED = (
    "two servers accept writes, and the history of one is no part of the other's: stop the wrong"
    " one"
)
OLD_PRIMARY = (
    "the server that accepts writes is an old primary: a higher timeline was in use after it."
    " Start the newer server. The manual (Fencing) says how to go back to this one all the same"
)


@frozen(kw_only=True)
class Judgement:
    """The server to use, if there is one.

    ``problem`` says why none may be used; ``alarm`` says what an operator has to repair although
    the work goes on. Both are clauses, and empty if there is nothing to say.
    """

    server: FoundServer | None = None
    problem: str = ""
    alarm: str = ""


def judge(found: Collection[FoundServer], *, highest: Mapping[str, int]) -> Judgement:
    """Judge the servers of all hosts that answered; only those that accept writes are compared.

    ``highest`` is the highest timeline of each cluster that was ever seen. The rows of standbys
    count as well: they tell of a primary that is not there at the moment.
    """
    # Two hosts may be names of one server.
    writable = list({one: one for one in found if one.timeline is not None}.values())
    if not writable:
        return Judgement()
    if any(one.is_untold for one in writable):
        if len(writable) > 1:
            return Judgement(problem=UNTOLD)
        return Judgement(server=writable[0], alarm=NOT_COMPARED)
    if len({one.cluster for one in writable}) > 1:
        return Judgement(problem=OTHER_CLUSTER)
    *older, newest = sorted(writable, key=_timeline)
    if any(_timeline(one) == _timeline(newest) for one in older):
        return Judgement(problem=SAME_TIMELINE)
    if not all(_is_ancestor(one, newest) for one in older):
        return Judgement(problem=PARTED)
    seen = [highest.get(newest.cluster, 0)]
    seen += [highest_of(one.history).get(newest.cluster, 0) for one in found]
    if _timeline(newest) < max(seen):
        return Judgement(problem=OLD_PRIMARY)
    return Judgement(server=newest, alarm=TWO_ACCEPT_WRITES if older else "")


def highest_of(history: History) -> Mapping[str, int]:
    """The highest timeline of each cluster in a history."""
    highest: dict[str, int] = {}
    for cluster, timeline in history:
        highest[cluster] = max(timeline, highest.get(cluster, 0))
    return highest


def _timeline(server: FoundServer) -> int:
    return server.timeline or 0


def _is_ancestor(older: FoundServer, newer: FoundServer) -> bool:
    """Whether all that the older one says of its past is in the history of the newer one."""
    return all(newer.history.get(key) == token for key, token in older.history.items())
