"""The settings of the voice vendor, and what is told when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.conch.ssh.keys import Key

from sbm.settings.endpoints import VoiceVendorAddress
from sbm.settings.reading import Settings
from sbm.settings.voice_vendor import read_voice_vendor
from tests.clients.voice_vendor.sftp import pinned

# Always the same one: the names of tests must not differ between processes.
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
FINGERPRINT = pinned(Key(PRIVATE))

QUICKLY = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1)

REQUIRED = {
    "AUDIO_FTP_HOST": "voice.example.org",
    "AUDIO_FTP_USER": "sbm",
    "AUDIO_FTP_PASS": "audio-secret",
    "SBM_AUDIO_FTP_HOST_KEY": FINGERPRINT,
}


def read(**changes: str) -> VoiceVendorAddress:
    settings = Settings(environ={**REQUIRED, **changes})
    address = read_voice_vendor(settings)
    settings.check()
    assert address is not None
    return address


def problems(**changes: str) -> str:
    settings = Settings(environ={**REQUIRED, **changes})
    read_voice_vendor(settings)
    (problem,) = settings.problems
    return problem


def test_without_a_host_there_is_no_vendor_and_nothing_else_is_looked_at() -> None:
    settings = Settings(environ={**REQUIRED, "AUDIO_FTP_HOST": "", "AUDIO_FTP_PORT": "none"})
    assert read_voice_vendor(settings) is None
    assert settings.problems == []


def test_the_vendor_is_read_as_the_service_before_it_was_told() -> None:
    assert read(AUDIO_FTP_PORT="2222", AUDIO_FTP_ROOT="/sounds/") == VoiceVendorAddress(
        host="voice.example.org",
        port=2222,
        user="sbm",
        password="audio-secret",
        root="/sounds",
        host_key=FINGERPRINT,
    )
    assert (read().port, read().root, read(AUDIO_FTP_ROOT="/").root) == (22, "", "/")


@pytest.mark.parametrize(
    "line",
    [PUBLIC, f"{PUBLIC} a comment", f"voice.example.org,10.0.0.1 {PUBLIC}", f"|1|x=|y= {PUBLIC}"],
)
def test_a_line_of_known_hosts_tells_the_type_of_the_key_besides(line: str) -> None:
    address = read(SBM_AUDIO_FTP_HOST_KEY=line)
    assert (address.host_key, address.host_key_type) == (FINGERPRINT, "ssh-ed25519")


@pytest.mark.parametrize(
    "text",
    [
        "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
        FINGERPRINT[:-1],
        f"@revoked * {PUBLIC}",
        PUBLIC.split()[0],
        PUBLIC.replace("ssh-ed25519", "ssh-rsa"),
        PUBLIC[:-5] + "?",
    ],
)
def test_what_is_no_host_key_is_refused(text: str) -> None:
    assert problems(SBM_AUDIO_FTP_HOST_KEY=text).startswith(
        "SBM_AUDIO_FTP_HOST_KEY must be a fingerprint"
    )


def test_without_a_pinned_host_key_the_daemon_does_not_start() -> None:
    assert problems(SBM_AUDIO_FTP_HOST_KEY="").startswith(
        "SBM_AUDIO_FTP_HOST_KEY is missing while AUDIO_FTP_HOST is set"
    )


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("AUDIO_FTP_USER", "", "AUDIO_FTP_USER is missing"),
        ("AUDIO_FTP_PASS", "", "AUDIO_FTP_PASS is missing while AUDIO_FTP_HOST is set, and"),
        ("AUDIO_FTP_PORT", "ssh", "AUDIO_FTP_PORT must be a whole number"),
        ("AUDIO_FTP_HOST", "sbm:secret@host", "AUDIO_FTP_HOST must be only the name of a host"),
        ("SBM_AUDIO_FTP_KEY_FILE", "/nowhere", "SBM_AUDIO_FTP_KEY_FILE cannot be read: No such"),
        ("SBM_AUDIO_FTP_KEY_FILE", __file__, "SBM_AUDIO_FTP_KEY_FILE has no private key"),
    ],
)
def test_what_is_missing_or_wrong_is_told(name: str, value: str, problem: str) -> None:
    told = problems(**{name: value})
    assert told.startswith(problem)
    assert "secret" not in told


@pytest.mark.parametrize(
    ("form", "locked"),
    [
        (PrivateFormat.OpenSSH, QUICKLY.build(b"open sesame")),
        (PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")),
    ],
)
def test_a_key_is_read_with_its_passphrase(
    tmp_path: Path, form: PrivateFormat, locked: KeySerializationEncryption
) -> None:
    path = tmp_path / "key"
    path.write_bytes(PRIVATE.private_bytes(Encoding.PEM, form, locked))
    file = {"SBM_AUDIO_FTP_KEY_FILE": str(path), "AUDIO_FTP_PASS": ""}
    address = read(**file, SBM_AUDIO_FTP_KEY_PASSPHRASE="open sesame")
    assert isinstance(address.key, Ed25519PrivateKey)
    assert address.key.private_bytes_raw() == PRIVATE.private_bytes_raw()
    wrong = problems(**file, SBM_AUDIO_FTP_KEY_PASSPHRASE="open barley")
    assert wrong.startswith("SBM_AUDIO_FTP_KEY_FILE has no private key that can be read with")
    assert "barley" not in wrong
    assert problems(**file) == "SBM_AUDIO_FTP_KEY_PASSPHRASE is missing."
    path.write_bytes(PRIVATE.private_bytes(Encoding.PEM, form, NoEncryption()))
    assert read(**file).key is not None
    assert problems(**file, SBM_AUDIO_FTP_KEY_PASSPHRASE="x").startswith(
        "SBM_AUDIO_FTP_KEY_PASSPHRASE is set, but"
    )


def test_a_key_of_a_type_that_is_out_of_date_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = dsa.generate_private_key(1024)  # noqa: S505 (that is the test)
    path.write_bytes(old.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert problems(SBM_AUDIO_FTP_KEY_FILE=str(path)) == (
        "SBM_AUDIO_FTP_KEY_FILE must hold an Ed25519, ECDSA or RSA key."
    )
