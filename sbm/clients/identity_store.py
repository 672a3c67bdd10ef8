"""The Identity Store, which knows the addresses of identities."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from attrs import define, frozen

from sbm.clients.outcomes import NotKnown, Rejected, Unavailable
from sbm.clients.service_client import (
    PAGE_BYTES,
    HttpResponse,
    ServiceClient,
    faulty,
    unavailable,
)
from sbm.model.identity import canonical_uuid
from sbm.model.service_values import LONGEST_TEXT

_SERVICE = "the Identity Store"

# So many identities with the same number are told. A telephone that a whole ward shares has fewer.
MOST_FOUND = 20


@frozen(kw_only=True)
class FoundIdentities:
    """The identities that have a number; ``more``: there are others, which were not read."""

    identities: Sequence[str]
    more: bool


@define(eq=False, slots=False, kw_only=True)
class IdentityStore:
    """Reads addresses through the API of the Seed Identity Store."""

    _client: ServiceClient

    async def address_of(self, identity: str) -> str:
        """The default msisdn of the identity, or of the person who gets their messages for them.

        Raises Rejected if there is none, NotKnown if the identity is not known, Faulty or
        Unanswered for failures that this identity may have caused, and Unavailable otherwise.
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

    async def search(self, msisdn: str) -> FoundIdentities:
        """The identities that have this number, to the letter; MOST_FOUND at most.

        Only the first page is read. The service takes every parameter for a filter, so that it
        fails if it is asked for fewer rows, or for its own next page. Raises Unavailable.
        """
        answer = await self._client.get(
            "identities",
            "search",
            "",
            query=(("details__addresses__msisdn", msisdn),),
            most_bytes=PAGE_BYTES,
        )
        if not 200 <= answer.status < 300:
            raise unavailable(_SERVICE, answer)
        return _found(answer)

    async def is_known(self, identity: str) -> bool:
        """Whether the service knows the identity; raises Unavailable."""
        answer = await self._client.get("identities", identity, "")
        if answer.status == 404 and _is_about_the_identity(answer):
            return False
        if not 200 <= answer.status < 300:
            raise unavailable(_SERVICE, answer)
        return True

    async def _knows(self, identity: str) -> bool:
        """Whether the service may know the identity, after it answered 500 about its addresses.

        Releases 0.7 to 0.10.3 answer 500 if they do not know the identity. They answer 404 only if
        the identity itself is asked for.
        """
        try:
            answer = await self._client.get("identities", identity, "")
        except Unavailable:
            return True
        return not (answer.status == 404 and _is_about_the_identity(answer))


_NOT_KNOWN = "the Identity Store does not know the identity"


def _found(answer: HttpResponse) -> FoundIdentities:
    try:
        body: Any = answer.json()
        found = [canonical_uuid(row["id"]) for row in body["results"]]
        more = body.get("next") is not None or len(found) > MOST_FOUND
    except (ValueError, LookupError, TypeError, AttributeError):
        raise faulty(_SERVICE, answer) from None
    identities = list(dict.fromkeys(one for one in found if one is not None))
    if len(identities) != len(found):
        raise faulty(_SERVICE, answer)
    return FoundIdentities(identities=identities[:MOST_FOUND], more=more)


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
    """Why this text cannot be an address; empty if it can."""
    if len(address) > LONGEST_TEXT:
        return f"has more than {LONGEST_TEXT} characters"
    if address.isascii() and address.isprintable() and not address.isspace():
        return ""
    categories = {unicodedata.category(character) for character in address}
    if "Cc" in categories:
        return "has control characters"
    # Blanks, and characters of no width.
    return (
        "is blank" if all(category[0] == "Z" or category == "Cf" for category in categories) else ""
    )


def _is_about_the_identity(answer: HttpResponse) -> bool:
    """Whether the service itself answered 404, and not a proxy or the host of a wrong base URL."""
    try:
        body = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and "detail" in body
