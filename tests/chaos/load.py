"""Callers of the API: they tick, trigger, resend, subscribe and read while the faults go on."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from typing import Any
from uuid import UUID

from attrs import define, field

from tests.arrange import arranged
from tests.chaos.content import LANG, Content, People
from tests.chaos.records import Notes
from tests.chaos.servers import ServerProcess

# The token of the Scheduler and of a user, as in the old service.
TOKEN = "token-of-the-callers"

# A daemon that is stopped does not answer; another one does.
_TIMEOUT_SECONDS = 3.0
_RETRY_SECONDS = 0.3

HEALTH = "/health/"

_KEPT = 50


def add_caller(uri: str) -> None:
    """Insert the user whose token the callers have."""
    with arranged(uri) as direct:
        direct.rows(
            "WITH made AS (INSERT INTO users (username) VALUES ('caller') RETURNING id)"
            " INSERT INTO tokens (user_id, digest) SELECT id, sha256(%s::bytea) FROM made",
            TOKEN.encode(),
        )


@define(eq=False)
class Load:
    """The callers, each in a thread of its own; ``notes`` are the answers that they got."""

    daemons: Sequence[ServerProcess]
    content: Content
    people: People
    seed: int
    notes: Notes = field(factory=Notes)
    _ended: Event = field(factory=Event)
    _threads: list[Thread] = field(factory=list)
    _lock: Lock = field(factory=Lock)
    _subscriptions: list[UUID] = field(factory=list)

    def begin(self) -> None:
        """Start all callers."""
        self._subscriptions = list(self.people.subscribed)
        self.notes.prepends.update(self.people.prepends)
        callers: list[tuple[Callable[[random.Random], None], float]] = [
            (self._tick, 2.5),
            (self._single, 0.05),
            (self._single, 0.05),
            (self._resend, 0.3),
            (self._prepend, 0.5),
            (self._subscribe, 0.7),
            (self._read, 0.5),
        ]
        for number, (call, pause) in enumerate(callers):
            rng = random.Random(f"{self.seed} {number}")
            thread = Thread(target=self._repeat, args=(call, pause, rng), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Stop all callers."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def tick(self, schedule: int) -> None:
        """Ask for a tick of a schedule, until that is accepted."""
        rng = random.Random(schedule)
        answer = None
        while answer is None:
            answer = self._once("POST", f"/v1/schedule/{schedule}/send/", rng)

    def _repeat(
        self, call: Callable[[random.Random], None], pause: float, rng: random.Random
    ) -> None:
        while not self._ended.wait(pause * rng.uniform(0.5, 1.5)):
            call(rng)

    def _tick(self, rng: random.Random) -> None:
        schedule = rng.choice(self.content.schedules)
        status, _ = self._ask("POST", f"/v1/schedule/{schedule}/send/", rng)
        if status == 202:
            self.notes.ticks[schedule] += 1

    def _single(self, rng: random.Random) -> None:
        subscription = self._anybody(rng)
        status, body = self._ask("POST", f"/v1/subscriptions/{subscription}/send", rng)
        if status == 201 and body == {"accepted": True}:
            with self._lock:
                self.notes.singles[subscription] += 1

    def _resend(self, rng: random.Random) -> None:
        subscription = self._anybody(rng)
        status, _ = self._ask("POST", f"/v1/subscriptions/{subscription}/resend", rng)
        if status == 202:
            self.notes.resends[subscription] += 1

    def _prepend(self, rng: random.Random) -> None:
        """Set a prepend, once for each: a repetition after it was sent would send it again."""
        subscription = self._anybody(rng)
        if subscription in self.notes.prepends:
            return
        value = f"by the way {subscription}"
        self.notes.prepends[subscription] = (value, False)
        body = {"metadata": {"prepend_next_delivery": value, "kept": "k"}}
        answer = self._once("PATCH", f"/v1/subscriptions/{subscription}/", rng, body)
        self.notes.prepends[subscription] = (value, answer is not None and answer[0] == 200)

    def _subscribe(self, rng: random.Random) -> None:
        """Ask for a new subscription once: a repetition could make a second one."""
        if not self.people.spare:
            return
        identity = self.people.spare.pop()
        body = {
            "identity": identity,
            "messageset": self.content.sets[0],
            "schedule": self.content.schedules[0],
            "lang": LANG,
        }
        answer = self._once("POST", "/v1/subscriptions/", rng, body)
        if answer is not None and answer[0] == 201:
            self.notes.created.add(identity)
            with self._lock:
                self._subscriptions.append(UUID(answer[1]["id"]))

    def _read(self, rng: random.Random) -> None:
        path = rng.choice(
            [HEALTH, "/v1/subscriptions/?process_status=1&limit=20", "/v1/failed-tasks/"]
        )
        self._once("GET", path, rng)

    def _anybody(self, rng: random.Random) -> UUID:
        return rng.choice(self._subscriptions)

    def _ask(self, method: str, path: str, rng: random.Random) -> tuple[int, Any]:
        """The answer to a request that may be repeated, from any daemon that gives one."""
        while True:
            answer = self._once(method, path, rng)
            if answer is not None:
                return answer
            if self._ended.wait(_RETRY_SECONDS * rng.uniform(0.5, 1.5)):
                return 0, None

    def _once(
        self, method: str, path: str, rng: random.Random, body: Any = None
    ) -> tuple[int, Any] | None:
        """An answer from one daemon; None: it did not answer, or with 503."""
        daemon = rng.choice(self.daemons)
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Token {TOKEN}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(
                method, f"/api{path}", None if body is None else json.dumps(body), headers
            )
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException):
            self._note("no answer")
            return None
        finally:
            connection.close()
        self._note(str(status))
        if status == 503:
            if not response.headers.get("Retry-After") and path != HEALTH:
                self._note_wrong(f"{method} {path}: 503 without Retry-After")
            return None
        if status not in (200, 201, 202):
            self._note_wrong(f"{method} {path}: {status} {content[:200]!r}")
            return status, None
        return status, json.loads(content)

    def _note(self, answer: str) -> None:
        with self._lock:
            self.notes.answers[answer] += 1

    def _note_wrong(self, what: str) -> None:
        with self._lock:
            if len(self.notes.wrong) < _KEPT:
                self.notes.wrong.append(what)
