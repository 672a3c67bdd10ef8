from __future__ import annotations

from sbm.telemetry import MOST_NAMES, PendingMetrics, Telemetry


def test_a_gauge_is_what_it_was_last_set_to_for_each_set_of_labels() -> None:
    telemetry = Telemetry()
    assert telemetry.measured("x") is None
    telemetry.gauge("x", 1)
    telemetry.gauge("x", 2, lane="tick", state="owed")
    telemetry.gauge("x", 3, state="owed", lane="tick")
    assert telemetry.measured("x") == 1
    assert telemetry.measured("x", lane="tick", state="owed") == 3
    assert telemetry.measured("x", lane="tick") is None


def test_a_counter_adds_up() -> None:
    telemetry = Telemetry()
    telemetry.count("x")
    telemetry.count("x", 2)
    assert telemetry.counts == {"x": 3}


def test_each_set_of_labels_has_a_counter_of_its_own() -> None:
    telemetry = Telemetry()
    telemetry.count("x", path="a", status="400")
    telemetry.count("x", 2, status="400", path="a")
    telemetry.count("x", 0, status="401", path="a")
    assert telemetry.labelled == {
        "x": {(("path", "a"), ("status", "400")): 3, (("path", "a"), ("status", "401")): 0}
    }
    assert telemetry.counts == {}


def test_the_memory_for_names_is_bounded_and_those_that_are_known_go_on() -> None:
    pending_metrics = PendingMetrics(is_kept=True)
    for number in range(MOST_NAMES + 1):
        pending_metrics.add(f"{number}.sum")
    pending_metrics.add("0.sum")
    assert len(pending_metrics.values) == MOST_NAMES
    assert pending_metrics.dropped == 1
    assert pending_metrics.take()["0.sum"] == 2
