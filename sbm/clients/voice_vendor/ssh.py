"""An SSH connection for SFTP, to a server whose host key is known.

Conch implements the protocol. This module adds what it leaves to its callers, or does in a way that
current servers refuse: the algorithms, the check of the host key, each way to authenticate once,
and clear reasons for failures.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from twisted.conch.ssh import filetransfer, transport, userauth
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from sbm.clients.outcomes import Rejected, Unavailable
from sbm.model.text import one_line
from sbm.settings.endpoints import VoiceVendorAddress

# Conch would log every packet.
_QUIET = Logger(observer=LogPublisher())

_LOST = Failure(ConnectionLost())

_LONGEST_REASON = 300

# Servers divide what is longer, such as the list of a folder. Conch copies the rest of a message
# for each value in it.
LONGEST_MESSAGE = 64 * 1024

# As the protocol says: with it, each request names a file.
_LONGEST_HANDLE = 256

# A server that is well sends few messages besides the answers to ours.
MOST_OTHER_MESSAGES = 1000
_ANSWERS = 94  # SSH_MSG_CHANNEL_DATA

# A group with a longer prime would hold the reactor for seconds. The message has two numbers.
_LONGEST_GROUP = 4 + 4096 // 8 + 1 + 4 + 8


class NoSuchFile(Rejected):
    """There is no file, or no folder, of this name."""


class Sftp(filetransfer.FileTransferClient):
    """The SFTP client; its requests fail with Unavailable, Rejected or EOFError.

    ``opened`` fires with the client when it can be used, or fails.
    """

    _log = _QUIET

    def __init__(self, ssh: Ssh, opened: Deferred[Sftp]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ssh = ssh
        self.extensions: frozenset[bytes] = frozenset()
        self._opened = opened

    def dataReceived(self, data: bytes) -> None:
        """Take the messages apart; one that is too long, or no answer, ends the connection.

        Conch waits for messages of four gigabytes, and logs those that nobody has asked for.
        """
        self.buf += data
        at = 0
        while len(self.buf) - at >= 5:
            length, kind = struct.unpack_from("!LB", self.buf, at)
            if not 0 < length <= LONGEST_MESSAGE:
                return self._refuse(f"a message of {length} bytes")
            end = at + 4 + length
            if len(self.buf) < end:
                break
            message, at = self.buf[at + 5 : end], end
            requests = dict(self.openRequests)
            try:
                read = getattr(self, f"packet_{self.packetTypes[kind]}")
                read(message)
            except Exception:  # whatever Conch stumbles over, after it has taken the request away
                self.openRequests = {key: one for key, one in requests.items() if not one.called}
                return self._refuse("a message that is no answer, or cannot be read")
        self.buf = self.buf[at:]
        return None

    def packet_HANDLE(self, data: bytes) -> None:
        """Read how an open file or folder is called."""
        if len(data) > 8 + _LONGEST_HANDLE:
            raise ValueError("a handle is too long")
        super().packet_HANDLE(data)  # type: ignore[no-untyped-call]

    def _refuse(self, what: str) -> None:
        self.buf = b""
        self.ssh.refused("message")
        self.ssh.abort(Unavailable(f"the voice vendor's server sent {what}"))

    def gotServerVersion(self, _version: int, extensions: dict[bytes, bytes]) -> None:
        self.extensions = frozenset(extensions)
        if not self._opened.called:
            self._opened.callback(self)

    def packet_STATUS(self, data: bytes) -> None:
        """Read how a request ended; the text may be missing, and in any language."""
        request, rest = self._parseRequest(data)  # type: ignore[no-untyped-call]
        (code,) = struct.unpack("!L", rest[:4])
        raw = getNS(rest[4:])[0] if len(rest) >= 8 else b""
        if code == filetransfer.FX_OK:
            request.callback(None)
        elif code == filetransfer.FX_EOF:
            request.errback(EOFError())
        else:
            request.errback(_refusal(code, plain(raw)))

    def connectionLost(self, reason: Failure = _LOST) -> None:
        self.connected = False
        lost = self.ssh.why(reason)
        while self.openRequests:
            _, request = self.openRequests.popitem()
            request.errback(lost)


class Ssh(transport.SSHClientTransport):
    """The connection: with current algorithms only, and only to the server with the pinned key.

    ``refused`` is called with the limit that the server has exceeded.
    """

    _log = _QUIET
    supportedCiphers = [b"aes256-ctr", b"aes192-ctr", b"aes128-ctr"]  # noqa: RUF012
    supportedMACs = [b"hmac-sha2-512", b"hmac-sha2-256"]  # noqa: RUF012
    supportedCompressions = [b"none"]  # noqa: RUF012
    supportedKeyExchanges = [  # noqa: RUF012
        name for name in transport.SSHClientTransport.supportedKeyExchanges if b"sha1" not in name
    ]
    _dhMinimalGroupSize = 2048

    def __init__(
        self, address: VoiceVendorAddress, opened: Deferred[Sftp], refused: Callable[[str], None]
    ) -> None:
        self._address = address
        self.refused = refused
        self._opened = opened
        self._failed: Unavailable | Rejected | None = None
        self._is_secure = False
        self._others_left = MOST_OTHER_MESSAGES
        self.is_open = True  # for requests; False also while the connection is being closed
        self.supportedPublicKeys = _host_key_algorithms(address.host_key_type)

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:  # noqa: N803
        """Read one message, unless the connection is being closed; too many end it.

        To many kinds of messages there is an answer, which would wait here if the server does not
        read it.
        """
        if not self.is_open:
            return
        self._others_left += 1 if messageNum == _ANSWERS else -1
        if self._others_left < 0:
            self.refused("messages")
            self.abort(Unavailable("the voice vendor's server sends messages without end"))
            return
        try:
            super().dispatchMessage(messageNum, payload)  # type: ignore[no-untyped-call]
        except Exception as error:  # whatever Conch stumbles over
            kind = type(error).__name__
            self.abort(Unavailable(f"a message of the voice vendor cannot be read: {kind}"))

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> None:
        """Take the group that the server has chosen for the key exchange, or its reply."""
        if b"group-exchange" in self.kexAlg and len(packet) > _LONGEST_GROUP:
            self.refused("prime")
            too_long = b"the prime of the key exchange is too long"
            self.sendDisconnect(transport.DISCONNECT_KEY_EXCHANGE_FAILED, too_long)
            return
        super().ssh_KEX_DH_GEX_GROUP(packet)  # type: ignore[no-untyped-call]

    def verifyHostKey(self, key: bytes, _fingerprint: bytes) -> Deferred[bool]:
        """Continue only with the pinned key; before that, nothing about us is sent."""
        shown = "SHA256:" + b64encode(sha256(key).digest()).decode("ascii").rstrip("=")
        if shown == self._address.host_key:
            return succeed(True)
        kind = plain(getNS(key)[0])
        self._fail(
            Rejected(
                f"the voice vendor's server shows the host key {shown} ({kind}), which is not the"
                f" one in SBM_AUDIO_FTP_HOST_KEY, {self._address.host_key}: nothing was sent to it"
            )
        )
        return fail(Rejected("another host key is expected"))

    def connectionSecure(self) -> None:
        """Authenticate after the first key exchange; there are further ones now and then."""
        if not self._is_secure:
            self._is_secure = True
            connection = _SshConnection(self, self._opened)
            self.requestService(_UserAuthentication(self._address, connection))

    def sendDisconnect(self, code: int, description: bytes) -> None:
        if code == transport.DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE:
            self._fail(
                Rejected(
                    f"the voice vendor does not accept the user {self._address.user!r} with"
                    f" {_credentials(self._address)}"
                )
            )
        elif code == transport.DISCONNECT_KEY_EXCHANGE_FAILED:
            text, kind = plain(description), self._address.host_key_type
            if kind:
                text += f"; it must have a host key of the type {kind} (SBM_AUDIO_FTP_HOST_KEY)"
            self._fail(Rejected(f"no secure connection to the voice vendor: {text}"))
        self._fail(
            Unavailable(f"we ended the connection to the voice vendor: {plain(description)}")
        )
        super().sendDisconnect(code, description)  # type: ignore[no-untyped-call]

    def receiveError(self, _code: int, description: bytes) -> None:
        self._fail(Unavailable(f"the voice vendor ended the connection: {plain(description)}"))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.is_open = False
        super().connectionLost(reason)
        if not self._opened.called:
            self._opened.errback(self.why(reason or _LOST))

    def why(self, reason: Failure) -> Unavailable | Rejected:
        """Why the connection ended, if a reason is known."""
        lost = reason.getErrorMessage()
        return self._failed or Unavailable(f"the connection to the voice vendor was lost: {lost}")

    def abort(self, why: Unavailable | Rejected) -> None:
        """Abort the connection: open requests fail soon, for this reason."""
        self._fail(why)
        wire: Any = self.transport
        if self.is_open and wire is not None:
            self.is_open = False
            wire.abortConnection()

    def end(self) -> None:
        """Close the connection."""
        if self.is_open and self.transport is not None:
            self.is_open = False
            self.transport.loseConnection()

    def _fail(self, why: Unavailable | Rejected) -> None:
        """Keep the first reason."""
        self._failed = self._failed or why


class _UserAuthentication(userauth.SSHUserAuthClient):
    """Tries the key, then the password, each way once.

    Conch would sign with SHA-1 if the key is RSA, which servers refuse, and would repeat a refused
    password.
    """

    _log = _QUIET
    transport: Any

    def __init__(self, address: VoiceVendorAddress, connection: SSHConnection) -> None:
        super().__init__(address.user.encode("utf-8", "surrogateescape"), connection)
        self._address = address
        self._left = {b"publickey", b"password", b"keyboard-interactive"}
        self._answers_left = 1

    def auth_publickey(self) -> bool:  # type: ignore[override]
        if self._address.key is None or not self._takes(b"publickey"):
            return False
        key = Key(self._address.key)
        algorithm = key.supportedSignatureAlgorithms()[0]
        request = b"\x01" + NS(algorithm) + NS(key.public().blob())
        signed = NS(self.transport.sessionID) + bytes((userauth.MSG_USERAUTH_REQUEST,))
        signed += NS(self.user) + NS(self.instance.name) + NS(b"publickey") + request
        self.askForAuth(b"publickey", request + NS(key.sign(signed, signatureType=algorithm)))
        return True

    def auth_password(self) -> bool:
        if not self._address.password or not self._takes(b"password"):
            return False
        password = self._address.password.encode("utf-8", "surrogateescape")
        self.askForAuth(b"password", b"\x00" + NS(password))
        return True

    def auth_keyboard_interactive(self) -> bool:
        if not self._address.password or not self._takes(b"keyboard-interactive"):
            return False
        return bool(super().auth_keyboard_interactive())

    def getGenericAnswers(
        self, _name: bytes, _instruction: bytes, prompts: list[tuple[bytes, bool]]
    ) -> Deferred[list[str]]:
        """The password, if the server asks for exactly one secret."""
        if not prompts:
            return succeed([])
        if len(prompts) == 1 and not prompts[0][1] and self._answers_left:
            self._answers_left = 0
            return succeed([self._address.password])
        return fail(Rejected("the server asks for more than a password"))

    def getPassword(self, _prompt: bytes | None = None) -> Deferred[bytes]:
        """Fail: Conch calls this only if the password has expired."""
        return fail(Rejected("the password must be changed"))

    def _takes(self, method: bytes) -> bool:
        """Whether this way was not tried yet; from now on, it counts as tried."""
        if method not in self._left:
            return False
        self._left.remove(method)
        return True


class _SshConnection(SSHConnection):
    """Opens one channel, for SFTP, after authentication."""

    _log = _QUIET

    def __init__(self, ssh: Ssh, opened: Deferred[Sftp]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ssh, self._opened = ssh, opened

    def serviceStarted(self) -> None:
        super().serviceStarted()  # type: ignore[no-untyped-call]
        channel = _Channel(self._ssh, self._opened, conn=self)
        self.openChannel(channel)  # type: ignore[no-untyped-call]


class _Channel(SSHChannel):
    name = b"session"
    _log = _QUIET
    conn: Any

    def __init__(self, ssh: Ssh, opened: Deferred[Sftp], conn: SSHConnection) -> None:
        super().__init__(conn=conn)
        self._ssh = ssh
        self._client: Any = Sftp(ssh, opened)

    def channelOpen(self, _data: bytes) -> None:
        asked = self.conn.sendRequest(self, b"subsystem", NS(b"sftp"), wantReply=True)
        asked.addCallbacks(self._begin, self._refused)

    def _begin(self, _answer: Any) -> None:
        self._client.makeConnection(self)

    def _refused(self, _why: Failure) -> None:
        self._ssh.abort(Rejected("the voice vendor's server does not offer us SFTP"))

    def openFailed(self, why: Any) -> None:
        text = plain(str(getattr(why, "value", why)).encode("utf-8", "replace"))
        self._ssh.abort(Unavailable(f"the voice vendor's server opens no session: {text}"))

    def dataReceived(self, data: bytes) -> None:
        self._client.dataReceived(data)

    def closed(self) -> None:
        self._client.connectionLost(Failure(ConnectionLost("the session was closed")))
        self._ssh.end()


def plain(raw: bytes) -> str:
    """A text from a server as one short line that can be stored and shown."""
    return one_line(raw.decode("utf-8", "replace"), most=_LONGEST_REASON)


def _refusal(code: int, text: str) -> Unavailable | Rejected:
    """The error for a status other than success."""
    if code in (filetransfer.FX_NO_CONNECTION, filetransfer.FX_CONNECTION_LOST):
        return Unavailable(f"the voice vendor's server lost its own connection: {text}")
    if code == filetransfer.FX_NO_SUCH_FILE:
        return NoSuchFile(text or "no such file")
    if code == filetransfer.FX_PERMISSION_DENIED:
        return Rejected(text or "permission denied")
    return Rejected(f"{text or 'failure'} (status {code})")


def _credentials(address: VoiceVendorAddress) -> str:
    if address.key and address.password:
        return "the key in SBM_AUDIO_FTP_KEY_FILE, or with the password in AUDIO_FTP_PASS"
    return "the key in SBM_AUDIO_FTP_KEY_FILE" if address.key else "the password in AUDIO_FTP_PASS"


def _host_key_algorithms(kind: str) -> list[bytes]:
    """The algorithms for the host key: those of the pinned key's type, if it is known."""
    rsa = [b"rsa-sha2-512", b"rsa-sha2-256"]
    if kind == "ssh-rsa":
        return rsa
    curves = [b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521"]
    return [kind.encode("ascii")] if kind else [b"ssh-ed25519", *curves, *rsa]
