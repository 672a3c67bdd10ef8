"""The Metrics API: takes sums and last values, many in one request."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from sbm.clients.outcomes import Rejected, Unknown
from sbm.clients.service_client import AWAY, ServiceClient, unavailable

# Understood, and what was told is at fault.
_REFUSALS = frozenset({400, 413, 415, 422})


@define(eq=False, slots=False, kw_only=True)
class MetricsApi:
    """Tells values by name. It adds up whatever it is told, and has no key against repetition."""

    _client: ServiceClient

    async def fire(self, values: Mapping[str, float]) -> None:
        """Tell all of these values.

        Raises Unavailable (surely not taken), Rejected (these values are refused) or Unknown.
        """
        body = {name: float(value) for name, value in values.items()}
        answer = await self._client.post("metrics", "", body=body)
        if 200 <= answer.status < 300:
            return
        reason = f"the Metrics API answered {answer.summary()}"
        if answer.status in _REFUSALS:
            raise Rejected(reason)
        if answer.status in AWAY:
            raise unavailable("the Metrics API", answer)
        raise Unknown(reason, answer.retry_after)
