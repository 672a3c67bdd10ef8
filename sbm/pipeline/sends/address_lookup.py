"""Looks up an address; without one, decides what is at fault: the service, or the identity."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

from attrs import define, field

from sbm.clients.identity_store import IdentityStore
from sbm.clients.outcomes import Faulty, NotKnown, Rejected, Unanswered, Unavailable
from sbm.model.latest import remember
from sbm.model.send import GivenBack, Send, Settled
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.sends.blame import WITNESSES, Blame
from sbm.pipeline.sends.retries import Retries

# The answer "not known" is believed the second time. Meanwhile others are looked up. If most of
# those are not known either, the service is not the Identity Store, or not the right one.
SECOND_LOOK = timedelta(seconds=2)

# "Most" is about so many recent look-ups, and means nothing for fewer than FEW.
RECENT = 50
FEW = 3
MOST_SUSPECTS = 10_000


@define(eq=False, slots=False, kw_only=True)
class RecentIdentities:
    """Which of the identities that were looked up lately the service knew, at the first look."""

    _known: OrderedDict[str, bool] = field(factory=OrderedDict)
    _witnesses: OrderedDict[str, None] = field(factory=OrderedDict)

    def note(self, identity: str, *, known: bool) -> None:
        """Remember the answer of the service."""
        remember(self._known, identity, known, most=RECENT)
        if not known:
            self._witnesses.pop(identity, None)
            return
        remember(self._witnesses, identity, None, most=WITNESSES)

    @property
    def knows_few(self) -> bool:
        """Whether most of them were not known."""
        return len(self._known) >= FEW and 2 * sum(self._known.values()) < len(self._known)

    def witness(self, *, but: str) -> str | None:
        """The identity that was known most recently, except this one."""
        return next((one for one in reversed(self._witnesses) if one != but), None)


@define(eq=False, slots=False, kw_only=True)
class AddressLookup:
    """Asks the Identity Store for addresses; ``seconds`` is the reactor's clock.

    If an answer is of no use, the service or this one identity may be the cause. The look-ups of
    other people at the same time show which. If there are none, the service is asked about a
    witness: an identity that it knew a moment ago.
    """

    _identity_store: IdentityStore
    _breaker: Breaker
    _retries: Retries
    _seconds: Callable[[], float]
    _recent: RecentIdentities = field(factory=RecentIdentities)
    _suspects: OrderedDict[str, float] = field(factory=OrderedDict)

    def __attrs_post_init__(self) -> None:
        self.blame = Blame(
            breaker=self._breaker, seconds=self._seconds, is_well=self._knows_its_witness
        )

    async def address_of(self, send: Send) -> str | GivenBack | Settled:
        """The address, or the result of the send if there is none."""
        began_at = self._seconds()
        try:
            address = await self._identity_store.address_of(send.identity)
        except NotKnown as error:
            return await self._not_known(send, error)
        except Rejected as error:
            self._is_known(send.identity)
            return _unaddressed(error)
        except (Faulty, Unanswered) as error:
            if await self.blame.is_theirs(
                send.identity, error, began_at=began_at, faults=send.faults
            ):
                return self._retries.fault(send, "address", str(error))
            return self._retries.failed(send, self._breaker, str(error))
        except Unavailable as error:
            return self._away(send, error)
        self._is_known(send.identity)
        return address

    def _is_known(self, identity: str) -> None:
        self.blame.went_well(identity)
        self._recent.note(identity, known=True)
        self._suspects.pop(identity, None)

    async def _not_known(self, send: Send, error: NotKnown) -> GivenBack | Settled:
        if send.identity not in self._suspects:
            # Second looks come together: if they counted, they would seem to be the most.
            self._recent.note(send.identity, known=False)
        if not self._is_second_look(send.identity):
            return GivenBack(reason=str(error), delay=SECOND_LOOK)
        has_witness = self._recent.witness(but=send.identity) is not None
        if self._recent.knows_few or (
            has_witness and not await self._knows_its_witness(but=send.identity)
        ):
            reason = "the Identity Store does not know most identities"
            away = Unavailable(reason, at_once=True, hint="is its address right?")
            return self._away(send, away)
        self._breaker.succeed()
        self._suspects.pop(send.identity, None)
        return _unaddressed(error)

    def _is_second_look(self, identity: str) -> bool:
        first = self._suspects.setdefault(identity, self._seconds())
        if len(self._suspects) > MOST_SUSPECTS:
            self._suspects.popitem(last=False)
        return self._seconds() - first >= SECOND_LOOK.total_seconds()

    async def _knows_its_witness(self, *, but: str) -> bool:
        """Whether the service answers as it should about another identity, which it knew."""
        witness = self._recent.witness(but=but)
        if witness is None or self._breaker.is_open:
            return False
        try:
            await self._identity_store.address_of(witness)
        except NotKnown:
            self._recent.note(witness, known=False)
            return False
        except Rejected:
            pass
        except Unavailable:
            return False
        self.blame.is_there()
        return True

    def _away(self, send: Send, error: Unavailable) -> GivenBack:
        self._breaker.fail(error)
        return self._retries.failed(send, self._breaker, str(error))


def _unaddressed(error: Rejected) -> Settled:
    return Settled(outcome="failed", stage="address", reason=str(error), is_unaddressed=True)
