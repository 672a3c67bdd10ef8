"""The sandbox's Identity Store or Message Sender, in a process of its own.

python -m tests.chaos.stand_ins identity-store PORT JOURNAL
python -m tests.chaos.stand_ins message-sender PORT JOURNAL TROUBLE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from sbm.sandbox.stand_ins.identity_store import IdentityStore, IdentityStoreApp
from sbm.sandbox.stand_ins.message_sender import MessageSender, MessageSenderApp
from sbm.sandbox.stand_ins.rest import Refused, Response
from sbm.sandbox.stand_ins.servers import UnloggedSite
from tests.chaos.sender_faults import LIST_TROUBLES, POST_TROUBLES, befallen

reactor: Any = _reactor


@frozen(eq=False, kw_only=True)
class FaultyMessageSender(MessageSenderApp):
    """The stand-in, with the fault that a file names."""

    trouble: Path

    async def create(self, request: Request) -> Response:  # type: ignore[override]
        """Store an outbound, or not, and answer, or not."""
        trouble = befallen(self.trouble, POST_TROUBLES)
        kind = trouble.kind
        if kind == "stored late":
            await _pause(trouble.seconds)
        if kind.startswith(("not stored", "busy", "wrong token")):
            return await _unstored(kind, request)
        reply = MessageSenderApp.create(self, request)
        if kind == "stored, hung up":
            await _hang_up(request)
        if kind == "stored, answered late":
            await _pause(trouble.seconds)
        if kind == "stored, answered 500":
            raise Refused(500, {"detail": "The worker could not be told."})
        if kind == "stored, answered without an id":
            return Response(status=201, body={key: reply.body[key] for key in ("url", "version")})
        if kind == "stored, answered with garbage":
            return Response(status=201)
        return reply

    def list_all(self, request: Request) -> Response:
        """A page of the outbounds, or a faulty answer."""
        kind = befallen(self.trouble, LIST_TROUBLES).kind
        if kind == "list: 500":
            raise Refused(500, {"detail": "No list today."})
        if kind == "list: garbage":
            return Response(body=["results"])
        reply = MessageSenderApp.list_all(self, request)
        if kind == "list: a loop":
            reply.body["next"] = f"http://elsewhere.example{request.uri.decode('ascii')}"
        if kind == "list: somebody else's":
            stranger = {"to_identity": "00000000-0000-4000-8000-000000000000", "id": "stranger"}
            reply.body["results"].append({**stranger, "metadata": {}})
        return reply


async def _unstored(kind: str, request: Request) -> Response:
    if kind == "not stored, hung up":
        await _hang_up(request)
    status = {"busy, 503": 503, "busy, 429": 429, "wrong token, 401": 401}.get(kind, 500)
    headers = {"Retry-After": "1"} if kind.startswith("busy") else {}
    raise Refused(status, {"detail": kind}, headers)


async def _hang_up(request: Request) -> None:
    transport: Any = request.transport
    transport.abortConnection()
    await Deferred()  # for ever: Klein drops a request whose connection is lost


async def _pause(seconds: float) -> None:
    waited: Deferred[None] = Deferred()
    reactor.callLater(seconds, waited.callback, None)
    await waited


def _face(kind: str, journal: Path, *more: str) -> Resource:
    if kind == "identity-store":
        return IdentityStoreApp(store=IdentityStore(path=journal)).resource()
    (trouble,) = more
    app = FaultyMessageSender(sender=MessageSender(path=journal), trouble=Path(trouble))
    return app.resource()


def main(kind: str, port: str, journal: str, *more: str) -> None:
    """Serve until killed."""
    root: Any = Resource()
    api: Any = Resource()
    root.putChild(b"api", api)
    api.putChild(b"v1", _face(kind, Path(journal), *more))
    site = UnloggedSite(root)  # type: ignore[no-untyped-call]
    reactor.listenTCP(int(port), site, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
