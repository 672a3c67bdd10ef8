"""Hashes passwords with Argon2id, and checks passwords that Argon2id or Django hashed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# The minimum that OWASP recommends: about 30 ms and 19 MiB for one check.
ITERATIONS = 2
LANES = 1
MEMORY_KIB = 19 * 1024
SALT_BYTES = 16
DIGEST_BYTES = 32

_CURRENT = f"$argon2id$v=19$m={MEMORY_KIB},t={ITERATIONS},p={LANES}$"
_ARGON2 = "$argon2id$"
_DJANGO = "pbkdf2_sha256$"


def hash_password(
    password: str, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> str:
    """The hash of a password, in PHC string format; too slow for the reactor's thread."""
    scheme = Argon2id(
        salt=random_bytes(SALT_BYTES),
        length=DIGEST_BYTES,
        iterations=ITERATIONS,
        lanes=LANES,
        memory_cost=MEMORY_KIB,
    )
    return scheme.derive_phc_encoded(password.encode("utf-8"))


def verify(password: str, stored: str | None) -> bool:
    """Whether the stored hash is that of the password; too slow for the reactor's thread.

    If ``stored`` can match no password (it is None, or its scheme is unknown), the check takes as
    long as one of our own hashes. So the time does not show which users have a password.
    """
    given = password.encode("utf-8")
    if stored is not None and stored.startswith(_DJANGO):
        return _verify_django(given, stored)
    if stored is not None and stored.startswith(_ARGON2):
        return _verify_argon2(given, stored)
    _verify_argon2(given, _DUMMY_HASH)
    return False


def is_current(stored: str) -> bool:
    """Whether the hash has the form that a new password would get."""
    return stored.startswith(_CURRENT)


def _verify_argon2(given: bytes, stored: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(given, stored)
    except InvalidKey:
        return False
    return True


def _verify_django(given: bytes, stored: str) -> bool:
    """Check ``pbkdf2_sha256$<iterations>$<salt>$<base64>``, Django's form since 1.4."""
    try:
        _, iterations, salt, digest = stored.split("$")
        expected = base64.b64decode(digest, validate=True)
        found = hashlib.pbkdf2_hmac("sha256", given, salt.encode("utf-8"), int(iterations))
    except (ValueError, OverflowError):
        return False
    return hmac.compare_digest(found, expected)


def _phc_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")


# Checked if there is no password, only because that takes as long.
_DUMMY_HASH = f"{_CURRENT}{_phc_base64(bytes(SALT_BYTES))}${_phc_base64(bytes(DIGEST_BYTES))}"
