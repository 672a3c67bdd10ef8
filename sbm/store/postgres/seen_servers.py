"""What a daemon remembers of the servers of the database."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import evolve, field, frozen

from sbm.model.installation import UNREADABLE
from sbm.store.postgres.right_server import highest_of
from sbm.store.postgres.timelines import FoundServer


@frozen(kw_only=True)
class SeenServers:
    """The server that was used last, and the highest timeline of each cluster so far."""

    cluster: str = ""
    timeline: int = 0
    highest: Mapping[str, int] = field(factory=dict)

    def using(self, server: FoundServer) -> SeenServers:
        """The same after this server was found to be the right one."""
        timeline = server.timeline or 0
        return evolve(
            self,
            cluster=server.cluster,
            timeline=timeline,
            highest=_higher(self.highest, highest_of(server.history), {server.cluster: timeline}),
        )

    def and_those(self, other: SeenServers) -> SeenServers:
        """Together with those that another process has seen."""
        return evolve(self, highest=_higher(self.highest, other.highest))

    def former(self, server: FoundServer) -> tuple[str, int] | None:
        """The cluster and timeline before this server; None if it is the first, or the same."""
        now = server.cluster, server.timeline or 0
        if self.cluster:
            before: tuple[str, int] | None = self.cluster, self.timeline
        elif now in server.history:
            before = None
        else:
            before = next(reversed(list(server.history)), None)
        return None if before == now else before

    def to_json(self) -> str:
        """The text that is kept in a file."""
        return json.dumps(
            {"cluster": self.cluster, "timeline": self.timeline, "highest": dict(self.highest)}
        )

    @classmethod
    def from_json(cls, text: str) -> SeenServers:
        """Read the text; raises ValueError."""
        try:
            told = json.loads(text)
            return cls(
                cluster=str(told["cluster"]),
                timeline=int(told["timeline"]),
                highest={str(cluster): int(most) for cluster, most in told["highest"].items()},
            )
        except UNREADABLE as error:
            raise ValueError(f"is not the state of a database server: {error}") from error


def _higher(*parts: Mapping[str, int]) -> Mapping[str, int]:
    highest: dict[str, int] = {}
    for part in parts:
        for cluster, timeline in part.items():
            highest[cluster] = max(timeline, highest.get(cluster, 0))
    return highest
