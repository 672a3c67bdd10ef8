"""The system account for the embedded PostgreSQL, which refuses to run as root.

If we are root, it runs as the system account `pgserver`, which is made at first use. That account
must be able to pass through all directories above its data and above the installed programs. So
these get o+x if they lack it, which allows passing but not listing: a home directory with mode 700
becomes 711.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

_NAME = "pgserver"


class NoAccountError(Exception):
    """We are root, and there is no other account that could run the server."""


@frozen(kw_only=True)
class SystemAccount:
    """A user in the form that `subprocess` needs; without values, the current user."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or directory."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def let_pass(self, *, programs: Path, data: Path) -> None:
        """Let the account reach its data, and read and run the programs.

        `programs` is the directory of executables; the files that they load are in its siblings.
        """
        if self.uid is None:
            return
        for path in {*programs.parents, *data.parents}:
            self._allow(path, stat.S_IXOTH)
        # After an installation with a strict umask, only root can read the programs, the files
        # that they load at run time, and the libraries that a wheel keeps beside its package.
        package = programs.parent.parent
        for tree in (programs.parent, package.with_name(f"{package.name}.libs")):
            for parent, _, names in os.walk(tree):
                self._allow(Path(parent), stat.S_IROTH | stat.S_IXOTH)
                for name in names:
                    path = Path(parent, name)
                    runs = stat.S_IXOTH if path.stat().st_mode & stat.S_IXUSR else 0
                    self._allow(path, stat.S_IROTH | runs)

    def _allow(self, path: Path, bits: int) -> None:
        found = path.stat()
        if found.st_uid != self.uid and found.st_mode & bits != bits:
            path.chmod(stat.S_IMODE(found.st_mode) | bits)


def unprivileged_account() -> SystemAccount:
    """The current user, or the server's own account for root. Raises NoAccountError."""
    if os.geteuid() != 0:
        return SystemAccount()
    reason = "this machine has no useradd"
    useradd = shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")
    with _one_at_a_time():
        entry = _entry()
        if entry is None and useradd is not None:
            made = subprocess.run(
                [useradd, "--system", "--no-create-home", "--shell", "/bin/false", _NAME],
                capture_output=True,
                check=False,
            )
            reason = made.stderr.decode(errors="replace").strip()
            entry = _entry()
    if entry is None:
        raise NoAccountError(
            f"PostgreSQL refuses to run as root, and the account {_NAME!r} for it cannot be made:"
            f" {reason}. Make that account, or run this as an ordinary user."
        )
    return SystemAccount(uid=entry.pw_uid, gid=entry.pw_gid, groups=())


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let only one process at a time look for the account and make it.

    If several `useradd` run at once, one overwrites the entry of another. Then the server was
    started with a user id that no longer existed.
    """
    directory = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_NAME)
    except KeyError:
        return None
