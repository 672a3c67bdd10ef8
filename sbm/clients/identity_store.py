"""The Identity Store: to which address does a message for this identity go?"""

from __future__ import annotations

import unicodedata

from attrs import define

from sbm.clients.outcomes import NotKnown, Rejected, Unavailable
from sbm.clients.service_client import HttpResponse, ServiceClient, faulty, unavailable

_SERVICE = "the Identity Store"


@define(eq=False, slots=False, kw_only=True)
class IdentityStore:
    """Reads addresses, by the API of the Seed Identity Store."""

    _client: ServiceClient

    async def address_of(self, identity: str) -> str:
        """The default msisdn of the identity, or of the person that reads for them.

        Raises Rejected where there is none, NotKnown where the identity is not known, Faulty or
        Unanswered for what may be due to this one identity, and Unavailable otherwise.
        """
        answer = await self._client.get(
            "identities",
            identity,
            "addresses",
            "msisdn",
            query=(("default", "True"), ("use_communicate_through", "True")),
        )
        if 200 <= answer.status < 300:
            return _first_address(answer)
        if answer.status == 404 and _is_about_the_identity(answer):
            raise NotKnown(_NOT_KNOWN)
        if answer.asks_to_slow_down:
            raise unavailable(_SERVICE, answer)
        if answer.status == 500 and not await self._knows(identity):
            raise NotKnown(_NOT_KNOWN)
        raise faulty(_SERVICE, answer)

    async def _knows(self, identity: str) -> bool:
        """Whether the identity may be there: the question for its addresses was answered 500.

        The service answers so about an identity that it does not know (releases 0.7 to 0.10.3), and
        says 404 only if it is asked for the identity itself.
        """
        try:
            answer = await self._client.get("identities", identity, "")
        except Unavailable:
            return True
        return not (answer.status == 404 and _is_about_the_identity(answer))


_NOT_KNOWN = "the Identity Store does not know the identity"


def _first_address(answer: HttpResponse) -> str:
    try:
        results = answer.json()["results"]
        address = results[0]["address"] if results != [] else None
    except (ValueError, LookupError, TypeError):
        raise faulty(_SERVICE, answer) from None
    if address is not None and not isinstance(address, str):
        raise faulty(_SERVICE, answer)
    if not address:
        raise Rejected("the Identity Store has no address for the identity")
    fault = _fault_of(address)
    if fault:
        raise Rejected(f"the address that the Identity Store has for the identity {fault}")
    return address


def _fault_of(address: str) -> str:
    """What keeps this text from being an address; empty: nothing."""
    categories = {unicodedata.category(character) for character in address}
    if "Cc" in categories:
        return "has control characters"
    # Blanks, and what takes no place at all.
    return (
        "is blank" if all(category[0] == "Z" or category == "Cf" for category in categories) else ""
    )


def _is_about_the_identity(answer: HttpResponse) -> bool:
    """A 404 of the service, and not of a wrong base URL or of something in between."""
    try:
        body = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and "detail" in body
