"""The stand-in of the Metrics API."""

from __future__ import annotations

import pytest

from sbm.sandbox.stand_ins.metrics import Metrics, MetricsApp
from tests.sandbox.wire import Wire


@pytest.fixture
def wire() -> Wire:
    return Wire(MetricsApp(metrics=Metrics()).resource())


def test_sums_add_up_and_last_values_replace(wire: Wire) -> None:
    wire.post("/metrics/", {"created.sum": 1.0, "estimate.0.last": 5.0})
    wire.post("/metrics", {"created.sum": 2, "estimate.0.last": 4.0})
    assert wire.get("/metrics/").body == {"created.sum": 3.0, "estimate.0.last": 4.0}


@pytest.mark.parametrize("authorization", ["Bearer x", "Basic eDp5", "Token x"])
def test_every_way_of_authorization_is_welcome(wire: Wire, authorization: str) -> None:
    wire.authorization = authorization
    assert wire.post("/metrics/", {"a.sum": 1.0}).status == 201


@pytest.mark.parametrize("value", ["1", True, None, [1]])
def test_one_value_that_is_no_number_refuses_them_all(wire: Wire, value: object) -> None:
    assert wire.post("/metrics/", {"good.sum": 1.0, "bad.sum": value}).body == {
        "bad.sum": ["A valid number is required."]
    }
    assert wire.get("/metrics/").body == {}
