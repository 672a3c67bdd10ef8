"""What is reported of a failure, and how often."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel

import sbm
from sbm.runtime.already_logged import AlreadyLogged
from sbm.runtime.failure_reports import (
    MOST_IN_WINDOW,
    WINDOW_SECONDS,
    FailureReport,
    ReportLimit,
    is_unexpected,
)

SECRET = "+27820000001"


class Refused(Exception):
    """An error of a test."""


def observed(log: Callable[[Logger], None]) -> dict[str, Any]:
    """The one event that this logs."""
    events: list[dict[str, Any]] = []
    observer: Any = events.append
    log(Logger("sbm.tests", observer=observer))
    (event,) = events
    return event


def logged(error: BaseException, template: str = "{who} failed", **more: Any) -> dict[str, Any]:
    """The event of the log that ``_log.failure`` makes of an error."""
    try:
        raise error
    except BaseException:
        return observed(lambda log: log.failure(template, who=SECRET, **more))


def payload(error: BaseException, **more: Any) -> dict[str, Any]:
    return FailureReport.of(logged(error, **more)).payload()


def raised(error: BaseException) -> dict[str, Any]:
    (value,) = payload(error)["exception"]["values"]
    assert isinstance(value, dict)
    return value


def test_a_report_names_the_type_and_the_place_and_the_template() -> None:
    report = payload(Refused(SECRET))
    assert (report["level"], report["logger"]) == ("error", "sbm.tests")
    assert report["logentry"] == {"message": "{who} failed"}
    (value,) = report["exception"]["values"]
    assert (value["type"], value["module"]) == ("Refused", __name__)
    (frame,) = value["stacktrace"]["frames"]
    assert (frame["function"], frame["module"]) == ("logged", __name__)
    assert frame["filename"] == "tests/runtime/test_failure_reports.py"
    assert not frame["in_app"]
    assert set(frame) == {"module", "function", "filename", "lineno", "in_app"}


def test_a_report_contains_no_value() -> None:
    local = SECRET
    cause = ValueError(local)
    error = Refused(SECRET, {"text": SECRET})
    error.__cause__ = cause
    error.__notes__ = [SECRET]  # type: ignore[attr-defined]
    assert SECRET not in json.dumps(payload(error, identity=SECRET))


def test_the_causes_are_reported_first() -> None:
    error = Refused()
    error.__cause__ = ValueError()
    error.__cause__.__context__ = KeyError()
    values = payload(error)["exception"]["values"]
    assert [value["type"] for value in values] == ["KeyError", "ValueError", "Refused"]


def test_a_context_that_is_suppressed_is_not_reported() -> None:
    error = Refused()
    error.__context__ = ValueError()
    error.__suppress_context__ = True
    assert [value["type"] for value in payload(error)["exception"]["values"]] == ["Refused"]


def test_causes_in_a_circle_are_reported_a_few_times() -> None:
    error, other = Refused(), ValueError()
    error.__cause__, other.__cause__ = other, error
    assert len(payload(error)["exception"]["values"]) == 5


def test_only_the_last_calls_of_an_endless_recursion_are_reported() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    frames = raised(caught.value)["stacktrace"]["frames"]
    assert len(frames) == 50
    assert frames[-1]["function"] == "deeper"


def test_an_error_of_the_system_has_its_code_and_no_path() -> None:
    with pytest.raises(FileNotFoundError, match=r"27820000001") as caught:
        Path(f"/nowhere/{SECRET}").read_text()
    assert raised(caught.value)["value"] == "ENOENT"


def test_an_error_of_the_database_has_its_sqlstate_and_no_row(direct: Any) -> None:
    with pytest.raises(psycopg2.Error, match="27820000001") as caught:
        direct.rows("SELECT %s::text::integer", SECRET)
    value = raised(caught.value)
    assert (value["value"], value["module"]) == ("SQLSTATE 22003", "psycopg2.errors")
    assert SECRET not in json.dumps(value)


def test_a_code_that_is_none_is_not_reported() -> None:
    error = Refused()
    error.pgcode = SECRET  # type: ignore[attr-defined]
    assert "value" not in raised(error)


def test_the_template_of_another_package_is_not_reported() -> None:
    event = logged(Refused(), template=f"{SECRET} was formatted too early")
    event["log_namespace"] = "sbmarine.tests"
    report = FailureReport.of(event)
    assert (report.logger, report.template) == ("sbmarine.tests", "")
    assert "logentry" not in report.payload()


def test_an_error_that_was_never_raised_has_no_places() -> None:
    failed: Deferred[None] = Deferred()
    failed.errback(Refused())

    def log_it(log: Logger) -> None:
        failed.addErrback(lambda failure: log.failure("a delivery failed", failure))

    (value,) = FailureReport.of(observed(log_it)).payload()["exception"]["values"]
    assert "stacktrace" not in value


def test_a_critical_line_without_a_failure_is_reported() -> None:
    event = observed(lambda log: log.critical("all is lost: {why}", why=SECRET))
    assert is_unexpected(event)
    assert FailureReport.of(event).payload() == {
        "level": "error",
        "logger": "sbm.tests",
        "logentry": {"message": "all is lost: {why}"},
    }


@pytest.mark.parametrize("level", [LogLevel.error, LogLevel.warn, LogLevel.info])
def test_a_trouble_that_is_expected_is_not_reported(level: Any) -> None:
    assert not is_unexpected(observed(lambda log: log.emit(level, "{who} is away", who="x")))
    assert not is_unexpected(logged(Refused(), level=level))


def test_a_failure_that_was_logged_already_is_not_reported() -> None:
    assert is_unexpected(logged(Refused()))
    assert not is_unexpected(logged(AlreadyLogged()))


def templates(source: str) -> list[ast.expr]:
    """The templates of all lines that a module logs as critical."""
    return [
        node.args[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("failure", "critical")
        and "log" in ast.unparse(node.func.value)
    ]


def test_all_templates_of_critical_lines_are_literals() -> None:
    """Otherwise, a value could be a part of the template."""
    paths = Path(sbm.__file__).parent.rglob("*.py")
    found = [one for path in paths for one in templates(path.read_text(encoding="utf-8"))]
    assert len(found) > 10
    assert [ast.unparse(one) for one in found if not isinstance(one, ast.Constant)] == []


# The limit


def reports(count: int) -> list[FailureReport]:
    return [FailureReport(logger="sbm", template=str(n), raised=()) for n in range(count)]


def test_two_failures_of_one_type_and_place_are_the_same() -> None:
    one, other = (FailureReport.of(logged(Refused(text))) for text in "ab")
    assert one == other
    assert one != FailureReport.of(logged(ValueError()))
    assert one != FailureReport.of(logged(Refused(), template="{who} failed elsewhere"))


def test_the_same_failure_is_reported_once_a_minute() -> None:
    clock = task.Clock()
    limit = ReportLimit(seconds=clock.seconds)
    one, other = reports(2)
    assert [limit.admits(report) for report in (one, one, other, one)] == [True, False, True, False]
    clock.advance(WINDOW_SECONDS - 1)
    assert not limit.admits(one)
    assert limit.left_out == 3
    clock.advance(1)
    assert limit.admits(one)


def test_all_failures_together_are_reported_a_few_times_a_minute() -> None:
    clock = task.Clock()
    limit = ReportLimit(seconds=clock.seconds)
    first, *others, last = reports(MOST_IN_WINDOW + 2)
    assert limit.admits(first)
    clock.advance(1)
    assert [limit.admits(report) for report in others].count(False) == 1
    assert not limit.admits(last)
    clock.advance(WINDOW_SECONDS - 1)
    assert limit.admits(last)
    assert not limit.admits(others[-1])
    assert limit.left_out == 3
