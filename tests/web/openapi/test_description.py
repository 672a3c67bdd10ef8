"""The description, held against the routes, the methods and the filters that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import pytest_twisted
from openapi_spec_validator import validate

from sbm.web.api import Root
from sbm.web.description import describe, paths
from sbm.web.openapi.schemas import taken_by
from sbm.web.resources import (
    audit,
    background,
    behind_subscriptions,
    binary_contents,
    failed_tasks,
    intake,
    messages,
    messagesets,
    pauses,
    schedules,
    silent_subscriptions,
    subscriptions,
    tasks,
    ticks,
    tokens,
    users,
)
from sbm.web.schema.fields import Field
from tests.web.conftest import Api
from tests.web.openapi.conformance import validator

DESCRIPTION = describe("1.2.3")
PATHS = DESCRIPTION["paths"]
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")

LISTS = {
    "/api/v1/schedule/": schedules,
    "/api/v1/messageset/": messagesets,
    "/api/v1/message/": messages,
    "/api/v1/binarycontent/": binary_contents,
    "/api/v1/subscriptions/": subscriptions,
    "/api/v1/failed-tasks/": failed_tasks,
    "/api/v1/behind-subscriptions/": behind_subscriptions,
    "/api/v1/silent/": silent_subscriptions,
    "/api/v1/send-estimates/": background,
    "/api/v1/ticks/": ticks,
    "/api/v1/pauses/": pauses,
    "/api/v1/audit/": audit,
    "/api/v1/intake/": intake,
    "/api/v1/tasks/": tasks,
    "/api/v1/users/": users,
    "/api/v1/tokens/": tokens,
}
PAGING = {"limit", "offset", "cursor"}


def plain(path: str) -> str:
    """A path without the names of its parameters, and without a last slash."""
    return re.sub(r"<[^>]+>|{[^}]+}", "*", path).rstrip("/")


def routes() -> Iterator[str]:
    """Every path that the API answers at; those of the console are none of it."""
    paths = (plain(rule.rule) for rule in Root.app.url_map.iter_rules())
    return (path for path in paths if path not in ("", "/console", "/console/*"))


def filled(path: str) -> str:
    """A path with something for each of its parameters."""
    return re.sub(r"{[^}]+}", "1", path)


def test_it_is_openapi() -> None:
    validate(json.loads(json.dumps(DESCRIPTION)))


def test_every_route_is_described_and_nothing_else() -> None:
    assert {plain(path) for path in PATHS} == set(routes())


@pytest_twisted.ensureDeferred
async def test_every_method_is_described_and_nothing_else(api: Api) -> None:
    for path, item in PATHS.items():
        answer = await api.call("OPTIONS", filled(path))
        described = [method.upper() for method in METHODS if method in item]
        assert answer.status == 200, path
        assert (answer.header("Allow") or "").split(", ") == described, path


@pytest_twisted.ensureDeferred
async def test_both_forms_of_every_path_answer(api: Api) -> None:
    for path in PATHS:
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        here = await api.call("OPTIONS", filled(path))
        there = await api.call("OPTIONS", filled(other))
        assert (there.status, there.text) == (here.status, here.text), other


@pytest.mark.parametrize("path", LISTS)
def test_every_filter_is_described_and_nothing_else(path: str) -> None:
    described = {
        one.get("name") or one["$ref"].rpartition("/")[2]
        for one in PATHS[path]["get"]["parameters"]
    }
    declared = {one.name for one in getattr(LISTS[path], "FILTERS", ())}
    assert described - PAGING == declared


def test_what_is_requeued_is_filtered_as_it_is_listed() -> None:
    item = PATHS[failed_tasks.PATH]
    taken = {one["name"] for one in item["post"]["parameters"]}
    assert taken == {one.name for one in failed_tasks.FILTERS}


@pytest_twisted.ensureDeferred
async def test_whoever_needs_no_user_is_described_so_and_nobody_else(api: Api) -> None:
    for path, item in PATHS.items():
        for method in METHODS:
            if method in item:
                answer = await api.call(method.upper(), filled(path), token="")
                is_open = item[method]["security"] == []
                assert (answer.status != 401) == is_open, f"{method} {path}"


@pytest_twisted.ensureDeferred
async def test_whatever_takes_a_key_is_described_so_and_nothing_else(api: Api) -> None:
    taken = set()
    for path, item in PATHS.items():
        if "post" in item:
            answer = await api.post(filled(path), {"data": {}}, Idempotency_Key="no key")
            key = {"$ref": "#/components/parameters/idempotency-key"}
            takes_key = "Idempotency-Key" in answer.text
            assert (key in item["post"].get("parameters", [])) == takes_key, path
            taken |= {path} if takes_key else set()
    assert len(taken) == 5


def test_names_of_operations_are_unique() -> None:
    names = [
        item[method]["operationId"]
        for item in PATHS.values()
        for method in item
        if method in METHODS
    ]
    assert len(names) == len(set(names))


def test_examples_are_as_described() -> None:
    examples = 0
    for path, item in PATHS.items():
        for method in {"post", "put", "patch"} & item.keys():
            content = item[method].get("requestBody", {}).get("content", {})
            for one in content.values():
                if "example" in one:
                    examples += 1
                    validator(one["schema"]["$ref"]).validate(one["example"])
                    assert one["example"].keys() <= known(one["schema"]), path
    assert examples == 21


def known(schema: dict[str, str]) -> set[str]:
    """The members that a schema names."""
    name = schema["$ref"].rpartition("/")[2]
    return set(DESCRIPTION["components"]["schemas"][name]["properties"])


def test_a_kind_of_field_that_is_not_described_is_noticed() -> None:
    with pytest.raises(TypeError, match="Field is not described"):
        taken_by(Field(name="x"))


@pytest_twisted.ensureDeferred
async def test_it_is_served_to_everybody(api: Api) -> None:
    answer = await api.get("/api/v1/openapi.json", token="")
    assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
    assert answer.json == DESCRIPTION


def test_the_paths_are_those_of_the_description() -> None:
    assert paths() == list(describe("1.2.3")["paths"])
