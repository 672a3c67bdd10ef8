"""A stand-in of the Seed Identity Store, which knows the addresses of identities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from attrs import define, field, frozen
from twisted.web.resource import Resource
from twisted.web.server import Request

from sbm.sandbox.stand_ins.journal import Journal
from sbm.sandbox.stand_ins.rest import (
    Refused,
    Response,
    collection_url,
    json_object,
    new_app,
    not_found,
    query,
    route,
    server_error,
)

# The page of a search, as the real service is set.
PAGE_SIZE = 1000

_BY_ADDRESS = "details__addresses__"


@define(eq=False, kw_only=True)
class IdentityStore:
    """Identities by their UUID, each with a telephone number or none (opted out, not given).

    With a path, the identities are stored in that file, and loaded after a restart.
    """

    path: Path | None = None
    new_id: Callable[[], UUID] = uuid4
    _journal: Journal = field(init=False)
    _msisdns: dict[str, str | None] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        """Load the file at ``path``."""
        self._journal = Journal(path=self.path)
        for entry in self._journal.replay():
            self._msisdns[entry["id"]] = entry["msisdn"]

    def add(self, msisdn: str | None, identity: str | None = None) -> str:
        """Store an identity, or change the number of a known one; returns its id."""
        known_as = str(UUID(identity)) if identity is not None else str(self.new_id())
        self._msisdns[known_as] = msisdn
        self._journal.append({"id": known_as, "msisdn": msisdn})
        return known_as

    def msisdn(self, identity: str) -> str | None:
        """The number of an identity. Errors: ``KeyError`` if it is unknown."""
        try:
            return self._msisdns[str(UUID(identity))]
        except ValueError:
            raise KeyError(identity) from None

    def identities(self) -> list[str]:
        """All identities, in the order in which they were stored."""
        return list(self._msisdns)

    def with_msisdn(self, msisdn: str) -> list[str]:
        """The identities with this number, in the order in which they were stored."""
        return [identity for identity, number in self._msisdns.items() if number == msisdn]

    def __len__(self) -> int:
        """How many identities are stored."""
        return len(self._msisdns)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


@frozen(eq=False, kw_only=True)
class IdentityStoreApp:
    """The Identity Store's HTTP API: the part that sbm uses, and a person with curl."""

    store: IdentityStore

    app = new_app()

    def resource(self) -> Resource:
        """The resource for a site; it can be mounted at any path."""
        return self.app.resource()

    @route(app, "GET", "/identities/<identity>/addresses/msisdn")
    def addresses(self, _request: Request, identity: str) -> Response:
        """The default number; ``default`` and ``use_communicate_through`` are ignored.

        If the identity is not known, or is not a UUID, the answer is 500, as in the real service.
        """
        try:
            msisdn = self.store.msisdn(identity)
        except KeyError:
            raise server_error() from None
        results = [] if msisdn is None else [{"address": msisdn}]
        body = {"count": len(results), "next": None, "previous": None, "results": results}
        return Response(body=body)

    @route(app, "GET", "/identities/search/")
    def search(self, request: Request) -> Response:
        """The identities that have all of the addresses in the query, to the letter.

        The real service takes every parameter but ``include_inactive`` for a filter, and answers
        500 if there is no such field. So its own links to further pages, which have ``limit`` and
        ``offset``, are answered 500, too.
        """
        wanted = {name: values[-1] for name, values in query(request).items()}
        wanted.pop("include_inactive", None)
        if not all(name.startswith(_BY_ADDRESS) for name in wanted):
            raise server_error()
        found = self.store.identities()
        for name, address in wanted.items():
            has_it = set(self.store.with_msisdn(address)) if name == _BY_ADDRESS + "msisdn" else ()
            found = [identity for identity in found if identity in has_it]
        more = None
        if len(found) > PAGE_SIZE:
            rest = {"limit": PAGE_SIZE, "offset": PAGE_SIZE, **wanted}
            more = f"{collection_url(request, 'search')}?{urlencode(rest)}"
        results = [_described(one, self.store.msisdn(one)) for one in found[:PAGE_SIZE]]
        body = {"count": len(found), "next": more, "previous": None, "results": results}
        return Response(body=body)

    @route(app, "GET", "/identities/<identity>/")
    def read(self, _request: Request, identity: str) -> Response:
        """One identity with its addresses."""
        try:
            msisdn = self.store.msisdn(identity)
        except KeyError:
            raise not_found() from None
        return Response(body=_described(str(UUID(identity)), msisdn))

    @route(app, "POST", "/identities/")
    def create(self, request: Request) -> Response:
        """Store a new identity with the number in ``details.addresses.msisdn``, if any."""
        msisdn = _default_msisdn(json_object(request).get("details"))
        return Response(status=201, body=_described(self.store.add(msisdn), msisdn))


def _described(identity: str, msisdn: str | None) -> dict[str, Any]:
    numbers = {} if msisdn is None else {msisdn: {"default": True}}
    addresses = {"msisdn": numbers}
    return {
        "id": identity,
        "details": {"default_addr_type": "msisdn", "addresses": addresses},
    }


def _default_msisdn(details: object) -> str | None:
    """The number marked as default, else the first, of those that are not opted out."""
    if details is None:
        return None
    numbers: Any = details
    for key in ("addresses", "msisdn"):
        if not isinstance(numbers, dict):
            raise Refused(400, {"details": ["Expected addresses.msisdn to be an object."]})
        numbers = numbers.get(key, {})
    if not isinstance(numbers, dict) or not all(isinstance(n, dict) for n in numbers.values()):
        raise Refused(400, {"details": ["Expected addresses.msisdn to be an object."]})
    reachable = [number for number, about in numbers.items() if not about.get("optedout")]
    preferred = [number for number in reachable if numbers[number].get("default")]
    return next(iter(preferred + reachable), None)
