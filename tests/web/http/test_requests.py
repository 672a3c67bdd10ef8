"""What every request meets, whatever it is about."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from sbm.operations import users
from sbm.web.http.body_limits import USUAL_BYTES
from sbm.web.resources import schedules
from tests.arrange import arranged
from tests.web.conftest import IDENTITY, SCHEDULER_TOKEN, Api, reactor

NOT_PROVIDED = "Authentication credentials were not provided."


class RawConnection(Protocol):
    """Sends bytes, and collects what comes until the other side hangs up."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.ended.callback(self.received)


async def said(api: Api, sent: bytes) -> bytes:
    """What the server answers to just these bytes."""
    conversation = RawConnection()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", api.port)
    await connectProtocol(endpoint, conversation)
    assert conversation.transport is not None
    conversation.transport.write(sent)
    return await conversation.ended


def raw_request(api: Api, line: str, *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", "Connection: close", f"Authorization: Token {api.token}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("authorization", "detail"),
    [
        (None, NOT_PROVIDED),
        ("", NOT_PROVIDED),
        ("Bearer x", NOT_PROVIDED),
        ("Token", "Invalid token header. No credentials provided."),
        ("Token a b", "Invalid token header. Token string should not contain spaces."),
        ("Token é", "Invalid token header. Token string should not contain invalid characters."),
        ("Token " + "d" * 40, "Invalid token."),
        (f"Token {SCHEDULER_TOKEN}x", "Invalid token."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_is_not_known_is_told_so_before_anything_else(
    api: Api, authorization: str | None, detail: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await api.send("PATCH", "/api/v1/schedule/", "{nope", headers)
    assert (answer.status, answer.json) == (401, {"detail": detail})
    assert answer.header("WWW-Authenticate") == 'Basic realm="api"'
    assert answer.header("Allow") == "GET, POST, HEAD, OPTIONS"


@pytest_twisted.ensureDeferred
async def test_a_revoked_token_and_an_inactive_user_are_refused(
    api: Api, database_uri: str
) -> None:
    revoked = await api.database.transact(users.create_token, email="a@example.org", admin=False)
    inactive = await api.database.transact(users.create_token, email="b@example.org", admin=False)
    with arranged(database_uri) as direct:
        direct.rows(
            "UPDATE tokens SET revoked_at = now() FROM users"
            " WHERE users.id = user_id AND email = 'a@example.org'"
        )
        direct.rows("UPDATE users SET is_active = false WHERE email = 'b@example.org'")
    first = await api.get("/api/v1/", token=revoked)
    assert first.json == {"detail": "Invalid token."}
    second = await api.get("/api/v1/", token=inactive)
    assert second.json == {"detail": "User inactive or deleted."}


@pytest_twisted.ensureDeferred
async def test_the_scheduler_is_known_by_the_token_that_it_was_given(api: Api) -> None:
    for authorization in (f"Token {SCHEDULER_TOKEN}", f"tOKEN   {SCHEDULER_TOKEN}"):
        path = "/api/v1/schedule/1/send/"
        answer = await api.send("POST", path, None, {"Authorization": authorization})
        assert answer.status == 404


@pytest_twisted.ensureDeferred
async def test_two_authorization_headers_are_none(api: Api) -> None:
    extra = f"Authorization: Token {api.token}"
    reply = await said(api, raw_request(api, "GET /api/v1/", "Host: h", extra))
    assert b" 401 " in reply
    assert b"should not contain spaces" in reply


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1/nothere/",
        "/api/v1/Schedule/",
        "/api/v1/schedule/1/nothere",
        "/api/v1//schedule/",
        "/api/v1/schedule//",
        "/api/health/abc",
        "/api/v1/schedule/%ff/",
        "/media/nothere",
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_unknown_path_is_not_found_in_json(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.json) == (404, {"detail": "Not found."})
    assert answer.header("Content-Type") == "application/json"


@pytest.mark.parametrize(
    "number", ["0", "-1", "+1", "%201", "1.0", "abc", "1%00", "%D9%A1", "2147483648", "1" * 30]
)
@pytest_twisted.ensureDeferred
async def test_an_id_that_is_none_is_not_found(api: Api, number: str) -> None:
    await api.made("schedule")
    answer = await api.get(f"/api/v1/schedule/{number}/")
    assert (answer.status, answer.json) == (404, {"detail": "Not found."})
    assert answer.header("Allow") == "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"


@pytest_twisted.ensureDeferred
async def test_a_method_that_the_path_does_not_know_is_refused(api: Api) -> None:
    for method, path in (("PATCH", "/api/v1/schedule/"), ("HEAD", "/api/v1/subscriptions/request")):
        answer = await api.call(method, path)
        assert answer.status == 405
    answer = await api.call("TRACE", "/api/v1/schedule/")
    assert answer.json == {"detail": 'Method "TRACE" not allowed.'}


@pytest_twisted.ensureDeferred
async def test_head_is_get_without_the_body(api: Api) -> None:
    got, head = await api.get("/api/v1/schedule/"), await api.call("HEAD", "/api/v1/schedule/")
    assert (head.status, head.text) == (200, "")
    assert head.header("Content-Length") == str(len(got.text))


@pytest_twisted.ensureDeferred
async def test_options_tells_of_the_fields(api: Api) -> None:
    answer = await api.call("OPTIONS", "/api/v1/messageset/")
    assert answer.json["actions"]["POST"]["short_name"] == {
        "type": "string",
        "required": True,
        "read_only": False,
        "label": "Short name",
        "max_length": 100,
    }


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json; indent=4", 200),
        ("text/html,*/*;q=0.1", 200),
        ("text/html", 200),
        ("application/xml", 406),
        ("application/json;q=0", 406),
    ],
)
@pytest_twisted.ensureDeferred
async def test_json_is_sent_unless_it_is_excluded_outright(
    api: Api, accept: str, status: int
) -> None:
    assert (await api.get("/api/v1/", Accept=accept)).status == status


@pytest_twisted.ensureDeferred
async def test_urls_follow_the_host_header(api: Api) -> None:
    reply = await said(api, raw_request(api, "GET /api/v1/", "Host: sbm.example.org:81"))
    assert b'"http://sbm.example.org:81/api/v1/subscriptions/"' in reply


@pytest_twisted.ensureDeferred
async def test_a_target_may_be_a_whole_url(api: Api) -> None:
    for target in ("http://h/api/v1/#x", "HTTP://H:80/api/v1/", "https://h:443/api/v1/?x=1"):
        reply = await said(api, raw_request(api, f"GET {target}", "Host: h"))
        assert b'"http://h/api/v1/subscriptions/"' in reply


@pytest.mark.parametrize("target", ["http://other/api/v1/", "http://h:81/api/v1/", "http://u@h/"])
@pytest_twisted.ensureDeferred
async def test_the_host_of_a_whole_url_is_that_of_the_header(api: Api, target: str) -> None:
    reply = await said(api, raw_request(api, f"GET {target}", "Host: h"))
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"The host of the target is not that of the Host header." in reply


@pytest.mark.parametrize(
    "headers",
    [
        ("Transfer-Encoding: identity", "Content-Length: 2"),
        ("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: chunked", "Content-Length: 2"),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: identity",),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_body_has_one_end_for_all_who_read_it(api: Api, headers: tuple[str, ...]) -> None:
    start = raw_request(api, "POST /api/v1/schedule/", "Host: h", *headers)
    assert (await said(api, start + b"{}")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", ["/api%2Fv1/", "/api/v1%2Fschedule/", "/api/v1/schedule%2F"])
@pytest_twisted.ensureDeferred
async def test_an_encoded_slash_divides_no_parts(api: Api, path: str) -> None:
    assert (await api.get(path)).status == 404


@pytest_twisted.ensureDeferred
async def test_a_bad_host_header_is_refused(api: Api) -> None:
    reply = await said(api, raw_request(api, "GET /api/v1/", "Host: a b/c"))
    assert b" 400 " in reply
    assert b'{"detail":"Invalid Host header."}' in reply


@pytest_twisted.ensureDeferred
async def test_a_body_of_up_to_a_mebibyte_is_read_and_a_larger_one_refused(api: Api) -> None:
    padding = b" " * (USUAL_BYTES - 2)
    assert (await api.post("/api/v1/schedule/", b"{}" + padding)).status == 201
    answer = await api.post("/api/v1/schedule/", b"{}" + padding + b" ")
    assert (answer.status, list(answer.json)) == (413, ["detail"])


@pytest_twisted.ensureDeferred
async def test_a_chunked_body_has_the_same_limit(api: Api) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    headers = ("Host: h", "Content-Type: application/json", "Transfer-Encoding: chunked")
    start = raw_request(api, "POST /api/v1/schedule/", *headers)
    assert b" 413 " in await said(api, start + chunk * 17 + b"0\r\n\r\n")


@pytest.mark.parametrize("body", ['{"minute": "\\ud800"}', '{"minute": "\\u0000"}', "[" * 10_000])
@pytest_twisted.ensureDeferred
async def test_hostile_json_is_the_clients_mistake(api: Api, body: str) -> None:
    assert (await api.post("/api/v1/schedule/", body)).status == 400


@pytest_twisted.ensureDeferred
async def test_without_the_database_clients_are_asked_to_come_back(api: Api) -> None:
    api.database.stopService()
    answer = await api.get("/api/v1/schedule/")
    assert (answer.status, answer.header("Retry-After")) == (503, "5")
    assert list(answer.json) == ["detail"]


@pytest_twisted.ensureDeferred
async def test_health_says_what_is_up(api: Api) -> None:
    answer = (await api.get("/api/health/")).json
    assert (answer["up"], answer["result"]["database"]) == (True, "Accessible")
    assert answer["result"]["version"] == "1.2.3"
    assert list(answer["result"]["libraries"]) == ["twisted", "klein", "psycopg2"]


@pytest.mark.parametrize("token", [SCHEDULER_TOKEN, "x" * 40])
@pytest_twisted.ensureDeferred
async def test_health_says_that_the_database_is_down_even_where_nobody_can_be_known(
    api: Api, token: str
) -> None:
    api.database.stopService()
    answer = await api.get("/api/health/", token=token)
    assert (answer.status, answer.json["up"]) == (503, False)


@pytest_twisted.ensureDeferred
async def test_a_defect_is_an_internal_error_without_details(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken_find(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    broken = evolve(schedules.RESOURCE, find=broken_find)
    monkeypatch.setattr(schedules.Schedules, "resource", broken)
    answer = await api.get("/api/v1/schedule/1/")
    assert (answer.status, answer.json) == (500, {"detail": "Internal server error."})
    assert answer.header("Allow") == "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"


@pytest_twisted.ensureDeferred
async def test_a_file_is_served_without_a_token_and_nothing_else_is(api: Api) -> None:
    (api.media_root / "a.png").write_bytes(b"\x89PNG")
    (api.media_root / "folder").mkdir()
    (api.media_root / "link").symlink_to("/etc/hostname")
    answer = await api.call("HEAD", "/media/a.png", token="")
    assert (answer.status, answer.header("Content-Type")) == (200, "image/png")
    assert answer.header("X-Content-Type-Options") == "nosniff"
    for name in ("", "folder", "folder/", "link", "%2e%2e", "..%2fx", "a.png/", "%00"):
        assert (await api.get(f"/media/{name}", token="")).status == 404, name


@pytest_twisted.ensureDeferred
async def test_who_made_a_subscription_is_remembered(api: Api, database_uri: str) -> None:
    made = await api.subscription()
    schedule, messageset = made["schedule"], made["messageset"]
    data = {"identity": IDENTITY, "lang": "eng", "messageset": messageset, "schedule": schedule}
    await api.post("/api/v1/subscriptions/request", {"data": data}, token=api.user_token)
    with arranged(database_uri) as direct:
        rows = direct.rows(
            "SELECT username, created_by = updated_by AS same FROM subscriptions"
            " LEFT JOIN users ON users.id = created_by ORDER BY subscriptions.created_at"
        )
    assert [(row["username"], row["same"]) for row in rows] == [
        ("admin@example.org", True),
        ("user@example.org", True),
    ]


LONG = "Z" * 3000


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", f"/api/v1/subscriptions/{LONG}/send", {}, {}),
        ("POST", f"/api/v1/subscriptions/{LONG}/resend", {}, {}),
        ("POST", "/api/v1/schedule/", "x", {"Content_Type": LONG}),
        ("POST", "/api/v1/schedule/", {"minute": LONG, "hour": [LONG]}, {}),
        ("POST", "/api/v1/schedule/", f"[{LONG}]", {}),
        ("POST", "/api/v1/messageset/", {"content_type": LONG, "next_set": LONG}, {}),
        ("POST", "/api/v1/messageset/", {"content_type": {LONG: [LONG]}}, {}),
        ("POST", "/api/v1/messageset/", {"default_schedule": int("9" * 1000)}, {}),
        ("POST", "/api/v1/message/", {"text_content": LONG + "’" * 500, "lang": LONG}, {}),
        ("POST", "/api/v1/subscriptions/", {"identity": LONG, "process_status": LONG}, {}),
        ("POST", "/api/v1/subscriptions/request", {"data": {"messageset": "9" * 999}}, {}),
        ("GET", f"/api/v1/messageset/?content_type={LONG}", None, {}),
        ("GET", f"/api/v1/subscriptions/?messageset={LONG}&created_after={LONG}", None, {}),
        ("GET", f"/api/v1/failed-tasks/?kind={LONG}&stage={LONG}", None, {}),
        ("POST", f"/api/v1/failed-tasks/?{LONG}=1", None, {}),
        ("GET", f"/api/v1/subscriptions/?cursor={LONG}", None, {}),
        ("GET", "/api/v1/", None, {"Authorization": f"Token {LONG}"}),
        ("POST", "/api/v1/subscriptions/request", {"data": {}}, {"Idempotency_Key": LONG[:400]}),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest_twisted.ensureDeferred
async def test_errors_echo_at_most_200_characters_of_what_was_sent(
    api: Api, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    answer = await api.call(method, path, body, **headers)
    assert answer.status >= 400
    for echo in answer.json.items():
        text = json.dumps(echo, ensure_ascii=False)
        assert sum(text.count(sent) for sent in ("Z", "9", "\u2019")) <= 200


@pytest_twisted.ensureDeferred
async def test_a_part_of_a_form_that_is_no_text_is_not_echoed_whole(api: Api) -> None:
    start = b'--B\r\nContent-Disposition: form-data; name="'
    part = start + b"Z" * 2000 + b'\xff"\r\n\r\nx\r\n--B--'
    headers = {"Content_Type": "multipart/form-data; boundary=B"}
    for path in ("/api/v1/schedule/", "/api/v1/binarycontent/"):
        answer = await api.post(path, part, **headers)
        assert (answer.status, answer.text.count("Z") <= 200) == (400, True)
