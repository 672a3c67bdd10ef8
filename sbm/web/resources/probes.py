"""The requests about the process itself, for supervisors and load balancers, without a user."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.web.server import Request

from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from sbm.web.http.endpoint import new_app, only_read
from sbm.web.http.http_errors import Reason
from sbm.web.http.refused_requests import Refusals
from sbm.web.http.reply import Reply, written
from sbm.web.http.request import BoundedSite
from sbm.web.http.routing import RoutedResource
from sbm.web.http.targets import Paths
from sbm.web.openapi.parts import Operation, PathItem, Section, no_content
from sbm.web.resources.exposition import PrometheusMetrics

# A database that does not answer is as bad as none, and probes do not wait for long.
PATIENCE_SECONDS = 4.0

PATHS = ("/livez", "/readyz", "/metrics")


@frozen(eq=False, kw_only=True)
class Probes:
    """Answers ``/livez``, ``/readyz`` and ``/metrics``."""

    app = new_app()

    database: Database
    exposition: PrometheusMetrics

    @app.route("/livez")
    def read_liveness(self, request: Request) -> bytes:
        """Answer, to show that the process lives; this checks nothing else."""
        only_read(request)
        return _empty(request, 200)

    @app.route("/readyz")
    async def read_readiness(self, request: Request) -> bytes:
        """Whether requests can be answered: 503 while the database cannot be used."""
        only_read(request)
        if request.method == b"OPTIONS":
            return _empty(request, 200)
        look = Deferred.fromCoroutine(self.database.transact(_look))
        try:
            await look.addTimeout(PATIENCE_SECONDS, self.database.reactor)
        except (DatabaseUnavailable, TimeoutError):
            return _empty(request, 503, Reason(kind="database"))
        return _empty(request, 200)

    @app.route("/metrics")
    def read_exposition(self, request: Request) -> bytes:
        return self.exposition.answer(request)


async def _look(_transaction: Transaction) -> None:
    """The transaction itself shows that the database works."""


def _empty(request: Request, status: int, reason: Reason | None = None) -> bytes:
    request.setHeader(b"Content-Length", b"0")
    return written(request, Reply(status=status, reason=reason or Reason()))


def build(*, database: Database, telemetry: Telemetry, version: str) -> BoundedSite:
    """The site of a daemon without the API."""
    probes = Probes(
        database=database, exposition=PrometheusMetrics(telemetry=telemetry, version=version)
    )
    refusals = Refusals(reactor=database.reactor, telemetry=telemetry, paths=Paths(PATHS))
    return BoundedSite(RoutedResource(probes.app), database.reactor, refusals=refusals)


SECTION = Section(
    paths=[
        PathItem(
            path="/livez",
            tag="Service",
            needs_user=False,
            is_api=False,
            operations={
                "GET": Operation(
                    name="read_liveness",
                    summary="Check that the process answers",
                    description="It checks nothing else.",
                    answers={200: no_content("The process answers, without a body.")},
                )
            },
        ),
        PathItem(
            path="/readyz",
            tag="Service",
            needs_user=False,
            is_api=False,
            operations={
                "GET": Operation(
                    name="read_readiness",
                    summary="Check that requests can be answered",
                    description="For load balancers. A pause changes nothing here.",
                    answers={
                        200: no_content("The database can be used."),
                        503: no_content("The database cannot be used."),
                    },
                )
            },
        ),
    ],
)
