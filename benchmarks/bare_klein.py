"""The least that an API on Klein and txpostgres can do: insert one row, or select one.

    python -m benchmarks.bare_klein URI PORT

It is the other side of ``benchmarks.api``. It has no authentication, no checks of values and no
transactions of several statements.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from klein import Klein
from psycopg2.extras import Json
from twisted.internet import reactor as _reactor
from twisted.web.server import Request, Site
from txpostgres import txpostgres

from benchmarks.processes import when_told

reactor: Any = _reactor

# The table of the bare side: the same columns, a primary key and no other index.
TABLE = "CREATE TABLE bare (LIKE subscriptions INCLUDING DEFAULTS, PRIMARY KEY (id))"

_INSERT = (
    "INSERT INTO bare (identity, messageset_id, next_sequence_number, lang, schedule_id, metadata)"
    " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id::text"
)
_SELECT = (
    "SELECT id::text, version, identity, messageset_id, next_sequence_number, lang, active,"
    " completed, schedule_id, process_status, metadata, created_at::text, updated_at::text"
    " FROM subscriptions WHERE identity = %s AND active = %s"
)
_NAMES = (
    "id",
    "version",
    "identity",
    "messageset",
    "next_sequence_number",
    "lang",
    "active",
    "completed",
    "schedule",
    "process_status",
    "metadata",
    "created_at",
    "updated_at",
)


class Bare:
    """The two handlers."""

    app = Klein()

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @app.route("/subscriptions/request", methods=["POST"])
    async def create(self, request: Request) -> bytes:
        """Insert a row."""
        assert request.content is not None
        body = json.loads(request.content.read())["data"]
        values = [
            body[name]
            for name in ("identity", "messageset", "next_sequence_number", "lang", "schedule")
        ]
        await self._pool.runQuery(_INSERT, (*values, Json(body["metadata"])))
        return _answer(request, 201, {"accepted": True})

    @app.route("/subscriptions/", methods=["GET"])
    async def list(self, request: Request) -> bytes:
        """Select the rows of an identity."""
        identity, active = (request.args[name][0].decode() for name in (b"identity", b"active"))
        rows = await self._pool.runQuery(_SELECT, (identity, active == "true"))
        results = [dict(zip(_NAMES, row, strict=True)) for row in rows]
        return _answer(request, 200, {"next": None, "previous": None, "results": results})


def _answer(request: Request, status: int, body: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return json.dumps(body).encode("utf-8")


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    pool = txpostgres.ConnectionPool(None, options.uri, min=10)

    def listen(_: Any) -> None:
        reactor.listenTCP(options.port, Site(Bare(pool).app.resource()), interface="127.0.0.1")
        reactor.callInThread(when_told, lambda: "")

    pool.start().addCallback(listen)
    reactor.run()


if __name__ == "__main__":
    main()
