"""``/api/health``: whether the service can work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.web.server import Request

from sbm.model.instants import instant
from sbm.model.role import ROLES, Role
from sbm.store.postgres.errors import DatabaseUnavailable, DatabaseUnfit
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, new_app, reading
from sbm.web.http.http_errors import Reason
from sbm.web.http.reply import OptionsInfo, Reply, written
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema
from sbm.web.schema.json_schema import FLAG, MOMENT, ROW_ID, TEXT, JsonSchema

# A database that does not answer is as bad as none, and health checks do not wait for long.
PATIENCE_SECONDS = 4.0

_OPTIONS = OptionsInfo(
    name="Healthcheck",
    description="Healthcheck Interaction\nGET - returns service up - getting auth'd requires DB",
)


@frozen(eq=False, kw_only=True)
class Health:
    """The state of the service; ``version`` is that of sbm, and ``role`` that of this process.

    The states of the ledger balance and of the database's clock are those that this process found
    last. Neither is a reason to be down: the load balancer would take out a daemon that can work.
    """

    app = new_app()

    endpoint: Endpoint
    version: str
    role: Role
    libraries: Mapping[str, str]
    telemetry: Telemetry

    @app.route("/")
    async def health(self, request: Request) -> bytes:
        answer = Deferred.fromCoroutine(
            self.endpoint.answer(
                request,
                _OPTIONS,
                {"GET": evolve(reading(self._read), lane="prompt")},
                unavailable=self._down,
            )
        )
        try:
            return await answer.addTimeout(PATIENCE_SECONDS, self.endpoint.database.reactor)
        except TimeoutError:
            request.setHeader(b"Allow", b"GET, HEAD, OPTIONS")
            reason = Reason(kind="database")
            late = Reply(status=503, body=self._down(), headers={"Retry-After": "5"}, reason=reason)
            return written(request, late)

    async def _read(self, _transaction: Transaction, _request: ApiRequest) -> Reply:
        """The transaction itself shows that the database works."""
        return Reply(body=self._state(up=True, database="Accessible"))

    def _down(self, error: DatabaseUnavailable | None = None) -> dict[str, Any]:
        """The state without a database; the reason must not reveal the database's address."""
        reason = str(error) if isinstance(error, DatabaseUnfit) else ""
        return self._state(up=False, database="Not accessible", reason=reason)

    def _state(self, *, up: bool, database: str, reason: str = "") -> dict[str, Any]:
        result = {
            "database": database,
            "version": self.version,
            "libraries": dict(self.libraries),
            "ledger": self._ledger(),
            "services": {
                name: {
                    "is_away": service.is_probing,
                    "reason": service.reason,
                    "probe": service.probe,
                }
                for name, service in self.telemetry.services.items()
            },
            "clock": self._clock(),
            "pause": self._pause(),
            "server": self._server(),
            "database_reason": reason,
            "role": self.role,
            "ticks": self._ticks(),
            "reasons": (reasons := self._reasons()),
            "status": ("degraded" if reasons else "ok") if up else "down",
            "send_pauses": [
                {
                    "id": one.id,
                    "of": str(one.scope),
                    "state": one.state,
                    "since": instant(one.since),
                    "until": None if one.until is None else instant(one.until),
                    "reason": one.reason,
                }
                for one in self.telemetry.send_pauses
            ],
        }
        return {"up": up, "result": result}

    def _ledger(self) -> dict[str, Any]:
        unbalanced = self.telemetry.measured("ledger.unbalanced_ticks")
        checked_at = self.telemetry.measured("ledger.checked_at")
        return {
            "is_balanced": None if unbalanced is None else unbalanced == 0,
            "unbalanced_ticks": None if unbalanced is None else int(unbalanced),
            "checked_at": None
            if checked_at is None
            else instant(datetime.fromtimestamp(checked_at, timezone.utc)),
        }

    def _ticks(self) -> dict[str, Any]:
        ticks = self.telemetry.ticks
        calls = None if ticks is None else ticks.calls
        return {
            "reason": self.telemetry.reasons.get("ticks", ""),
            "overdue": []
            if ticks is None
            else [
                {"schedule": schedule_id, "since": instant(since)}
                for schedule_id, since in ticks.overdue.items()
            ],
            "calls_expected": None if calls is None else calls.expected,
            "calls_came": None if calls is None else calls.came,
            "unwatched": None if ticks is None else ticks.unwatched,
        }

    def _reasons(self) -> list[str]:
        """Why an operator has to look at it, although it answers; each reason once."""
        own = (
            self._pause()["reason"],
            self.telemetry.server_warning,
            *map(str, self.telemetry.held_ticks),
            *(
                f"{name.replace('_', ' ')} is away"
                for name, service in self.telemetry.services.items()
                if service.is_probing
            ),
        )
        return list(dict.fromkeys(filter(None, (*self.telemetry.reasons.values(), *own))))

    def _pause(self) -> dict[str, Any]:
        gate = self.telemetry.gate
        is_open = gate is None or gate.is_open
        return {"is_paused": not is_open, "reason": "" if gate is None else gate.reason}

    def _server(self) -> dict[str, Any]:
        timeline = self.telemetry.measured("database.timeline")
        return {
            "timeline": None if timeline is None else int(timeline),
            "changes": self.telemetry.counts["database.server_changes"],
            "warning": self.telemetry.server_warning,
        }

    def _clock(self) -> dict[str, Any]:
        doubted = self.telemetry.measured("clock.doubted_seconds")
        return {
            "trusted": None if doubted is None else doubted == 0,
            "jumps": self.telemetry.counts["clock.jumps"],
            "last_jump_seconds": self.telemetry.measured("clock.last_jump_seconds"),
        }


def library_versions() -> dict[str, str]:
    """The versions of the libraries that the health names."""
    return {name: _version_of(name) for name in ("twisted", "klein", "psycopg2")}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # The driver has two names on the package index: as source, and as a binary.
        return version(f"{package}-binary")


_LEDGER = one_object(
    {
        "is_balanced": {
            "description": "Whether every trigger is accounted for. It does not change `up`.",
            "type": ["boolean", "null"],
        },
        "unbalanced_ticks": {
            "description": "How many ticks were found unbalanced.",
            "type": ["integer", "null"],
            "minimum": 0,
        },
        "checked_at": {
            "description": "When this process last checked all that had to be checked.",
            "type": ["string", "null"],
            "format": "date-time",
        },
    },
    note="The ledger balance: triggers = outcomes + live sends. Null: not checked since the start.",
)
_CLOCK = one_object(
    {
        "trusted": {
            "description": "Whether the database's clock may decide when leases end, and when"
            " the absence of a message is proven.",
            "type": ["boolean", "null"],
        },
        "jumps": {
            "description": "How often this process saw that the clock was set, since its start.",
            "type": "integer",
            "minimum": 0,
        },
        "last_jump_seconds": {
            "description": "By how many seconds it was set the last time; negative: back.",
            "type": ["number", "null"],
        },
    },
    note="The database's clock. Null: not compared yet, or no jump since the start.",
)
_SEND_PAUSE = one_object(
    {
        "id": said(ROW_ID, "Its id in /api/v1/pauses/."),
        "of": said(TEXT, "What is paused."),
        "state": said(TEXT | {"enum": ["pausing", "paused"]}, "Whether it is in force."),
        "since": said(MOMENT, "When it began."),
        "until": said(nullable(MOMENT), "When it ends by itself; null: when somebody resumes."),
        "reason": said(TEXT, "Why."),
    },
    note="A pause of sends that a person began, as of the last second.",
)
_PAUSE = one_object(
    {
        "is_paused": said(FLAG, "Whether this process claims, expands and ticks nothing."),
        "reason": said(TEXT, "Why, and what to do; empty if it works."),
    },
    note="The work that this process does by itself. Requests are answered during a pause.",
)
_SERVER = one_object(
    {
        "timeline": {
            "description": "The timeline of the server that is used; null: not known.",
            "type": ["integer", "null"],
            "minimum": 1,
        },
        "changes": {
            "description": "How often this process found the database on another server or"
            " timeline, since its start.",
            "type": "integer",
            "minimum": 0,
        },
        "warning": said(TEXT, "What an operator has to do about the servers; empty if nothing."),
    },
    note="The server of the database. If there is a warning, the service may be up all the same.",
)
_TICKS = one_object(
    {
        "reason": said(TEXT, "Which ticks are missing; empty: none."),
        "overdue": {
            "description": "The schedules that wait for a tick longer than the grace.",
            "type": "array",
            "items": one_object({"schedule": {"type": "integer"}, "since": MOMENT}),
        },
        "calls_expected": {
            "description": "The calls of the Scheduler for single subscriptions that were due in"
            " the last day; null: there are no such calls, or they were not counted yet.",
            "type": ["integer", "null"],
        },
        "calls_came": {
            "description": "How many triggers of single subscriptions came in the last day.",
            "type": ["integer", "null"],
        },
        "unwatched": {
            "description": "Schedules of which it is not known when their ticks are due; null: not"
            " looked yet.",
            "type": ["integer", "null"],
        },
    },
    note="The ticks that did not come.",
)
_SERVICES: JsonSchema = {
    "type": "object",
    "description": "The services that this process calls, by name.",
    "additionalProperties": one_object(
        {
            "is_away": said(FLAG, "Whether the service is away for this process."),
            "reason": said(TEXT, "Why; empty if it is not away."),
            "probe": said(TEXT, "The send that shows whether it is back, once it is known."),
        }
    ),
}
_DOWN = {"anyOf": [schema("Health"), schema("Detail")]}

SECTION = Section(
    paths=[
        PathItem(
            path="/api/health/",
            tag="Service",
            operations={
                "GET": Operation(
                    name="read_health",
                    summary="Read whether the service can work",
                    answers={
                        200: answer_of(schema("Health"), "The service can work."),
                        503: answer_of(_DOWN, "The service cannot work without the database."),
                    },
                )
            },
        ),
    ],
    schemas={
        "Health": one_object(
            {
                "up": said(FLAG, "Whether the service can work."),
                "result": one_object(
                    {
                        "database": said(TEXT, "Whether the database can be used."),
                        "version": said(TEXT, "The version of this service."),
                        "libraries": {"type": "object", "additionalProperties": TEXT},
                        "ledger": _LEDGER,
                        "services": _SERVICES,
                        "clock": _CLOCK,
                        "pause": _PAUSE,
                        "server": _SERVER,
                        "database_reason": said(
                            TEXT,
                            "What an operator has to repair in the database; empty if this is not"
                            " known.",
                        ),
                        "role": said(
                            {"type": "string", "enum": list(ROLES)},
                            "What this process does: `api` answers requests, `pipeline` sends.",
                        ),
                        "ticks": _TICKS,
                        "reasons": said(
                            {"type": "array", "items": TEXT},
                            "What an operator has to look at, in all daemons and in this one.",
                        ),
                        "status": said(
                            {"type": "string", "enum": ["ok", "degraded", "down"]},
                            "`degraded`: the service answers, and there are reasons.",
                        ),
                        "send_pauses": {"type": "array", "items": _SEND_PAUSE},
                    }
                ),
            }
        ),
    },
)
