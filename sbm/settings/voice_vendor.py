"""Reads the voice vendor's address, the host key that it has to show, and our account there."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from sbm.settings.endpoints import PrivateKey, VoiceVendorAddress
from sbm.settings.reading import Settings

_HOST_KEY = "SBM_AUDIO_FTP_HOST_KEY"
_KEY_FILE = "SBM_AUDIO_FTP_KEY_FILE"
_PASSPHRASE = "SBM_AUDIO_FTP_KEY_PASSPHRASE"  # noqa: S105 (the name of a setting)

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_NO_KEY = (
    "must be a fingerprint such as SHA256:… (43 characters), or one line of known_hosts with an"
    " Ed25519, ECDSA or RSA key"
)


def read_voice_vendor(settings: Settings) -> VoiceVendorAddress | None:
    """The vendor's address; None if ``AUDIO_FTP_HOST`` is not set."""
    host = settings.text("AUDIO_FTP_HOST")
    if not host:
        return None
    if re.search(r"[\s/@\x00-\x1f\x7f]", host):
        settings.problem("AUDIO_FTP_HOST", "must be only the name of a host, or its address")
    user, root = settings.text("AUDIO_FTP_USER"), settings.text("AUDIO_FTP_ROOT")
    if not user:
        settings.problem("AUDIO_FTP_USER", "is missing while AUDIO_FTP_HOST is set")
    if "\0" in root:
        settings.problem("AUDIO_FTP_ROOT", "must not contain a NUL character")
    password, key_file = settings.text("AUDIO_FTP_PASS"), settings.text(_KEY_FILE)
    if not password and not key_file:
        settings.problem(
            "AUDIO_FTP_PASS", f"is missing while AUDIO_FTP_HOST is set, and {_KEY_FILE} is not"
        )
    host_key, host_key_type = _host_key(settings)
    return VoiceVendorAddress(
        host=host,
        port=settings.count("AUDIO_FTP_PORT", 22, most=65535),
        user=user,
        root=root.rstrip("/") or root[:1],
        host_key=host_key,
        host_key_type=host_key_type,
        password=password,
        key=_key(settings, Path(key_file)) if key_file else None,
    )


def _host_key(settings: Settings) -> tuple[str, str]:
    """The fingerprint, and the type if it is given, of the key that the server has to show."""
    text = settings.text(_HOST_KEY)
    if not text:
        settings.problem(
            _HOST_KEY,
            "is missing while AUDIO_FTP_HOST is set: files are sent only to a server with this key"
            " (ssh-keyscan shows it; ask the vendor whether it is theirs)",
        )
        return "", ""
    if _FINGERPRINT.fullmatch(text):
        return text.rstrip("="), ""
    words = text.split()
    kinds = [place for place, word in enumerate(words[:2]) if word in _TYPES]
    try:
        kind, written = words[kinds[0]], words[kinds[0] + 1]
        blob = b64decode(written, validate=True)
        if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode("ascii")):
            raise ValueError("a key of another type")
    except (IndexError, ValueError, binascii.Error):
        settings.problem(_HOST_KEY, _NO_KEY)
        return "", ""
    return "SHA256:" + b64encode(sha256(blob).digest()).decode("ascii").rstrip("="), kind


def _key(settings: Settings, path: Path) -> PrivateKey | None:
    """The private key in the file. The check of an RSA key takes a third of a second."""
    try:
        written = path.read_bytes()
    except OSError as error:
        settings.problem(_KEY_FILE, f"cannot be read: {error.strerror}")
        return None
    passphrase = settings.text(_PASSPHRASE).encode("utf-8", "surrogateescape") or None
    is_openssh = b"BEGIN OPENSSH PRIVATE KEY" in written
    load: Any = load_ssh_private_key if is_openssh else load_pem_private_key
    try:
        key = load(written, passphrase)
    except TypeError:
        wrong = "is set, but the key is not encrypted" if passphrase else "is missing"
        settings.problem(_PASSPHRASE, wrong)
    except (ValueError, UnsupportedAlgorithm):
        # The messages of these errors say too much about the file, or too little.
        with_it = f" with the passphrase in {_PASSPHRASE}" if passphrase else ""
        settings.problem(_KEY_FILE, f"has no private key that can be read{with_it}")
    else:
        if isinstance(key, PrivateKey):
            return key
        settings.problem(_KEY_FILE, "must hold an Ed25519, ECDSA or RSA key")
    return None
