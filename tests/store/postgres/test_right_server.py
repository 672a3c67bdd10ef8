"""The rules for several servers that accept writes."""

from __future__ import annotations

from uuid import UUID

import pytest

from sbm.store.postgres.right_server import (
    NOT_COMPARED,
    OLD_PRIMARY,
    OTHER_CLUSTER,
    PARTED,
    SAME_TIMELINE,
    TWO_ACCEPT_WRITES,
    UNTOLD,
    judge,
)
from sbm.store.postgres.timelines import FoundServer


def server(
    timeline: int | None, *history: int, cluster: str = "7", started_at: str = "", token: int = 0
) -> FoundServer:
    """A server whose database was on these timelines; ``token`` is that of the last of them."""
    tokens = {(cluster, one): UUID(int=one) for one in history}
    if history and token:
        tokens[cluster, history[-1]] = UUID(int=token)
    return FoundServer(
        cluster=cluster,
        timeline=timeline,
        started_at=started_at or f"{timeline} {token}",
        history=tokens,
    )


def test_a_single_server_is_right() -> None:
    assert judge([server(3, 1, 3)], highest={"7": 3}).server == server(3, 1, 3)


def test_no_server_is_no_problem_of_the_servers() -> None:
    assert judge([], highest={}) == judge([server(None, 1)], highest={"7": 1})
    assert judge([], highest={}).problem == ""


def test_servers_that_may_not_be_asked_are_used_only_if_there_is_one() -> None:
    untold = [server(0, cluster="", started_at=when) for when in ("now", "then")]
    judgement = judge([untold[0], server(None, 1)], highest={"7": 2})
    assert (judgement.server, judgement.problem, judgement.alarm) == (untold[0], "", NOT_COMPARED)
    assert judge(untold, highest={}).problem == UNTOLD
    assert judge([untold[0], server(2, 1, 2)], highest={}).problem == UNTOLD


def test_a_standby_is_not_compared() -> None:
    judgement = judge([server(2, 1, 2), server(None, 1)], highest={"7": 2})
    assert (judgement.server, judgement.problem, judgement.alarm) == (server(2, 1, 2), "", "")


@pytest.mark.parametrize("history", [(1,), (), (1, 2)])
def test_the_newer_one_is_used_if_it_follows_the_older_one(history: tuple[int, ...]) -> None:
    """No daemon may have been there to write a row on the older timeline, or on the newer one."""
    judgement = judge([server(2, *history), server(3, 1, 2)], highest={"7": 2})
    assert (judgement.server, judgement.alarm) == (server(3, 1, 2), TWO_ACCEPT_WRITES)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ([server(2, 1), server(2, 1, started_at="later")], SAME_TIMELINE),
        ([server(1, 1), server(2, 1), server(2, 1, started_at="later")], SAME_TIMELINE),
        ([server(1, 1), server(5, 5, cluster="8")], OTHER_CLUSTER),
        ([server(2, 1, 2, token=9), server(3, 1, 2, 3)], PARTED),
        ([server(2, 1, 2), server(3, 1, 3)], PARTED),
        ([server(1, 1)], OLD_PRIMARY),
        ([server(3, 1, 2, 3), server(None, 1, 2, 3, 4)], OLD_PRIMARY),
    ],
)
def test_no_server_is_used_if_it_is_not_clear_which(found: list[FoundServer], problem: str) -> None:
    judgement = judge(found, highest={"7": 2})
    assert (judgement.server, judgement.problem, judgement.alarm) == (None, problem, "")


def test_two_names_of_one_server_are_one_server() -> None:
    judgement = judge([server(2, 1), server(2, 1)], highest={})
    assert (judgement.server, judgement.alarm) == (server(2, 1), "")


def test_the_timelines_of_another_cluster_do_not_count() -> None:
    """Its rows come along in a dump."""
    assert judge([server(1, 1)], highest={"8": 9}).problem == ""
