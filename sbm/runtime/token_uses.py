"""The tokens that were used lately, by the id of each; an injected object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field


@define(eq=False, slots=False, kw_only=True)
class TokenUses:
    """Remembers when tokens were used, until that is stored: a request does not write it.

    It holds no more than the tokens that were used in a minute.
    """

    _reactor: Any
    _used_at: dict[int, float] = field(factory=dict, init=False)

    def note(self, token_id: int) -> None:
        """A token is used now."""
        self._used_at[token_id] = self._reactor.seconds()

    def take(self) -> dict[int, float]:
        """Remove all uses and return them, by the reactor's clock."""
        taken, self._used_at = self._used_at, {}
        return taken

    def put_back(self, taken: Mapping[int, float]) -> None:
        """Remember uses again that were not stored; a newer use is kept."""
        self._used_at = {**taken, **self._used_at}
