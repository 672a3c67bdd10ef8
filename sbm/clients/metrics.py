"""The Metrics API, which accepts sums and last values, many in one request."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from sbm.clients.outcomes import OutcomeUnknown, Rejected
from sbm.clients.service_client import AWAY, REFUSALS, ServiceClient, unavailable


@define(eq=False, slots=False, kw_only=True)
class MetricsApi:
    """Sends values by name. The API adds them up, and has no idempotency key."""

    _client: ServiceClient

    async def fire(self, values: Mapping[str, float]) -> None:
        """Send all of these values.

        Raises Unavailable (they were surely not added), Rejected (they were refused) or Unknown.
        """
        body = {name: float(value) for name, value in values.items()}
        answer = await self._client.post("metrics", "", body=body)
        if 200 <= answer.status < 300:
            return
        reason = f"the Metrics API answered {answer.summary()}"
        if answer.status in REFUSALS:
            raise Rejected(reason)
        if answer.status in AWAY:
            raise unavailable("the Metrics API", answer)
        raise OutcomeUnknown(reason, answer.retry_after)
