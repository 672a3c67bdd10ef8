from __future__ import annotations

import pytest

from sbm.model.email import is_email


@pytest.mark.parametrize(
    "text",
    [
        "bob@example.org",
        "Bob@Example.ORG",
        "b.o+b_1'x@mail.example-1.co.za",
        '"b@b"@example.org',
        "bob@localhost",
        "bob@[127.0.0.1]",
        "bob@[::1]",
        "bob@éxample.org",
        "bob@xn--xample-9ua.org",
    ],
)
def test_addresses(text: str) -> None:
    assert is_email(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nope",
        "@example.org",
        "bob@",
        "bob@example",
        "bob@.org",
        "bob@example..org",
        "bob@-example.org",
        "bob@example-.org",
        "bob@example.o",
        "bob@exam_ple.org",
        "b ob@example.org",
        ".bob@example.org",
        "b..ob@example.org",
        "böb@example.org",
        "bob@example.org\n",
        "bob@[127.0.0.256]",
        "bob@[]",
        "bob@" + "a" * 64 + ".org",
        "bob@é" + "a" * 70 + ".org",
        '"b\x01b"@example.org',
        "bob@exa\u00admple.org",
        "bob@example.org\ud800",
    ],
)
def test_what_is_none(text: str) -> None:
    assert not is_email(text)
