"""The Identity Store: to which address does a message for this identity go?"""

from __future__ import annotations

from attrs import define

from sbm.clients.exchange import AWAY, Answer, Exchanges, unavailable
from sbm.clients.outcomes import Faulty, NotKnown, Rejected


@define(eq=False, slots=False)
class IdentityStore:
    """Reads addresses, by the API of the Seed Identity Store."""

    _exchanges: Exchanges

    async def address_of(self, identity: str) -> str:
        """The default msisdn of the identity, or of who reads for her.

        Raises Rejected where there is none, NotKnown where the identity is not known, Faulty for
        an answer that may be due to this one identity, and Unavailable otherwise.
        """
        answer = await self._exchanges.get(
            "identities",
            identity,
            "addresses",
            "msisdn",
            query=(("default", "True"), ("use_communicate_through", "True")),
        )
        if 200 <= answer.status < 300:
            return _first_address(answer)
        if answer.status == 404 and _is_about_the_identity(answer):
            raise NotKnown("the Identity Store does not know the identity")
        if answer.status in AWAY:
            raise unavailable("the Identity Store", answer)
        raise Faulty(f"the Identity Store answered {answer.summary()}", answer.retry_after)


def _first_address(answer: Answer) -> str:
    try:
        results = answer.json()["results"]
        address = results[0]["address"] if results != [] else None
    except (ValueError, LookupError, TypeError):
        raise Faulty(f"the Identity Store answered {answer.summary()}") from None
    if address is not None and not isinstance(address, str):
        raise Faulty(f"the Identity Store answered {answer.summary()}")
    if not address:
        raise Rejected("the Identity Store has no address for the identity")
    return address


def _is_about_the_identity(answer: Answer) -> bool:
    """A 404 of the service, and not of a wrong base URL or of something in between."""
    try:
        body = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and "detail" in body
