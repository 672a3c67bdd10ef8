"""``/api/metrics``: the names of the metrics; POST sends the scheduled ones."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import names
from sbm.operations.scheduled_metrics import read_scheduled
from sbm.store import messagesets
from sbm.telemetry import PendingMetrics
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, new_app
from sbm.web.http.needs import OPERATING
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import one_object
from sbm.web.schema.json_schema import FLAG, TEXT

_OPTIONS = OptionsInfo(name="Metrics", description="The names of all metrics; POST fires them.")


@frozen(eq=False, kw_only=True)
class MetricsResource:
    """The metrics of this service; ``wake`` is called after a task was requested."""

    app = new_app()

    endpoint: Endpoint
    wake: Callable[[], None]
    pending_metrics: PendingMetrics
    zone: ZoneInfo

    @app.route("/")
    async def metrics(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._fire}
        return await self.endpoint.answer(request, _OPTIONS, methods, needs=OPERATING)

    async def _list(self, _request: ApiRequest) -> Reply:
        found = await self.endpoint.database.transact(messagesets.list_names)
        return Reply(body={"metrics_available": names(found)})

    async def _fire(self, request: ApiRequest) -> Reply:
        """The body is not read. If estimates are needed, the task that makes them sends them."""
        if self.pending_metrics.is_kept:
            values = await self.endpoint.database.transact(
                read_scheduled, zone=self.zone, requested_by=request.user.id
            )
            for name, value in values.items():
                self.pending_metrics.add(name, value)
            self.wake()
        return Reply(body={"scheduled_metrics_initiated": True})


_NAMES = {"type": "array", "items": TEXT}

SECTION = Section(
    paths=[
        PathItem(
            path="/api/metrics/",
            tag="Service",
            needs=OPERATING,
            operations={
                "GET": Operation(
                    name="list_metrics",
                    summary="List the names of the metrics",
                    answers={
                        200: answer_of(one_object({"metrics_available": _NAMES}), "The names.")
                    },
                ),
                "POST": Operation(
                    name="fire_metrics",
                    summary="Send the scheduled metrics",
                    description="The Metrics API gets the send estimates of today and the rest of"
                    " the week. If there are none of today, they are made first. The body is not"
                    " read.",
                    answers={
                        200: answer_of(
                            one_object({"scheduled_metrics_initiated": FLAG | {"const": True}}),
                            "The task was accepted.",
                        )
                    },
                ),
            },
        ),
    ],
)
