"""Another Message Sender, which has nothing in common with the sandbox's but the wire.

    python -m tests.chaos.other_sender PORT DATABASE TROUBLE

Threads over an SQLite file; seven outbounds a page, newest first, with cursors. It blanks
``to_addr`` as soon as it has stored it, adds to ``metadata``, says its own inner address in
``next``, and closes connections that are idle for two seconds, as the real one may.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

from attrs import define, field

from tests.chaos.sender_faults import LIST_TROUBLES, POST_TROUBLES, befallen

PAGE = 7
LONGEST_REQUEST_LINE = 4094
IDLE_SECONDS = 2.0


@define(eq=False)
class Outbounds:
    """The outbounds in a file; an outbound that was answered is still there after a kill."""

    path: Path
    _lock: Lock = field(init=False, factory=Lock)
    _file: sqlite3.Connection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._file = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        # A write without a sync is enough: processes are killed here, not machines.
        self._file.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
            " CREATE TABLE IF NOT EXISTS outbound (number INTEGER PRIMARY KEY AUTOINCREMENT,"
            " id TEXT NOT NULL, to_identity TEXT NOT NULL, created_at TEXT NOT NULL,"
            " fields TEXT NOT NULL);"
            " CREATE INDEX IF NOT EXISTS outbound_identity ON outbound (to_identity, number);"
        )

    def store(self, said: dict[str, Any]) -> dict[str, Any]:
        """Insert one, and return it."""
        created_at = _instant(datetime.now(timezone.utc))
        fields = {
            "id": str(uuid4()),
            "version": 1,
            "to_addr": "",
            "vumi_message_id": None,
            "content": said.get("content"),
            "delivered": False,
            "attempts": 0,
            "metadata": {**said.get("metadata", {}), "seen_by": "another"},
            "created_at": created_at,
            "updated_at": created_at,
            "channel": said.get("channel"),
            "to_identity": said.get("to_identity", ""),
            "resend": said.get("resend") in (True, "true"),
        }
        with self._lock:
            self._file.execute(
                "INSERT INTO outbound (id, to_identity, created_at, fields) VALUES (?, ?, ?, ?)",
                (fields["id"], fields["to_identity"], created_at, json.dumps(fields)),
            )
        return fields

    def page(self, query: dict[str, list[str]]) -> tuple[list[dict[str, Any]], int | None]:
        """A page of the matching outbounds, newest first, and the cursor of the next page."""
        below = int(query.get("cursor", [str(2**62)])[-1])
        after, before = query.get("after", [""])[-1], query.get("before", ["9999"])[-1]
        wanted = query.get("to_identity", [])
        marks = ",".join("?" * len(wanted))
        among = f"AND to_identity IN ({marks})" if wanted else ""
        statement = (
            "SELECT number, fields FROM outbound WHERE number < ? AND created_at >= ?"  # noqa: S608
            f" AND created_at <= ? {among} ORDER BY number DESC LIMIT ?"
        )
        values = (below, _normal(after), _normal(before), *wanted, PAGE + 1)
        with self._lock:
            rows = self._file.execute(statement, values).fetchall()
        more = rows[PAGE - 1][0] if len(rows) > PAGE else None
        return [json.loads(fields) for _, fields in rows[:PAGE]], more


def _instant(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _normal(text: str) -> str:
    """A time as it is stored, so that the order of texts is that of times."""
    if len(text) <= 4:
        return text
    moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
    return _instant(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))


class OutboundConnection(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    server: OutboundServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path.rstrip("/") != "/api/v1/outbound":
            return self._answer(404, {"detail": "Not found."})
        trouble = befallen(self.server.trouble, POST_TROUBLES)
        kind = trouble.kind
        if kind.startswith(("not stored", "busy", "wrong token")):
            return self._unstored(kind)
        if kind == "stored late":
            time.sleep(trouble.seconds)
        outbound = self.server.outbounds.store(json.loads(body))
        if kind == "stored, answered late":
            time.sleep(trouble.seconds)
        return self._answer_post(kind, outbound)

    def _answer_post(self, kind: str, outbound: dict[str, Any]) -> None:
        if kind == "stored, hung up":
            self.close_connection = True
        elif kind == "stored, answered 500":
            self._answer(500, {"detail": "The worker could not be told."})
        elif kind == "stored, answered without an id":
            self._answer(201, {**outbound, "id": None})
        elif kind == "stored, answered with garbage":
            self._write(201, json.dumps(outbound).encode("ascii")[: -len(outbound["id"])], {})
        else:
            self._answer(201, outbound)

    def do_GET(self) -> None:
        if len(self.requestline) > LONGEST_REQUEST_LINE:
            return self._answer(400, {"detail": "Request Line is too large"})
        split = urlsplit(self.path)
        if split.path.rstrip("/") != "/api/v1/outbound":
            return self._answer(404, {"detail": "Not found."})
        kind = befallen(self.server.trouble, LIST_TROUBLES).kind
        if kind == "list: 500":
            return self._answer(500, {"detail": "No list today."})
        if kind == "list: garbage":
            return self._write(200, b'{"results": [{"id": ', {})
        query = parse_qs(split.query)
        rows, more = self.server.outbounds.page(query)
        following = None
        if more is not None:
            following = self._inner(urlencode({**query, "cursor": [str(more)]}, doseq=True))
        if kind == "list: a loop":
            following = self._inner(split.query)
        if kind == "list: somebody else's":
            stranger = {"to_identity": "00000000-0000-4000-8000-000000000000", "id": "stranger"}
            rows.append({**stranger, "metadata": {}})
        return self._answer(200, {"next": following, "previous": None, "results": rows})

    def _inner(self, query: str) -> str:
        return f"http://inner.example:8000{urlsplit(self.path).path}?{query}"

    def _unstored(self, kind: str) -> None:
        if kind == "not stored, hung up":
            self.close_connection = True
            return
        status = {"busy, 503": 503, "busy, 429": 429, "wrong token, 401": 401}.get(kind, 500)
        self._write(
            status,
            json.dumps({"detail": kind}).encode("ascii"),
            {"Retry-After": "1"} if kind.startswith("busy") else {},
        )

    def _answer(self, status: int, body: Any) -> None:
        self._write(status, json.dumps(body).encode("ascii"), {})

    def _write(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write nothing."""


class OutboundServer(ThreadingHTTPServer):
    """The outbounds, served on a port of this machine."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, outbounds: Outbounds, trouble: Path) -> None:
        super().__init__(("127.0.0.1", port), OutboundConnection)
        self.outbounds = outbounds
        self.trouble = trouble

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have hung up."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main(port: str, database: str, trouble: str) -> None:
    """Serve until killed."""
    OutboundServer(int(port), Outbounds(Path(database)), Path(trouble)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
