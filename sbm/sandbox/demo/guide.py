"""The text on the terminal when the sandbox is ready."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import field, frozen

from sbm.sandbox.demo.hub import registration
from sbm.sandbox.demo.sample_content import unregistered_subscriber
from sbm.sandbox.demo.terminal import Line, Span


@frozen(kw_only=True)
class Guide:
    """The address of the sandbox, the link to its console, its token, and three commands to try.

    ``messagesets`` are the message sets for the commands, as the API describes them: one, or none
    if the user has deleted it.
    """

    api: str
    link: str = field(repr=False)
    token: str = field(repr=False)
    folder: str
    messagesets: Sequence[dict[str, Any]]

    def lines(self) -> list[Line]:
        """The lines for the terminal; each command is on a line of its own."""
        return [Line(spans=spans, block=True) for spans in self._block()]

    def _block(self) -> Iterator[tuple[Span, ...]]:
        yield ()
        yield ("good", "sbm is ready"), ("", " at "), ("title", self.api)
        yield ()
        yield ("dim", "  console       "), ("", self.link), ("dim", "  (logs in once)")
        yield ("dim", "  admin token   "), ("", self.token)
        yield ("dim", "  data          "), ("", f"{self.folder} (sandbox.json, sbm.log, ...)")
        yield ("dim", "  to stop       "), ("", "Ctrl-C; the next run goes on from there")
        for title, command in self._commands():
            yield ()
            yield (("dim", f"  # {title}"),)
            yield (("", f"  {command}"),)
        yield ()

    def _commands(self) -> Iterator[tuple[str, str]]:
        curl = f"curl -H 'Authorization: Token {self.token}'"
        yield "Is it up?", f"{curl} {self.api}/api/health/"
        for messageset in self.messagesets:
            path = f"messageset/{messageset['id']}/messages/"
            yield f"What does {messageset['short_name']} say?", f"{curl} {self.api}/api/v1/{path}"
            data = json.dumps(registration(unregistered_subscriber(), messageset))
            yield (
                f"Subscribe a person to it, and watch for {unregistered_subscriber().msisdn} below",
                f"{curl} -H 'Content-Type: application/json' -d '{data}'"
                f" {self.api}/api/v1/subscriptions/request",
            )
