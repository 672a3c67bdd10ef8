"""``/api/metrics``: the names of the metrics."""

from __future__ import annotations

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import names
from sbm.store import messagesets
from sbm.web.exchange import About, Exchange, Front, Reply, new_app

_ABOUT = About(name="Metrics", description="The names of all metrics; POST fires them.")


@frozen(eq=False)
class Metrics:
    """The metrics of this service."""

    app = new_app()

    _front: Front

    @app.route("/")
    async def metrics(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._fire}
        return await self._front.answer(request, _ABOUT, methods)

    async def _list(self, _exchange: Exchange) -> Reply:
        found = await self._front.database.transact(messagesets.list_names)
        return Reply(body={"metrics_available": names(found)})

    async def _fire(self, _exchange: Exchange) -> Reply:
        """The body is not read. Nothing waits to be fired: there are no scheduled metrics yet."""
        return Reply(body={"scheduled_metrics_initiated": True})
