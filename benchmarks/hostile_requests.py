"""The attacks of hostile clients: floods, bodies, lists, connections, and odd requests.

Some clients have a token of a user, or a session of the console, and some have none.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from benchmarks.attackers import (
    Attack,
    ask,
    ask_once,
    drip,
    pour,
    read_nothing,
    say_nothing,
    serve,
)
from benchmarks.content import registration

USERS = 8
SESSION = "s" * 43

# The ids of what the benchmark has inserted: the usual message set and schedule are the first.
USUAL, HEAVY = 1, 2
SCHEDULE, TICKED = 1, 2

# The most that is accepted: 1,000 values in 16 KiB.
MOST_VALUES, MOST_BYTES = 1000, 2**14
_API = b"/api/v1/"
_HEAD = b"Host: 127.0.0.1\r\n"
_JSON = b"application/json"
_FORM = b"application/x-www-form-urlencoded"
_ENDLESS = b"Transfer-Encoding: chunked\r\n\r\n"


def token(number: int) -> str:
    """The token of one of the hostile users."""
    return f"{number % USERS:x}" * 40


def metadata(values: int = MOST_VALUES - 10, size: int = MOST_BYTES - 200) -> dict[str, Any]:
    """Metadata with about so many values, which are about ``size`` bytes of JSON."""
    return {"a": [[] for _ in range(values)], "b": "b" * max(0, size - 4 * values)}


def _get(path: bytes, *lines: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, _HEAD, b"".join(lines))


def _post(path: bytes, body: bytes, kind: bytes, *lines: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\n%bContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    return head % (path, _HEAD, kind, len(body), b"".join(lines)) + body


def _mine(number: int) -> bytes:
    return b"Authorization: Token %b\r\n" % token(number).encode("ascii")


def _token_of_nobody(number: int) -> bytes:
    return b"Authorization: Token %040x\r\n" % (number + 2**100)


def _password_of_nobody(number: int) -> bytes:
    return b"Authorization: Basic %b\r\n" % b64encode(b"user%d:wrong" % number)


def _subscription(number: int, data: Any) -> bytes:
    body = registration(messageset=USUAL, schedule=SCHEDULE)["data"]
    body |= {"messageset": HEAVY, "metadata": data}
    return _post(_API + b"subscriptions/", json.dumps(body).encode(), _JSON, _mine(number))


def _webhook(number: int, **more: Any) -> bytes:
    body = registration(messageset=USUAL, schedule=SCHEDULE)
    body["data"] |= more
    encoded = json.dumps(body).encode()
    return _post(_API + b"subscriptions/request", encoded, _JSON, _mine(number))


def _list(number: int, messageset: int) -> bytes:
    path = _API + b"subscriptions/?limit=1000&messageset=%d" % messageset
    return _get(path, _mine(number))


def _content(body: bytes, kind: bytes = _JSON) -> Any:
    return lambda number: _post(_API + b"messageset/", body, kind, _mine(number))


def _session(path: bytes) -> Any:
    request = _get(path, b"Cookie: sbm-local=%b\r\n" % SESSION.encode("ascii"))
    return lambda _: request


def _login(number: int) -> bytes:
    body = b"username=user%d&password=wrong" % number
    return _post(b"/console/login", body, _FORM, b"Sec-Fetch-Site: same-origin\r\n")


def _public(number: int) -> bytes:
    paths = (b"/metrics", b"/api/v1/openapi.json", b"/docs/", b"/console/login", b"/readyz")
    return _get(paths[number % len(paths)])


def _busy(number: int) -> bytes:
    kinds = (_token_of_nobody, _password_of_nobody)
    return _get(_API + b"schedule/1/", kinds[number % len(kinds)](number))


def _upload(*lines: bytes) -> bytes:
    kind = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 50000000\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a.mp3"\r\n\r\n'
    head = b"POST /api/v1/binarycontent/ HTTP/1.1\r\n"
    return head + _HEAD + kind + b"".join(lines) + b"\r\n" + part


# A proxy could see other requests in each of these than we do.
ODDITIES = (
    _post(_API, b"0\r\n\r\n", _JSON, b"Transfer-Encoding: chunked\r\n"),
    _post(_API, b"a", _JSON, b"Content-Length: 2\r\n"),
    _post(_API, b"a", _JSON, b"Transfer-Encoding: identity\r\n"),
    _post(_API, b"a", _JSON, b"Transfer-Encoding: chunked, gzip\r\n"),
    _post(_API, b"a", _JSON, b"Transfer-Encoding : chunked\r\n"),
    b"POST / HTTP/1.1\r\n" + _HEAD + b"Content-Length: +5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\n" + _HEAD + b"Content-Length: 5, 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\n" + _HEAD + _ENDLESS + b"0x1\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HEAD + _ENDLESS + b"-1\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HEAD + _ENDLESS + b"1;" + b"x" * 9000 + b"\r\n",
    b"POST / HTTP/1.0\r\n" + _HEAD + _ENDLESS + b"0\r\n\r\n",
    b"GET http://other/ HTTP/1.1\r\n" + _HEAD + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HEAD + _HEAD + b"\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HEAD + b" folded: yes\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HEAD + b"a\x00b: c\r\n\r\n",
    b"GET / HTTP/3.7\r\n" + _HEAD + b"\r\n",
    b"GET /%2e%2e/livez%00 HTTP/1.1\r\n" + _HEAD + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"get / HTTP/1.1\r\n" + _HEAD + b"\r\n",
)

_MIB = b'{"username":"' + b"a" * 2**20 + b'"}'
_LISTS = b"[" + b"[]," * 2600 + b"[]]"
_CREDENTIALS = b"/api/token-auth/"
_DEEP = b"[" * 400_000
_FIELDS = b"&".join(b"a%d=" % number for number in range(100_000))
_PARTS = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n\r\n' % number
    for number in range(10_000)
)
_CHUNKED_HEAD = b"POST %b HTTP/1.1\r\n" + _HEAD + b"Content-Type: " + _FORM + b"\r\n" + _ENDLESS
_TOO_MANY = metadata(values=9000, size=60_000)
_SLOW_HEAD = b"GET /livez HTTP/1.1\r\n"
_CHURNED = _get(b"/livez", b"Connection: close\r\n")

ATTACKS: dict[str, Attack] = {
    "1 MiB to token-auth": Attack(play=ask(lambda _: _post(_CREDENTIALS, _MIB, _JSON)), clients=20),
    "8 KiB of [] to token-auth": Attack(play=ask(lambda _: _post(_CREDENTIALS, _LISTS, _JSON))),
    "chunks without end to token-auth": Attack(
        play=pour(_CHUNKED_HEAD % _CREDENTIALS, b"1\r\na\r\n" * 1000)
    ),
    "wrong tokens": Attack(play=ask(lambda n: _get(_API + b"schedule/1/", _token_of_nobody(n)))),
    "wrong passwords": Attack(
        play=ask(lambda n: _get(_API + b"schedule/1/", _password_of_nobody(n)))
    ),
    "one wrong token": Attack(play=ask(lambda _: _get(_API + b"schedule/1/", _token_of_nobody(0)))),
    "lists of one user": Attack(play=ask(lambda _: _list(0, USUAL))),
    "lists of eight users": Attack(play=ask(lambda n: _list(n, USUAL))),
    "lists that nobody reads": Attack(play=read_nothing(lambda n: _list(n, USUAL))),
    "440 busy strangers": Attack(play=ask(_busy), clients=440),
    "440 busy users": Attack(play=ask(lambda n: _list(n, USUAL)), clients=440),
    "10,000 idle connections": Attack(play=say_nothing, clients=10_000),
    "slow heads": Attack(play=drip(_SLOW_HEAD, b"a: b\r\n", pause=1.0), clients=500),
    "slow bodies": Attack(play=drip(_CHUNKED_HEAD % _API, b"1\r\na\r\n", pause=1.0), clients=500),
    "a connection for each request": Attack(play=ask_once(lambda _: _CHURNED)),
    "ticks": Attack(
        play=ask(lambda n: _post(_API + b"schedule/%d/send/" % TICKED, b"", _JSON, _mine(n))),
        clients=10,
    ),
    "odd requests": Attack(play=ask_once(lambda n: ODDITIES[n % len(ODDITIES)])),
    "malformed JSON": Attack(play=ask(_content(b'{"short_name": "a", "b": ' + b"x" * 1000))),
    "1 MiB of malformed JSON": Attack(play=ask(_content(b'{"a":"' + b"\\u00e9" * 170_000))),
    "deep nesting": Attack(play=ask(_content(_DEEP))),
    "nesting below the limit": Attack(play=ask(_content(b"[" * 9000 + b"]" * 9000))),
    "form of 100,000 fields": Attack(play=ask(_content(_FIELDS, _FORM))),
    "form of 1,000 fields": Attack(play=ask(_content(_FIELDS[:6_000], _FORM))),
    "form of 300,000 escapes": Attack(play=ask(_content(b"a=" + b"%41" * 300_000, _FORM))),
    "form of 9,999 parts": Attack(
        play=ask(_content(_PARTS + b"--x--", b"multipart/form-data; boundary=x"))
    ),
    "form without end": Attack(
        play=pour(_CHUNKED_HEAD % (_API + b"messageset/"), b"1000\r\n" + b"a=1&" * 1024 + b"\r\n")
    ),
    "one header without end": Attack(play=pour(_SLOW_HEAD + b"a: ", b"b" * 4096)),
    "headers without end": Attack(play=pour(_SLOW_HEAD, b"a: b\r\n" * 700)),
    "31 KiB of headers": Attack(
        play=ask(lambda _: _get(b"/livez", *(b"a%d: %b\r\n" % (n, b"b" * 330) for n in range(90))))
    ),
    "pipelined requests": Attack(play=ask(lambda _: _get(b"/livez"), at_once=100)),
    "pipelined requests, unread": Attack(
        play=read_nothing(lambda _: _get(b"/api/v1/openapi.json"), at_once=100)
    ),
    "wrong webhooks": Attack(play=ask(lambda n: _webhook(n, lang="not a language", messageset=99))),
    "webhooks with metadata at the limit": Attack(
        play=ask(lambda n: _webhook(n, messageset=HEAVY, metadata=metadata()))
    ),
    "logins at the console": Attack(play=ask(_login)),
    "pages of the console": Attack(play=ask(_session(b"/console/"))),
    "pages of the console with lists": Attack(play=ask(_session(b"/console/audit/"))),
    "public documents": Attack(play=ask(_public)),
    "uploads of nobody": Attack(play=pour(_upload(), b"a" * 2**16)),
    "uploads of a user": Attack(play=pour(_upload(_mine(0)), b"a" * 2**16), clients=20),
    "light reads": Attack(play=ask(lambda n: _get(_API + b"schedule/1/", _mine(n)))),
    "metadata at the limit": Attack(play=ask(lambda n: _subscription(n, metadata())), clients=20),
    "too much metadata": Attack(play=ask(lambda n: _subscription(n, _TOO_MANY)), clients=20),
    "lists of metadata at the limit": Attack(play=ask(lambda n: _list(n, HEAVY))),
}

if __name__ == "__main__":
    serve(ATTACKS)
