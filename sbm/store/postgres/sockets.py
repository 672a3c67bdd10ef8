"""Watches libpq's socket, which libpq closes and replaces without notice."""

from __future__ import annotations

import os
from typing import Any, Protocol

import psycopg2
from attrs import define, field
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


class Pollable(Protocol):
    """An object that txpostgres asks a reactor to watch: a connection, or a cursor of one."""

    def fileno(self) -> int: ...
    def doRead(self) -> object: ...
    def doWrite(self) -> object: ...
    def logPrefix(self) -> str: ...
    def connectionLost(self, reason: Failure) -> None: ...


@define(eq=False, slots=False, kw_only=True)
class SocketWatch:
    """The reactor of one connection, as txpostgres uses it.

    The real reactor watches a duplicate of libpq's socket. It goes on while nobody reads for a
    moment, which is so at the beginning and at the end of each statement: to stop and to begin
    again would be half of the system calls of a statement. While it connects, and when a server
    goes away, libpq closes its socket by itself. If a reactor watched the socket itself, it would
    later have to remove a file descriptor that is closed, or that belongs to another socket by
    then; epoll answers that with OSError. The duplicate stays open until ``release``.
    """

    reactor: Any
    _reader: Pollable | None = field(default=None, init=False)
    _writer: Pollable | None = field(default=None, init=False)
    _socket: _SocketCopy | None = field(default=None, init=False)

    @property
    def is_read(self) -> bool:
        """Whether the socket is watched already, for somebody who reads."""
        return self._reader is not None

    def addReader(self, pollable: Pollable) -> None:
        socket = self._duplicate_of(pollable)
        self._reader = pollable
        self.reactor.addReader(socket)

    def addWriter(self, pollable: Pollable) -> None:
        socket = self._duplicate_of(pollable)
        self._writer = pollable
        self.reactor.addWriter(socket)

    def removeReader(self, pollable: Pollable) -> None:
        if self._reader is pollable:
            self._reader = None

    def removeWriter(self, pollable: Pollable) -> None:
        if self._writer is pollable and self._socket is not None:
            self._writer = None
            self.reactor.removeWriter(self._socket)

    def callLater(self, *arguments: Any) -> Any:
        return self.reactor.callLater(*arguments)

    def release(self) -> None:
        """Stop watching, for good or until something is added again."""
        self._reader = self._writer = None
        socket, self._socket = self._socket, None
        if socket is not None:
            self.reactor.removeReader(socket)
            self.reactor.removeWriter(socket)
            socket.close()

    def read(self, socket: _SocketCopy) -> None:
        if socket is not self._socket:
            return
        if self._reader is not None:
            self._reader.doRead()
        else:
            self.reactor.removeReader(socket)

    def write(self, socket: _SocketCopy) -> None:
        if socket is self._socket and self._writer is not None:
            self._writer.doWrite()

    def lost(self, socket: _SocketCopy, reason: Failure) -> None:
        """The reactor has dropped the socket; tell the objects that wait on it."""
        if socket is not self._socket:
            return
        waiting = {id(one): one for one in (self._reader, self._writer) if one is not None}
        self.release()
        for pollable in waiting.values():
            pollable.connectionLost(reason)

    def _duplicate_of(self, pollable: Pollable) -> _SocketCopy:
        """The duplicate of the current socket; raises psycopg2.InterfaceError if there is none."""
        try:
            number = pollable.fileno()
            inode = os.fstat(number).st_ino if number >= 0 else -1
            if number < 0:
                raise psycopg2.InterfaceError("the connection has lost its socket")
            if self._socket is None or self._socket.inode != inode:
                reader, writer = self._reader, self._writer
                self.release()
                self._reader, self._writer = reader, writer
                self._socket = _SocketCopy(watch=self, number=os.dup(number), inode=inode)
        except OSError as error:
            raise psycopg2.InterfaceError(f"the connection has lost its socket: {error}") from error
        return self._socket


@implementer(IReadWriteDescriptor)
@define(eq=False, slots=False, kw_only=True)
class _SocketCopy:
    """A second file descriptor for a socket of libpq; ``inode`` identifies the socket."""

    watch: SocketWatch
    number: int
    inode: int

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
        self.number = -1

    def doRead(self) -> None:
        self.watch.read(self)

    def doWrite(self) -> None:
        self.watch.write(self)

    def connectionLost(self, reason: Failure) -> None:
        self.watch.lost(self, reason)

    def logPrefix(self) -> str:
        return "database"
