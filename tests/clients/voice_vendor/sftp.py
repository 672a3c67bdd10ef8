"""An SFTP server over a folder, with the troubles that voice vendors have."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.filetransfer import (
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    FX_PERMISSION_DENIED,
    FXF_TRUNC,
    FileTransferServer,
    SFTPError,
)
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import SSHSession
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from zope.interface import implementer

from sbm.settings.endpoints import VoiceVendorAddress

reactor: Any = global_reactor

USER, PASSWORD = "sbm", "voice-secret"


def a_key() -> Key:
    return Key(Ed25519PrivateKey.generate())


def pinned(key: Key) -> str:
    """The fingerprint of a host key, as it is set."""
    digest = sha256(key.public().blob()).digest()
    return f"SHA256:{b64encode(digest).decode().rstrip('=')}"


@define(eq=False)
class Vendor:
    """A running server, what it was asked, and what is to go wrong."""

    folder: Path
    host_key: Key = field(factory=a_key)
    user_keys: list[Key] = field(factory=list)
    # Nobody may write files whose names begin like this.
    denied: str = "denied"
    # Opening these files is never answered, or cuts the connection.
    silent: str = "silent"
    silenced: int = 0
    cutting: str = "cutting"
    # What a listing says that the sizes of files are.
    claims: dict[str, int] = field(factory=dict)
    # What is said instead of an answer to the request for a list; and why none is given.
    says: bytes = b""
    refusal: str = ""
    # How many files a part of a list has.
    at_a_time: int = 1024
    # No file gets larger than this.
    full_at: int | None = None
    written: list[tuple[str, int, int]] = field(factory=list)
    listings: int = 0
    # What clients have asked for besides keys, and who tried to be let in, how often.
    services: list[bytes] = field(factory=list)
    tries: list[Any] = field(factory=list)
    connections: list[Any] = field(factory=list)
    port: Any = None
    number: int = 0
    _bytes_left: int = 0
    _then: Callable[[], Any] | None = None

    def listen(self) -> None:
        """Listen at a free port, or again at the one it was."""
        factory: Any = SSHFactory()
        factory.protocol = _Connection
        factory.services = {**SSHFactory.services, b"ssh-userauth": _Account}
        factory.vendor = self
        factory.publicKeys = {b"ssh-ed25519": self.host_key.public()}
        factory.privateKeys = {b"ssh-ed25519": self.host_key}
        passwords: Any = InMemoryUsernamePasswordDatabaseDontUse()
        passwords.addUser(USER.encode(), PASSWORD.encode())
        keys: Any = InMemorySSHKeyDB({USER.encode(): [key.public() for key in self.user_keys]})
        checkers = [_Noted(passwords, self.tries), _Noted(SSHPublicKeyChecker(keys), self.tries)]
        factory.portal = Portal(_Realm(self), checkers)
        self.port = reactor.listenTCP(self.number, factory, interface="127.0.0.1")
        self.number = self.port.getHost().port

    async def close(self) -> None:
        """Be away."""
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            connection.transport.abortConnection()

    def address(self, **changes: Any) -> VoiceVendorAddress:
        told = {"host": "127.0.0.1", "port": self.number, "user": USER, "password": PASSWORD}
        return VoiceVendorAddress(**{**told, "host_key": pinned(self.host_key), **changes})

    def path(self, name: bytes) -> Path:
        return self.folder / name.decode().lstrip("/")

    def at(self, count: int, then: Callable[[], Any]) -> None:
        """When so many more bytes have been written to files, do this, once."""
        self._bytes_left, self._then = count, then

    def note(self, name: str, offset: int, data: bytes) -> None:
        """Bytes were written."""
        self.written.append((name, offset, len(data)))
        self._bytes_left -= len(data)
        if self._bytes_left <= 0 and self._then is not None:
            then, self._then = self._then, None
            then()


class _Connection(SSHServerTransport):
    factory: Any

    def connectionMade(self) -> None:
        self.factory.vendor.connections.append(self)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.vendor.connections.remove(self)
        super().connectionLost(reason)

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        self.factory.vendor.services.append(packet)
        super().ssh_SERVICE_REQUEST(packet)


class _Account(SSHUserAuthServer):
    passwordDelay = 0


@implementer(ICredentialsChecker)
@define(eq=False)
class _Noted:
    """A checker whose every use is put down."""

    checker: Any
    tries: list[Any]

    @property
    def credentialInterfaces(self) -> Any:
        return self.checker.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Any:
        self.tries.append(credentials)
        return self.checker.requestAvatarId(credentials)


@implementer(IRealm)
@define(eq=False)
class _Realm:
    vendor: Vendor

    def requestAvatar(self, user: Any, _mind: Any, *_interfaces: Any) -> Any:
        avatar: Any = ConchUser()
        avatar.vendor = self.vendor
        avatar.channelLookup[b"session"] = SSHSession
        avatar.subsystemLookup[b"sftp"] = _server
        return _interfaces[0], avatar, lambda: None


def _server(_data: bytes, avatar: Any) -> Any:
    make: Any = _Server
    server = make(avatar=_Files(avatar.vendor))
    server.vendor = avatar.vendor
    return server


class _Server(FileTransferServer):
    vendor: Vendor

    def packet_OPENDIR(self, data: bytes) -> None:
        if self.vendor.says:
            transport: Any = self.transport
            transport.write(self.vendor.says)
        else:
            super().packet_OPENDIR(data)  # type: ignore[no-untyped-call]

    def _scanDirectory(self, entries: Any, found: list[Any]) -> Any:
        if self.vendor.at_a_time == 1:
            entries, found = islice(entries, 1), []
        return super()._scanDirectory(entries, found)  # type: ignore[no-untyped-call]


@contextmanager
def _told() -> Iterator[None]:
    """What the disk says, as SFTP says it."""
    try:
        yield
    except FileNotFoundError:
        raise SFTPError(FX_NO_SUCH_FILE, "no such file") from None


@define(eq=False)
class _Files:
    vendor: Vendor

    def __conform__(self, _interface: Any) -> Any:
        """Taken for what is asked for: the files of an avatar, and the avatar."""
        return self

    def gotVersion(self, _version: int, _extensions: Any) -> dict[str, str]:
        return {}

    def openFile(self, name: bytes, flags: int, _attributes: Any) -> Any:
        path = self.vendor.path(name)
        if path.name.startswith(self.vendor.denied):
            raise SFTPError(FX_PERMISSION_DENIED, "permission denied")
        if path.name.startswith(self.vendor.silent):
            self.vendor.silenced += 1
            return Deferred()
        if path.name.startswith(self.vendor.cutting):
            self.vendor.cut()
            return Deferred()
        mode = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if flags & FXF_TRUNC else 0)
        return _File(self.vendor, path.name, os.open(path, mode))

    def getAttrs(self, name: bytes, _follow: bool) -> dict[str, int]:
        with _told():
            return {"size": self.vendor.path(name).stat().st_size}

    def renameFile(self, old: bytes, new: bytes) -> None:
        with _told():
            if self.vendor.path(new).exists():
                raise SFTPError(4, "it exists")
            self.vendor.path(old).rename(self.vendor.path(new))

    def removeFile(self, name: bytes) -> None:
        with _told():
            self.vendor.path(name).unlink()

    def openDirectory(self, name: bytes) -> Any:
        self.vendor.listings += 1
        if self.vendor.refusal:
            raise SFTPError(FX_PERMISSION_DENIED, self.vendor.refusal)
        with _told():
            entries = [(one.name, one.stat().st_size) for one in os.scandir(self.vendor.path(name))]
        claimed = {**dict(entries), **self.vendor.claims}
        return _Folder([(name.encode(), b"", {"size": size}) for name, size in claimed.items()])


@define(eq=False)
class _Folder:
    entries: list[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)

    def close(self) -> None:
        """Nothing is held."""


@define(eq=False)
class _File:
    vendor: Vendor
    name: str
    descriptor: int

    def writeChunk(self, offset: int, data: bytes) -> None:
        if self.vendor.full_at is not None and offset + len(data) > self.vendor.full_at:
            raise SFTPError(FX_FAILURE, "no space")
        os.pwrite(self.descriptor, data, offset)
        self.vendor.note(self.name, offset, data)

    def close(self) -> None:
        os.close(self.descriptor)
