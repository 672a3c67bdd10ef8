"""All that a run consists of: the daemons, what they need, and the wires between them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field

from tests.arrange import arranged
from tests.chaos.content import Content, People
from tests.chaos.database import GivenServer, OwnServer, Server, target_of, through
from tests.chaos.faults import Stage
from tests.chaos.load import TOKEN
from tests.chaos.processes import ROOT, TWISTD, Process, environment, eventually
from tests.chaos.proxy import Proxy, Target, Wires
from tests.ports import free_port

SENDERS = ("sandbox", "other")

_STAND_INS = "tests.chaos.stand_ins"
_OTHER_SENDER = "tests.chaos.other_sender"

# What a run that came out clean need not leave behind; the logs stay.
_KEPT_ONLY_IF_WRONG = ("message-sender", "message-sender-shm", "message-sender-wal", "people")


@define(eq=False, kw_only=True)
class World:
    """Everything in a folder of its own; ``code`` is where the daemons' program is taken from.

    ``database_uri`` is a server that is somebody else's, instead of an embedded one.
    """

    daemon_count: int
    sender_kind: str
    database_uri: str | None
    code: Path
    settings: dict[str, str]
    folder: Path = field(init=False)
    database: Server = field(init=False)
    daemons: Sequence[Process] = field(init=False, factory=list)
    sender: Process = field(init=False)
    identity_store: Process = field(init=False)
    proxies: dict[str, Proxy] = field(init=False)
    _wires: Wires = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Short: a socket's path is, by law. Not in memory: commits are to be kept.
        self.folder = Path(tempfile.mkdtemp(prefix="sbm-chaos-", dir="/tmp"))
        self.logs.mkdir()
        if self.database_uri is None:
            self.database = OwnServer(self.folder / "pg")
        else:
            self.database = GivenServer(self.database_uri)
        journal, outbounds = self.folder / "people", self.folder / "message-sender"
        self.identity_store = self._stand_in("Identity Store", "identity-store", journal)
        if self.sender_kind == "sandbox":
            self.sender = self._stand_in("Message Sender", "message-sender", outbounds)
        else:
            self.sender = self._python("Message Sender", _OTHER_SENDER, outbounds, self.trouble)
        self._wires = Wires()
        self.proxies = {
            "PostgreSQL": self._proxy(lambda: target_of(self.database.uri)),
            "Message Sender": self._proxy(lambda: ("127.0.0.1", self.sender.port)),
            "Identity Store": self._proxy(lambda: ("127.0.0.1", self.identity_store.port)),
        }

    @property
    def logs(self) -> Path:
        """Where everybody's log is."""
        return self.folder / "logs"

    @property
    def trouble(self) -> Path:
        """Where the Message Sender learns what is wrong with it."""
        return self.folder / "trouble"

    @property
    def processes(self) -> list[Process]:
        """All of them, but for the database."""
        return [self.identity_store, self.sender, *self.daemons]

    def stage(self, *, lease: float, longest_stop: float) -> Stage:
        """All that can be hurt."""
        return Stage(
            daemons=self.daemons,
            sender=self.sender,
            identity_store=self.identity_store,
            database=self.database,
            proxies=self.proxies,
            trouble=self.trouble,
            lease=lease,
            longest_stop=longest_stop,
        )

    def build(
        self, content: Content, people: People, *, generations: int, count: int, sabotage: str
    ) -> None:
        """Fill the database, and start everybody."""
        self.database.start()
        self._migrate()
        content.write(self.database.uri, generations)
        people.write(self.database.uri, content, count)
        with arranged(self.database.uri) as direct:
            direct.rows(sabotage or "SELECT")
        people.register(self.database.uri, self.folder / "people")
        self.daemons = [self._daemon(number) for number in range(1, self.daemon_count + 1)]
        for proxy in self.proxies.values():
            proxy.open()
        self.supervise()
        for process in self.processes:
            self._await(process)

    def supervise(self, suffering: frozenset[str] = frozenset()) -> None:
        """Start again who has ended and is in nobody's hands."""
        for process in self.processes:
            if process.name not in suffering:
                process.start()

    def take_down(self, *, keep: bool) -> None:
        """End everything; what there is to look into stays if ``keep``."""
        for process in self.processes:
            process.kill()
        for proxy in self.proxies.values():
            proxy.close()
        self._wires.stop()
        if keep:
            self.database.stop()
            return
        self.database.remove()
        for name in _KEPT_ONLY_IF_WRONG:
            (self.folder / name).unlink(missing_ok=True)

    def _migrate(self) -> None:
        """As an operator does it, with the daemons' own code."""
        subprocess.run(
            [sys.executable, "-c", "from sbm.cli import main; main()", "migrate"],
            env={
                **environment(),
                "PYTHONPATH": str(self.code),
                "STAGE_BASED_MESSAGING_DATABASE": self.database.uri,
            },
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @staticmethod
    def _await(process: Process) -> None:
        eventually(
            lambda: process.is_serving or not process.is_running,
            f"{process.name} serves; see {process.log}",
        )
        if not process.is_running:
            raise RuntimeError(f"{process.name} ended:\n{process.log.read_text(encoding='utf-8')}")

    def _proxy(self, target: Callable[[], Target]) -> Proxy:
        return Proxy(self._wires, free_port(), target)

    def _stand_in(self, name: str, kind: str, journal: Path) -> Process:
        more = (journal, self.trouble) if kind == "message-sender" else (journal,)
        return self._python(name, _STAND_INS, *more, before=(kind,))

    def _python(
        self, name: str, module: str, *arguments: Path, before: Sequence[str] = ()
    ) -> Process:
        port = free_port()
        command = [sys.executable, "-m", module, *before, str(port), *map(str, arguments)]
        return Process(
            name=name,
            port=port,
            command=command,
            log=self.logs / name.lower().replace(" ", "-"),
            environ={"PYTHONPATH": str(ROOT)},
        )

    def _daemon(self, number: int) -> Process:
        port = free_port()
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        return Process(
            name=f"daemon {number}",
            port=port,
            command=[str(TWISTD), "--pidfile=", "-n", "sbm", "--listen", endpoint],
            log=self.logs / f"daemon-{number}",
            environ={"PYTHONPATH": str(self.code), **self._environ(), **self.settings},
        )

    def _environ(self) -> dict[str, str]:
        def url(name: str) -> str:
            return f"http://127.0.0.1:{self.proxies[name].port}/api/v1"

        return {
            "STAGE_BASED_MESSAGING_DATABASE": through(
                self.database.uri, self.proxies["PostgreSQL"].port
            ),
            "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
            "IDENTITY_STORE_URL": url("Identity Store"),
            "IDENTITY_STORE_TOKEN": "i",
            "MESSAGE_SENDER_URL": url("Message Sender"),
            "MESSAGE_SENDER_TOKEN": "m",
            "SCHEDULER_INBOUND_API_TOKEN": TOKEN,
            "SBM_SCHEDULER_JOIN_SECONDS": "0",
        }
