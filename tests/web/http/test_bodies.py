from __future__ import annotations

import pytest

from sbm.web.http.bodies import UploadedFile, parse
from sbm.web.http.http_errors import Malformed, UnsupportedMediaType

JSON = "application/json"


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 10_001,
        b"[" + b"[]," * 10_000 + b"[]]",
        b'{"a": {' + b",".join(b'"%d":1' % number for number in range(10_000)) + b"}}",
        "[[],[],[]]".encode("utf-16") * 4000,
    ],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("json.loads", None)
    with pytest.raises(Malformed) as caught:
        parse(raw, JSON)
    assert caught.value.body == {"detail": "A JSON body must not have more than 10000 values."}
    assert caught.value.kind == "too-many-values"


def test_a_body_of_as_many_values_as_are_allowed_is_read() -> None:
    assert parse(b"[%s]" % b",".join([b"0"] * 9_999), JSON).value == [0] * 9_999
    text = b'{"text": "%s"}' % (b"[,{" * 100_000)
    assert len(parse(text, JSON).value["text"]) == 300_000


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b'{"minute": ', "Expecting value: line 1 column 12 (char 11)"),
        (b"{} x", "Extra data: line 1 column 4 (char 3)"),
        (
            b"\xef\xbb\xbf{}",
            "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
        ),
        (b'{"a": NaN}', "Out of range float values are not JSON compliant: 'NaN'"),
        (b"[" * 9_999, "Nested too deeply"),
        (b'"\xff"', "'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"),
    ],
)
def test_what_is_no_json_is_refused_with_its_reason(raw: bytes, detail: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(raw, JSON)
    assert caught.value.body == {"detail": f"JSON parse error - {detail}"}


def test_of_a_key_that_is_given_twice_the_last_value_counts() -> None:
    assert parse(b'{"a": 1, "a": 2}', JSON).value == {"a": 2}


def test_json_is_read_in_the_character_set_that_it_names() -> None:
    assert parse('"é"'.encode("latin-1"), "application/json; charset=latin-1").value == "é"
    assert parse('"é"'.encode(), "application/json; charset=punycode").value == "é"


@pytest.mark.parametrize("content_type", ["", "text/plain", "text/plain; charset=utf-8"])
def test_a_body_of_another_type_is_refused_and_an_empty_one_is_not(content_type: str) -> None:
    assert parse(b"", content_type).value == {}
    with pytest.raises(UnsupportedMediaType) as caught:
        parse(b"x", content_type)
    assert caught.value.body == {"detail": f'Unsupported media type "{content_type}" in request.'}


def test_a_form_keeps_the_last_of_repeated_fields() -> None:
    body = parse(b"a=1&a=%C3%A9+2&b=", "application/x-www-form-urlencoded")
    assert (body.value, body.is_form) == ({"a": "é 2", "b": ""}, True)


@pytest.mark.parametrize(
    ("piece", "most", "what"),
    [(b"a=1&", 1000, "fields"), (b"%C3%A9", 15_000, "escaped bytes")],
)
def test_a_form_of_too_many_fields_or_escapes_is_refused(
    piece: bytes, most: int, what: str
) -> None:
    """Fields end at an ampersand, so that the last one is empty."""
    assert parse(b"b=" + piece * (most - 1), "application/x-www-form-urlencoded").value
    with pytest.raises(Malformed, match=rf"must not have more than \d+ {what}") as caught:
        parse(b"b=" + piece * (most + 1), "application/x-www-form-urlencoded")
    assert caught.value.kind == "too-many-values"


def test_a_multipart_form_of_too_many_parts_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = b'--X\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n1\r\n'
    form = b"".join(part % number for number in range(100))
    assert len(parse(form + b"--X--\r\n", "multipart/form-data; boundary=X").value) == 100
    assert len(parse(b"\r\n" + form + b"--X--\r\n", "multipart/form-data; boundary=X").value) == 100
    form += part % 100
    with pytest.raises(Malformed, match="Multipart form parse error"):
        parse(form + b"--X--\r\n", "multipart/form-data; boundary=X")
    monkeypatch.setattr("sbm.web.http.bodies.MultipartParser", None)
    with pytest.raises(Malformed, match="must not have more than 100 parts") as caught:
        parse(form + part % 101 + b"--X--\r\n", "multipart/form-data; boundary=X")
    assert caught.value.kind == "too-many-values"


def test_a_multipart_form_has_texts_and_files() -> None:
    raw = (
        b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--X\r\nContent-Disposition: form-data; name="f"; filename="n.png"\r\n\r\n'
        b"\x89P\r\n--X--\r\n"
    )
    value = parse(raw, "multipart/form-data; boundary=X").value
    assert value == {"a": "1", "f": UploadedFile(name="n.png", content=b"\x89P")}


def test_a_broken_multipart_form_is_refused() -> None:
    with pytest.raises(Malformed):
        parse(b"--X\r\nnonsense", "multipart/form-data; boundary=X")
