"""The permissions that the methods of a path need: declared once, checked, and described."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from sbm.model.user import OPERATE, SCHEDULER, User
from sbm.web.http.http_errors import Forbidden


@frozen(kw_only=True)
class Needs:
    """The permissions that a user needs at one path.

    ``of_path`` is needed for every method, also for OPTIONS and for methods that the path does not
    have. ``of_method`` are those of single methods, by name; HEAD counts as GET. Methods without a
    permission are for every user. ``publishing`` are the methods that need content.publish, too,
    if people who are under way get what is changed: see ``Collection``.

    Only if it ``admits_scheduler``, the Scheduler's token by itself may use the path. If it is not
    ``told``, a refusal does not name the permission of the path, as in the old service.
    """

    of_path: str | None = None
    of_method: Mapping[str, str] = {}
    publishing: frozenset[str] = frozenset()
    admits_scheduler: bool = False
    is_told: bool = True

    def of(self, method: str) -> list[str]:
        """The permissions for this method."""
        own = self.of_method.get("GET" if method == "HEAD" else method)
        return [one for one in (self.of_path, own) if one is not None]

    def check(self, user: User, method: str) -> None:
        """Raise Forbidden if the user must not use this method here; empty: one without a need."""
        if self.of_path is not None and not user.may(self.of_path):
            raise Forbidden(self.of_path if self.is_told else None)
        if user is SCHEDULER and not self.admits_scheduler:
            raise Forbidden
        for permission in self.of(method):
            if not user.may(permission):
                raise Forbidden(permission)


FOR_EVERY_USER = Needs()

# A POST that starts, stops or repeats sending; and one that the Scheduler makes, too.
OPERATING = Needs(of_method={"POST": OPERATE})
CALLED_BACK = Needs(of_method={"POST": OPERATE}, admits_scheduler=True)


def reading(permission: str, **of_method: str) -> Needs:
    """The needs of a path whose reads need this permission; ``of_method`` are its other methods."""
    return Needs(of_method={"GET": permission, **of_method})


def writing(permission: str, *, read: str | None = None, publishes: bool = False) -> Needs:
    """The needs of a resource whose writes all need the same permission."""
    methods = ("POST", "PUT", "PATCH", "DELETE")
    reads = {} if read is None else {"GET": read}
    return Needs(
        of_method=reads | dict.fromkeys(methods, permission),
        publishing=frozenset(methods) if publishes else frozenset(),
    )
