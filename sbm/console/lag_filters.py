"""The filters of the lists of people who are late, silent or not reached.

An action takes the same filters as the list. So a filter that cannot be read is an error, and never
no filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast, get_args

from attrs import frozen

from sbm.console.texts import marked
from sbm.model.natural_numbers import natural_number
from sbm.model.silence import CAUSES, SilenceCause
from sbm.web.http.http_errors import Invalid

LagTab = Literal["behind", "silent", "undelivered"]
BEHIND, SILENT, UNDELIVERED = cast(tuple[LagTab, LagTab, LagTab], get_args(LagTab))

_NO_NUMBER = marked("Enter a whole number from 1 on.")
_NO_CAUSE = marked("There is no such cause.")


@frozen(kw_only=True)
class LagFilter:
    """Filters; None is no filter. ``at_least`` is how many messages are missed or undelivered."""

    messageset_id: int | None = None
    at_least: int | None = None
    cause: SilenceCause | None = None

    @classmethod
    def read(cls, told: Mapping[str, str], tab: str) -> LagFilter:
        """The filters of one of the lists, from an address or a form; raises Invalid."""
        if tab == SILENT:
            cause = told.get("cause") or None
            if cause is not None and cause not in CAUSES:
                raise Invalid({"cause": [_NO_CAUSE]})
            return cls(cause=cause)
        at_least = _number(told, "at_least")
        if tab == UNDELIVERED:
            return cls(at_least=at_least)
        return cls(messageset_id=_number(told, "messageset"), at_least=at_least)

    def of_behind(self) -> dict[str, int | None]:
        """As the list of those who are behind takes them."""
        return {"messageset_id": self.messageset_id, "at_least": self.at_least}

    def written(self) -> dict[str, str]:
        """As an address or a form has them."""
        told = {
            "messageset": self.messageset_id,
            "at_least": self.at_least,
            "cause": self.cause,
        }
        return {name: str(value) for name, value in told.items() if value is not None}


def _number(told: Mapping[str, str], name: str) -> int | None:
    text = told.get(name, "").strip()
    if not text:
        return None
    number = natural_number(text, least=1)
    if number is None:
        raise Invalid({name: [_NO_NUMBER]})
    return number
