from __future__ import annotations

import pytest

from sbm.model import password
from sbm.model.password import hash_password, is_current, verify

# "lètmein ☃", as Django itself hashed it.
DJANGO = "pbkdf2_sha256$1000$abcdefghIJ12$PHSQk87ITcTHMBLpjI5smbBrxoUCZKOWKPiQZ9FdREU="


def test_a_password_matches_itself_alone() -> None:
    stored = hash_password("sécret ☃")
    assert verify("sécret ☃", stored)
    assert not verify("sécret ☃ ", stored)
    assert not verify("", stored)


def test_the_same_password_is_stored_differently_each_time() -> None:
    assert hash_password("a") != hash_password("a")
    assert hash_password("a", random_bytes=bytes) == hash_password("a", random_bytes=bytes)


def test_the_form_tells_the_scheme_and_its_costs() -> None:
    assert hash_password("a").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_other_costs_are_verified_and_known_as_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password, "MEMORY_KIB", 64)
    stored = hash_password("a")
    assert verify("a", stored)
    assert not is_current(stored)


def test_what_django_hashed_is_verified_and_known_as_old() -> None:
    assert verify("lètmein ☃", DJANGO)
    assert not verify("letmeout", DJANGO)
    assert not is_current(DJANGO)
    assert is_current(hash_password("letmein"))


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "!",
        "letmein",
        "sha1$abc$def",
        "pbkdf2_sha256$",
        "pbkdf2_sha256$x$salt$aaaa",
        "pbkdf2_sha256$0$salt$aaaa",
        "pbkdf2_sha256$99999999999999999999$salt$aaaa",
        "pbkdf2_sha256$1000$salt$not base64",
        "pbkdf2_sha256$1000$salt$",
        "$argon2id$",
        "$argon2id$v=19$m=x,t=2,p=1$AAAA$AAAA",
    ],
)
def test_what_cannot_be_a_stored_password_matches_none(stored: str) -> None:
    assert not verify("letmein", stored)
    assert not verify("", stored)


@pytest.mark.parametrize("stored", [None, "!", "sha1$abc$def"])
def test_where_there_is_none_a_password_is_hashed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, stored: str | None
) -> None:
    checked: list[tuple[bytes, str]] = []
    monkeypatch.setattr(password, "_verify_argon2", lambda *given: checked.append(given))
    assert not verify("a", stored)
    ((given, with_costs),) = checked
    assert given == b"a"
    assert is_current(with_costs)


def test_nobodys_password_is_one_that_is_really_checked() -> None:
    # A form that is refused before it is hashed would take no time.
    altered = hash_password("a", random_bytes=bytes).rsplit("$", 1)[0]
    assert password._DUMMY_HASH.rsplit("$", 1)[0] == altered
    assert len(password._DUMMY_HASH) == len(hash_password("a"))
