"""What is wrong with a Message Sender for a while: written by the harness, read at each request."""

from __future__ import annotations

import json
import random
from pathlib import Path

from attrs import asdict, frozen

# Of a POST. All but the last five store the outbound.
POST_TROUBLES = (
    "stored, answered 500",
    "stored, hung up",
    "stored, answered without an id",
    "stored, answered with garbage",
    "stored, answered late",
    "stored late",
    "not stored, answered 500",
    "not stored, hung up",
    "busy, 503",
    "busy, 429",
    "wrong token, 401",
)

# Of the list of outbounds.
LIST_TROUBLES = ("list: 500", "list: garbage", "list: a loop", "list: somebody else's")


@frozen(kw_only=True)
class Trouble:
    """One kind of trouble, and the share of requests that it befalls; ``seconds`` is how late."""

    kind: str = ""
    share: float = 1.0
    seconds: float = 0.0

    def tell(self, path: Path) -> None:
        """Put it where the Message Sender looks; it is read whole or not at all."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)), encoding="ascii")
        fresh.replace(path)


NONE = Trouble()


def befallen(path: Path, among: tuple[str, ...]) -> Trouble:
    """The trouble that this request is in, of those that may befall it; mostly none."""
    try:
        trouble = Trouble(**json.loads(path.read_text(encoding="ascii")))
    except FileNotFoundError:
        return NONE
    if trouble.kind in among and random.random() < trouble.share:
        return trouble
    return NONE
