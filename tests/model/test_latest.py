"""The latest of many things."""

from __future__ import annotations

from collections import OrderedDict

from sbm.model.latest import remember


def test_the_oldest_is_forgotten_and_one_that_comes_again_is_the_latest() -> None:
    latest: OrderedDict[str, int] = OrderedDict()
    for number, key in enumerate("abac"):
        remember(latest, key, number, most=2)
    assert list(latest.items()) == [("a", 2), ("c", 3)]
