"""``/api/metrics``: the names of the metrics, and the firing of the scheduled ones."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import names, of_week
from sbm.store import estimates, messagesets, tasks
from sbm.store.postgres.database import Transaction
from sbm.telemetry import Tally
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app

_OPTIONS = OptionsInfo(name="Metrics", description="The names of all metrics; POST fires them.")


@frozen(eq=False, kw_only=True)
class Metrics:
    """The metrics of this service; ``wake`` is called once a task waits to be done."""

    app = new_app()

    endpoint: Endpoint
    wake: Callable[[], None]
    tally: Tally
    zone: ZoneInfo

    @app.route("/")
    async def metrics(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._fire}
        return await self.endpoint.answer(request, _OPTIONS, methods)

    async def _list(self, _request: ApiRequest) -> Reply:
        found = await self.endpoint.database.transact(messagesets.list_names)
        return Reply(body={"metrics_available": names(found)})

    async def _fire(self, request: ApiRequest) -> Reply:
        """The body is not read. What has to be estimated first is told by whoever does that."""
        if self.tally.is_kept:
            values = await self.endpoint.database.transact(
                _scheduled, zone=self.zone, requested_by=request.user.id
            )
            for name, value in values.items():
                self.tally.tell(name, value)
            self.wake()
        return Reply(body={"scheduled_metrics_initiated": True})


async def _scheduled(
    transaction: Transaction, *, zone: ZoneInfo, requested_by: int | None
) -> dict[str, float]:
    today, week = await estimates.read_week(transaction, zone=zone)
    if week is None:
        await tasks.request(transaction, kind="estimate-sends", requested_by=requested_by)
    return of_week(week or {}, today)
