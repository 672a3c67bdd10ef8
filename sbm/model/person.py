"""A person, for whom all tables are searched."""

from __future__ import annotations

import json

from attrs import field, frozen

from sbm.model.identity import spellings

# A name of so many characters is not a part of other texts by chance.
TELLING = 8


@frozen(kw_only=True)
class Person:
    """A subscriber: an identity in each of its spellings."""

    identity: str
    names: tuple[str, ...] = field(init=False)

    @names.default
    def _spellings(self) -> tuple[str, ...]:
        return spellings(self.identity)

    def needles(self, subscription_ids: tuple[str, ...]) -> list[str]:
        """What to look for in the text of JSON or of a path, in lower case.

        A name of a few characters may be anywhere by chance: it is found only as a whole text.
        """
        written = [json.dumps(name, ensure_ascii=False) for name in self.names]
        names = [name[1:-1] if len(name) - 2 >= TELLING else name for name in written]
        return list(dict.fromkeys(one.lower() for one in (*names, *subscription_ids)))
