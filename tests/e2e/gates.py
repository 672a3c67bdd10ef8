"""Stand-ins of other services that answer when the test says."""

from __future__ import annotations

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from sbm.sandbox.stand_ins.identity_store import IdentityStoreApp
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp
from sbm.sandbox.stand_ins.rest import Response
from tests.e2e.end_to_end import World, mounted


@define(eq=False)
class Gate:
    """Callers that come while it is closed wait until it is opened."""

    waiting: list[Deferred[None]] = field(factory=list)
    is_shut: bool = True

    async def passed(self) -> None:
        if self.is_shut:
            here: Deferred[None] = Deferred()
            self.waiting.append(here)
            await here

    def open(self) -> None:
        self.is_shut = False
        while self.waiting:
            self.waiting.pop().callback(None)


@frozen(eq=False, kw_only=True)
class _IdentityStore(IdentityStoreApp):
    before: Gate

    async def addresses(self, request: Request, identity: str) -> Response:  # type: ignore[override]
        await self.before.passed()
        return super().addresses(request, identity)


@frozen(eq=False, kw_only=True)
class _MessageSender(MessageSenderApp):
    before: Gate
    behind: Gate

    async def create(self, request: Request) -> Response:  # type: ignore[override]
        await self.before.passed()
        reply = super().create(request)
        await self.behind.passed()
        return reply


@define(eq=False)
class Gates:
    """Holds a send at its look-up, before its message is stored, or after that."""

    address: Gate = field(factory=Gate)
    storing: Gate = field(factory=Gate)
    answer: Gate = field(factory=Gate)

    def only(self, name: str) -> Gate:
        """Open the others."""
        for other in {"address", "storing", "answer"} - {name}:
            getattr(self, other).open()
        gate: Gate = getattr(self, name)
        return gate


async def gated(seed: World) -> Gates:
    """Put gates, all shut, into the services of a world."""
    gates = Gates()
    identity_store = _IdentityStore(store=seed.identities, before=gates.address)
    message_sender = _MessageSender(sender=seed.sender, before=gates.storing, behind=gates.answer)
    for address, app in (
        (seed.identity_store, identity_store),
        (seed.message_sender, message_sender),
    ):
        await address.close()
        address.resource = mounted(app.resource())
        address.open()
    return gates
