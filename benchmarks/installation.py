"""An installation of sbm for a benchmark: PostgreSQL, a database, stand-ins and daemons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.content import add_user
from benchmarks.daemons import TWISTD, Daemon, daemon
from benchmarks.server import Server, connected, server
from benchmarks.stand_in import StandIn, stand_in
from benchmarks.ticks import Sending


@frozen(eq=False, kw_only=True)
class Installation:
    """Its parts; ``cursor`` is that of the benchmark, which fills the database."""

    folder: Path
    server: Server
    uri: str
    cursor: Any
    services: StandIn

    @contextmanager
    def daemon(
        self, *, command: Sequence[str | Path] = TWISTD, **settings: str
    ) -> Iterator[Daemon]:
        """Run a daemon with these settings."""
        environment = self.services.environment() | settings
        with daemon(self.folder, self.uri, environment, command=command) as one:
            yield one

    def sending(self, *daemons: Daemon) -> Sending:
        """These daemons, with all that they need to send."""
        return Sending(
            daemons=daemons, server=self.server, stand_in=self.services, cursor=self.cursor
        )


@contextmanager
def installation(folder: Path, about: dict[str, Any]) -> Iterator[Installation]:
    """Make an installation with a user and no content; everything is removed at the end."""
    with (
        server(folder) as postgres,
        stand_in(folder) as services,
        postgres.database() as uri,
        connected(uri) as cursor,
    ):
        about["PostgreSQL"] = postgres.about()
        add_user(cursor)
        yield Installation(
            folder=folder, server=postgres, uri=uri, cursor=cursor, services=services
        )
