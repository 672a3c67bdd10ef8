"""A loop that only makes the two requests of each send: through treq, or through Twisted's Agent.

    python -m benchmarks.bare_requests treq|agent IDENTITY_STORE MESSAGE_SENDER SENDS CONCURRENCY

It is the other side of ``benchmarks.send``. It reads the address from the first answer and the id
from the second one, as anybody must. It has no deadlines, no retries and no database.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import treq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.threads import blockingCallFromThread
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from benchmarks.content import TEXT, identity
from benchmarks.processes import when_told

reactor: Any = _reactor

WARM_UP = 200


def outbound(address: str, number: int) -> dict[str, Any]:
    """The outbound for this person, as the daemon posts it."""
    return {
        "to_addr": address,
        "to_identity": identity(number),
        "delivered": "false",
        "resend": "false",
        "metadata": {"sbm_send_id": str(uuid.uuid4())},
        "content": TEXT,
    }


class ThroughTreq:
    """The two requests as most code makes them: treq's functions, with URLs as text."""

    def __init__(self, identity_store: str, message_sender: str, pool: HTTPConnectionPool) -> None:
        self._identities, self._outbounds = f"{identity_store}/identities", message_sender
        self._get = Headers({"Authorization": ["Token i"]})
        self._post = Headers({"Authorization": ["Token m"]})
        self._pool = pool

    async def send(self, number: int) -> None:
        """Make both requests for this person."""
        answer = await treq.get(
            f"{self._identities}/{identity(number)}/addresses/msisdn",
            params={"default": "True", "use_communicate_through": "True"},
            headers=self._get,
            pool=self._pool,
        )
        found = await treq.json_content(answer)
        answer = await treq.post(
            f"{self._outbounds}/outbound/",
            json=outbound(found["results"][0]["address"], number),
            headers=self._post,
            pool=self._pool,
        )
        assert (await treq.json_content(answer))["id"]


@implementer(IBodyProducer)
class Bytes:
    """A body that is written at once."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: everything is written."""

    def resumeProducing(self) -> None:
        """Do nothing."""

    def stopProducing(self) -> None:
        """Do nothing."""


class ThroughAgent:
    """The two requests through ``twisted.web.client.Agent``, with all that can be prepared."""

    def __init__(self, identity_store: str, message_sender: str, pool: HTTPConnectionPool) -> None:
        self._agent = Agent(reactor, pool=pool)
        self._identities = f"{identity_store}/identities/".encode("ascii")
        self._outbounds = f"{message_sender}/outbound/".encode("ascii")
        self._get = Headers({"Authorization": ["Token i"]})
        self._post = Headers({"Authorization": ["Token m"], "Content-Type": ["application/json"]})

    async def send(self, number: int) -> None:
        """Make both requests for this person."""
        person = identity(number).encode("ascii")
        query = b"/addresses/msisdn?default=True&use_communicate_through=True"
        answer = await self._agent.request(b"GET", self._identities + person + query, self._get)
        found = json.loads(await readBody(answer))
        body = json.dumps(outbound(found["results"][0]["address"], number)).encode("ascii")
        answer = await self._agent.request(b"POST", self._outbounds, self._post, Bytes(body))
        assert json.loads(await readBody(answer))["id"]


WAYS: dict[str, type[ThroughTreq] | type[ThroughAgent]] = {
    "treq": ThroughTreq,
    "agent": ThroughAgent,
}


async def _all(send: Callable[[int], Awaitable[None]], sends: int, concurrency: int) -> str:
    numbers = iter(range(sends))

    async def some() -> None:
        for number in numbers:
            await send(number)

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(concurrency)])
    return "done"


def main() -> None:
    """Warm up, and make all requests whenever the benchmark says so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("identity_store")
    parser.add_argument("message_sender")
    parser.add_argument("sends", type=int)
    parser.add_argument("concurrency", type=int)
    options = parser.parse_args()
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = options.concurrency
    sender = WAYS[options.way](options.identity_store, options.message_sender, pool)

    def work(sends: int) -> str:
        def begin() -> Any:
            return Deferred.fromCoroutine(_all(sender.send, sends, options.concurrency))

        return str(blockingCallFromThread(reactor, begin))

    def serve() -> None:
        work(WARM_UP)
        when_told(lambda: work(options.sends))

    reactor.callInThread(serve)
    reactor.run()


if __name__ == "__main__":
    main()
