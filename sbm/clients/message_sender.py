"""The Message Sender: takes outbounds, and delivers them to people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from sbm.clients.exchange import Answer, Exchanges
from sbm.clients.outcomes import Rejected, Unavailable, Unknown

# Understood, and this message is at fault.
_REFUSALS = frozenset({400, 413, 415, 422})

# Surely not done. A wrong token or address is the service's absence, not the message's fault: it
# would otherwise use up every send there is.
_AWAY = frozenset({401, 403, 404, 405, 429})


@define(eq=False, slots=False)
class MessageSender:
    """Hands outbounds over. It has no idempotency key: every POST that arrives is a message."""

    _exchanges: Exchanges

    async def post(self, outbound: dict[str, Any], *, begin: Callable[[], bool]) -> str:
        """POST an outbound, if ``begin()`` still allows it at the last moment; returns its id.

        Raises Unavailable (surely not done), Rejected (this outbound is refused) or Unknown.
        """
        answer = await self._exchanges.post("outbound", "", body=outbound, begin=begin)
        if 200 <= answer.status < 300:
            return _outbound_id(answer)
        reason = f"the Message Sender answered {answer.summary()}"
        if answer.status in _REFUSALS:
            raise Rejected(reason)
        if answer.status in _AWAY:
            raise Unavailable(reason, answer.retry_after)
        raise Unknown(reason)


def _outbound_id(answer: Answer) -> str:
    try:
        outbound_id = answer.json()["id"]
    except (ValueError, LookupError, TypeError):
        outbound_id = None
    if not outbound_id or type(outbound_id) not in (str, int):  # true is no id
        raise Unknown(f"the Message Sender answered {answer.summary()}")
    return str(outbound_id)
