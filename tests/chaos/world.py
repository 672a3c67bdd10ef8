"""The parts of a run: the daemons, the services that they need, and the proxies between them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field

from tests.arrange import arranged
from tests.chaos.content import Content, People
from tests.chaos.database import DatabaseServer, GivenServer, OwnServer, target_of, through
from tests.chaos.faults import FaultContext
from tests.chaos.faulty_proxy import FaultyProxy, ProxyThread, Target
from tests.chaos.load import TOKEN, add_caller
from tests.chaos.patroni import PatroniCluster
from tests.chaos.servers import ROOT, TWISTD, ServerProcess, environment
from tests.ports import free_port

SENDERS = ("sandbox", "other")

_STAND_INS = "tests.chaos.stand_ins"
_OTHER_SENDER = "tests.chaos.other_sender"

# Deleted after a run without a fault in its report; the logs stay.
_KEPT_ONLY_IF_WRONG = ("message-sender", "message-sender-shm", "message-sender-wal", "people")


@define(eq=False, kw_only=True)
class ChaosWorld:
    """All parts, in a folder of their own; ``code`` is the checkout with the daemons' program.

    ``database_uri`` is a server that is somebody else's, instead of an embedded one. With
    ``is_replicated``, there are two servers under Patroni, which the daemons reach without a proxy.
    """

    daemon_count: int
    sender_kind: str
    database_uri: str | None
    code: Path
    settings: dict[str, str]
    is_replicated: bool = False
    folder: Path = field(init=False)
    database: DatabaseServer = field(init=False)
    daemons: Sequence[ServerProcess] = field(init=False, factory=list)
    sender: ServerProcess = field(init=False)
    identity_store: ServerProcess = field(init=False)
    proxies: dict[str, FaultyProxy] = field(init=False)
    _wires: ProxyThread = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Short, because the path of a socket must be. Not in memory: commits must be durable.
        self.folder = Path(tempfile.mkdtemp(prefix="sbm-chaos-", dir="/tmp"))
        self.logs.mkdir()
        if self.is_replicated:
            self.database = PatroniCluster(self.folder / "pg")
        elif self.database_uri is None:
            self.database = OwnServer(self.folder / "pg")
        else:
            self.database = GivenServer(self.database_uri)
        journal, outbounds = self.folder / "people", self.folder / "message-sender"
        self.identity_store = self._stand_in("Identity Store", "identity-store", journal)
        if self.sender_kind == "sandbox":
            self.sender = self._stand_in("Message Sender", "message-sender", outbounds)
        else:
            self.sender = self._python("Message Sender", _OTHER_SENDER, outbounds, self.trouble)
        self._wires = ProxyThread()
        self.proxies = {
            "Message Sender": self._proxy(lambda: ("127.0.0.1", self.sender.port)),
            "Identity Store": self._proxy(lambda: ("127.0.0.1", self.identity_store.port)),
        }
        if not self.is_replicated:
            self.proxies["PostgreSQL"] = self._proxy(lambda: target_of(self.database.uri))

    @property
    def logs(self) -> Path:
        """The folder of all logs."""
        return self.folder / "logs"

    @property
    def trouble(self) -> Path:
        """The file that tells the Message Sender its fault."""
        return self.folder / "trouble"

    @property
    def processes(self) -> list[ServerProcess]:
        """All processes except the database."""
        return [self.identity_store, self.sender, *self.daemons]

    def stage(self, *, lease: float, longest_stop: float) -> FaultContext:
        """All targets of faults."""
        return FaultContext(
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
        """Fill the database, and start all processes."""
        self.database.start()
        self._migrate()
        add_caller(self.database.uri)
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

    def supervise(self, targets_of_faults: frozenset[str] = frozenset()) -> None:
        """Start processes again that have ended and have no fault."""
        for process in self.processes:
            if process.name not in targets_of_faults:
                process.start()

    def take_down(self, *, keep: bool) -> None:
        """End everything; with ``keep``, all files stay."""
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
        """Migrate the schema, with the daemons' own code."""
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
    def _await(process: ServerProcess) -> None:
        process.await_start()
        if not process.is_running:
            raise RuntimeError(f"{process.name} ended:\n{process.log.read_text(encoding='utf-8')}")

    def _proxy(self, target: Callable[[], Target]) -> FaultyProxy:
        return FaultyProxy(self._wires, free_port(), target)

    def _stand_in(self, name: str, kind: str, journal: Path) -> ServerProcess:
        more = (journal, self.trouble) if kind == "message-sender" else (journal,)
        return self._python(name, _STAND_INS, *more, before=(kind,))

    def _python(
        self, name: str, module: str, *arguments: Path, before: Sequence[str] = ()
    ) -> ServerProcess:
        port = free_port()
        command = [sys.executable, "-m", module, *before, str(port), *map(str, arguments)]
        return ServerProcess(
            name=name,
            port=port,
            command=command,
            log=self.logs / name.lower().replace(" ", "-"),
            environ={"PYTHONPATH": str(ROOT)},
        )

    def _daemon(self, number: int) -> ServerProcess:
        port = free_port()
        endpoint = f"tcp:{port}:interface=127.0.0.1"
        return ServerProcess(
            name=f"daemon {number}",
            port=port,
            command=[str(TWISTD), "--pidfile=", "-n", "sbm", "--listen", endpoint],
            log=self.logs / f"daemon-{number}",
            environ={"PYTHONPATH": str(self.code), **self._environ(), **self.settings},
        )

    def _environ(self) -> dict[str, str]:
        def url(name: str) -> str:
            return f"http://127.0.0.1:{self.proxies[name].port}/api/v1"

        database = self.database.uri
        if "PostgreSQL" in self.proxies:
            database = through(database, self.proxies["PostgreSQL"].port)
        return {
            "STAGE_BASED_MESSAGING_DATABASE": database,
            "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
            "IDENTITY_STORE_URL": url("Identity Store"),
            "IDENTITY_STORE_TOKEN": "i",
            "MESSAGE_SENDER_URL": url("Message Sender"),
            "MESSAGE_SENDER_TOKEN": "m",
            "SCHEDULER_INBOUND_API_TOKEN": TOKEN,
            "SBM_SCHEDULER_JOIN_SECONDS": "0",
        }
