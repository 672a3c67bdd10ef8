"""Who may do what: every path and method of the description, by every kind of caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve

from sbm.model.user import PERMISSIONS, USUAL
from sbm.operations import users
from sbm.web.api import Root
from sbm.web.description import describe
from tests.arrange import arranged
from tests.web.conftest import SCHEDULER_TOKEN, Api, a_scheduling, served

PATHS = describe("1.2.3")["paths"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
FORBIDDEN = "You do not have permission to perform this action."

VIEW, FIND = "view_behindsubscription", "can_find_behind_subscriptions"
SENDS = ("/api/v1/schedule/{id}/send/", "/api/v1/subscriptions/{id}/send")

# Paths that nobody has to be known for.
OPEN = {"/livez", "/readyz", "/metrics", "/media/{name}", "/docs/", "/api/v1/openapi.json"}
LOG_IN = "/api/token-auth/"


def each(read: str = "", write: str = "", whole: str = "") -> dict[str, list[str]]:
    """The permissions by method: for reads, for writes, and for all that may be asked."""
    own = {"GET": read, "HEAD": read, "OPTIONS": ""}
    return {method: [one for one in (whole, own.get(method, write)) if one] for method in METHODS}


# What the service promises, written once more beside what it declares.
CONTENT = each(write="content.edit")
PEOPLE = each("people.read", "people.act")
OPERATE = each(write="operate")
EXPECTED = {
    "/api/v1/": each(),
    "/api/v1/schedule/": CONTENT,
    "/api/v1/schedule/{id}/": CONTENT,
    "/api/v1/schedule/{id}/send/": OPERATE,
    "/api/v1/messageset/": CONTENT,
    "/api/v1/messageset/{id}/": CONTENT,
    "/api/v1/messageset/{id}/messages/": each(),
    "/api/v1/messageset_languages/": each(),
    "/api/v1/message/": CONTENT,
    "/api/v1/message/{id}/": CONTENT,
    "/api/v1/message/{id}/content/": each(),
    "/api/v1/binarycontent/": CONTENT,
    "/api/v1/binarycontent/{id}/": CONTENT,
    "/api/v1/subscriptions/": PEOPLE,
    "/api/v1/subscriptions/{id}/": PEOPLE,
    "/api/v1/subscriptions/request": PEOPLE,
    "/api/v1/subscriptions/{id}/send": OPERATE,
    "/api/v1/subscriptions/{id}/resend": OPERATE,
    "/api/v1/behind-subscriptions/": each("people.read", whole=VIEW),
    "/api/v1/behind-subscriptions/{id}/": each("people.read", whole=VIEW),
    "/api/v1/behind-subscriptions/find_behind_subscriptions/": each(whole=FIND),
    "/api/v1/runsendestimate": OPERATE,
    "/api/v1/send-estimates/": each(),
    "/api/v1/ticks/": each(),
    "/api/v1/ticks/{id}/": each(),
    "/api/v1/ticks/{id}/release/": OPERATE,
    "/api/v1/pauses/": OPERATE,
    "/api/v1/pauses/{id}/": OPERATE,
    "/api/v1/pauses/{id}/resume/": OPERATE,
    "/api/v1/failed-tasks/": each("people.read", "operate"),
    "/api/v1/failed-tasks/{id}/": each("people.read", "operate"),
    "/api/v1/failed-tasks/{id}/requeue": OPERATE,
    "/api/v1/tasks/": each("operate"),
    "/api/v1/tasks/{id}/": each("operate"),
    "/api/v1/sync_audio_files/": OPERATE,
    "/api/v1/user/token/": each(whole="administer"),
    "/api/v1/users/": each(whole="administer"),
    "/api/v1/users/{id}/": each(whole="administer"),
    "/api/v1/tokens/": each(whole="administer"),
    "/api/v1/tokens/{id}/": each(whole="administer"),
    "/api/v1/ledger/": each("people.read"),
    "/api/v1/message-versions/": each(),
    "/api/v1/message-versions/{id}/": each(),
    "/api/v1/deliveries/": each("people.read"),
    "/api/v1/undelivered-people/": each("people.read"),
    "/api/v1/identities/{identity}/timeline/": each("people.read"),
    "/api/v1/simulations/": each(write="people.read"),
    "/api/v1/silent/": each("people.read"),
    "/api/v1/silent/{id}/": each("people.read"),
    "/api/v1/silent/counts/": each("people.read"),
    "/api/v1/silent/search/": OPERATE,
    "/api/v1/intake/": each("people.read"),
    "/api/v1/intake/{id}/": each("people.read"),
    "/api/v1/intake/counts/": each("people.read"),
    "/api/v1/audit/": each(whole="administer"),
    "/api/v1/audit/{id}/": each(whole="administer"),
    "/api/v1/audit/{id}/undo/": each(whole="administer"),
    "/api/v1/identities/{identity}/forget/": each(whole="administer"),
    "/api/v1/identities/{identity}/export/": each(whole="administer"),
    "/api/metrics/": OPERATE,
    "/api/health/": each(),
    LOG_IN: each(),
    **dict.fromkeys(OPEN, each()),
}

# What each kind of caller holds; None: they are not known.
EVERYTHING = frozenset(PERMISSIONS)
HELD: dict[str, frozenset[str] | None] = {
    "nobody": None,
    "wrong": None,
    "revoked": None,
    "disabled": None,
    "expired": None,
    "scheduler": frozenset(),
    "usual": USUAL,
    "administrator": EVERYTHING,
    "limited": frozenset(),
    **{one: EVERYTHING if one == "administer" else frozenset({one}) for one in PERMISSIONS},
}


async def token_of(api: Api, kind: str, database_uri: str) -> str:
    """The token that this kind of caller shows."""
    fixed = {"nobody": "", "wrong": "f" * 40, "scheduler": SCHEDULER_TOKEN}
    if kind in fixed:
        return fixed[kind]
    transact = api.database.transact
    is_usual = kind in ("usual", "administrator")
    await transact(
        users.create,
        username=kind,
        limited=not is_usual,
        admin=kind == "administrator",
        permissions=[kind] if kind in PERMISSIONS else [],
    )
    token = await transact(users.create_token, email=kind)
    ends = {
        "revoked": "UPDATE tokens SET revoked_at = now()",
        "expired": "UPDATE tokens SET expires_at = now()",
        "disabled": "UPDATE users SET is_active = false",
    }
    if kind in ends:
        await transact(users.grant, username=kind, permission="administer")
        with arranged(database_uri) as direct:
            direct.rows(ends[kind])
    return token


def methods_of(path: str) -> Iterator[str]:
    """All that are described, and some that are not."""
    yield from METHODS
    yield from ("TRACE", "PROPFIND")


def expected(kind: str, path: str, method: str) -> int | None:
    """The status of a refusal; None: this caller is not refused."""
    held = HELD[kind]
    if path in OPEN or (path == LOG_IN and kind == "nobody"):
        return None
    if held is None:
        return 401
    if kind == "scheduler" and path in SENDS:
        return None
    if kind == "scheduler":
        return 403
    is_known = method.lower() in PATHS[path]
    needed = EXPECTED[path]["OPTIONS" if not is_known else method]
    return None if held.issuperset(needed) else 403


@pytest.mark.parametrize("kind", HELD)
@pytest_twisted.ensureDeferred
async def test_every_method_is_for_those_alone_who_may(
    api: Api, database_uri: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A wrong token is refused by memory for five seconds, and then it is one guess too many.
    monkeypatch.setattr("sbm.web.http.credential_guard.FREE", 10_000)
    token = await token_of(api, kind, database_uri)
    wrong = []
    for path in PATHS:
        for method in methods_of(path):
            target = re.sub(r"{[^}]+}", "999", path)
            body = "{}" if method in ("POST", "PUT", "PATCH") else None
            answer = await api.call(method, target, body, token=token)
            refused = answer.status if answer.status in (401, 403) else None
            if refused != expected(kind, path, method):
                wrong.append(f"{method} {path}: {answer.status}")
            if refused == 403 and method != "HEAD":
                wrong += told_badly(kind, path, method, answer.json["detail"])
    assert wrong == []


def told_badly(kind: str, path: str, method: str, detail: str) -> list[str]:
    """What is wrong with the sentence of a refusal: it names what is missing, but for old paths."""
    held = HELD[kind] or frozenset()
    missing = (
        next((one for one in EXPECTED[path][method] if one not in held), "")
        if (method in METHODS)
        else ""
    )
    is_old = missing in (VIEW, FIND) or path == "/api/v1/user/token/"
    if kind == "scheduler" or is_old:
        named = detail == FORBIDDEN or kind == "scheduler"
    else:
        named = detail.startswith(FORBIDDEN) and missing in detail
    return [] if named else [f"{method} {path}: {detail}"]


def test_the_description_names_what_is_needed() -> None:
    assert PATHS.keys() == EXPECTED.keys()
    for path, item in PATHS.items():
        for method in METHODS:
            described = item.get(method.lower())
            if described is not None:
                assert described["x-permissions"] == EXPECTED[path][method], f"{method} {path}"
                for scheme in described["security"]:
                    assert list(scheme.values()) == [EXPECTED[path][method]]


def test_no_route_is_left_out() -> None:
    def plain(path: str) -> str:
        return re.sub(r"<[^>]+>|{[^}]+}", "*", path).rstrip("/")

    # Those of the console are in tests/console/test_routes.py.
    routes = {plain(rule.rule) for rule in Root.app.url_map.iter_rules()}
    assert routes - {"", "/console", "/console/*"} == {plain(path) for path in EXPECTED}


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/v1/nothere", "/api/v1/users/1/password", "/api/v1/tokens/1/token", "/media/a/b"],
)
@pytest_twisted.ensureDeferred
async def test_paths_that_are_none_tell_nobody_anything(api: Api, path: str) -> None:
    for token in ("", "wrong", api.user_token, api.token, SCHEDULER_TOKEN):
        for method in METHODS:
            assert (await api.call(method, path, token=token)).status == 404


@pytest_twisted.ensureDeferred
async def test_an_expired_token_is_told_so(api: Api, database_uri: str) -> None:
    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    token = await api.database.transact(users.create_token, email="bob", expires_at=soon)
    assert (await api.get("/api/v1/schedule/", token=token)).status == 200
    with arranged(database_uri) as direct:
        direct.rows("UPDATE tokens SET expires_at = now() WHERE name = '' AND user_id = 3")
    answer = await api.get("/api/v1/schedule/", token=token)
    assert (answer.status, answer.json) == (401, {"detail": "Token expired."})
    assert answer.header("WWW-Authenticate") == 'Basic realm="api"'


class TestPublishing:
    """Whoever may only edit prepares content that nobody gets yet."""

    @staticmethod
    async def editor(api: Api, *permissions: str) -> str:
        """A token of an editor."""
        await api.database.transact(
            users.create,
            username="editor",
            limited=True,
            permissions=["content.edit", *permissions],
        )
        return await api.database.transact(users.create_token, email="editor")

    @pytest_twisted.ensureDeferred
    async def test_a_new_set_is_prepared_without_it(self, api: Api) -> None:
        token = await self.editor(api)
        schedule = await api.post("/api/v1/schedule/", {}, token=token)
        assert schedule.status == 201
        body = {"short_name": "new", "default_schedule": schedule.json["id"]}
        made = await api.post("/api/v1/messageset/", body, token=token)
        assert made.status == 201
        message = {"messageset": made.json["id"], "sequence_number": 1, "lang": "eng"}
        first = await api.post("/api/v1/message/", message | {"text_content": "x"}, token=token)
        assert first.status == 201
        paths = [f"schedule/{schedule.json['id']}", f"messageset/{made.json['id']}"]
        for path in [f"message/{first.json['id']}", *paths]:
            assert (await api.call("PATCH", f"/api/v1/{path}/", {}, token=token)).status == 200
        for path in [f"message/{first.json['id']}", *reversed(paths)]:
            assert (await api.call("DELETE", f"/api/v1/{path}/", token=token)).status == 204

    @pytest.mark.parametrize("way", ["on it", "on the set before the set before"])
    @pytest_twisted.ensureDeferred
    async def test_what_people_get_needs_it(self, api: Api, way: str, database_uri: str) -> None:
        token = await self.editor(api)
        schedule = (await api.made("schedule"))["id"]
        on = (await api.made("schedule"))["id"]
        messageset = (await api.made("messageset", short_name="x", default_schedule=schedule))["id"]
        beside = (await api.made("messageset", short_name="y", default_schedule=on))["id"]
        text = {"lang": "eng", "text_content": "x"}
        message = await api.made("message", messageset=messageset, sequence_number=1, **text)
        other = await api.made("message", messageset=beside, sequence_number=1, **text)
        begun = messageset
        if way != "on it":
            for name in ("b", "c"):
                fields = {"short_name": name, "next_set": begun, "default_schedule": schedule}
                begun = (await api.made("messageset", **fields))["id"]
        writes = [
            ("PATCH", f"schedule/{schedule}", {"minute": "5"}),
            ("DELETE", f"schedule/{schedule}", None),
            ("PATCH", f"messageset/{messageset}", {"label": "x"}),
            ("PUT", f"message/{message['id']}", message),
            ("DELETE", f"message/{message['id']}", None),
            ("POST", "message", {"messageset": messageset, "sequence_number": 2, **text}),
            ("PATCH", f"message/{other['id']}", {"messageset": messageset, "sequence_number": 3}),
            ("DELETE", f"messageset/{messageset}", None),
        ]
        with arranged(database_uri) as direct:
            before = direct.rows("SELECT * FROM messages ORDER BY id")
            subscription = await api.subscription(messageset=begun, schedule=on)
            for method, path, body in writes:
                answer = await api.call(method, f"/api/v1/{path}/", body, token=token)
                assert answer.status == 403, (method, path)
                assert answer.json["detail"].endswith("it needs content.publish.")
            assert direct.rows("SELECT * FROM messages ORDER BY id") == before
        await api.database.transact(users.grant, username="editor", permission="content.publish")
        answer = await api.call("PATCH", f"/api/v1/messageset/{messageset}/", {}, token=token)
        assert answer.status == 200
        await api.database.transact(users.revoke, username="editor", permission="content.publish")
        path = f"/api/v1/subscriptions/{subscription['id']}/"
        assert (await api.call("PATCH", path, {"active": False})).status == 200
        for method, path, body in writes[2:-1]:
            answer = await api.call(method, f"/api/v1/{path}/", body, token=token)
            assert answer.status < 300, (method, path)

    @pytest_twisted.ensureDeferred
    async def test_a_schedule_that_people_are_on_needs_it(self, api: Api) -> None:
        token = await self.editor(api)
        subscription = await api.subscription()
        path = f"/api/v1/schedule/{subscription['schedule']}/"
        assert (await api.call("PATCH", path, {}, token=token)).status == 403
        assert (await api.call("PATCH", path, {}, token=api.user_token)).status == 200


class TestSchedulersToken:
    """It may call the two send endpoints, unless a user has the same token."""

    async def shared(self, api: Api, database_uri: str, **user: Any) -> None:
        """A user with the token of the Scheduler."""
        await api.database.transact(users.create, username="hub", **user)
        with arranged(database_uri) as direct:
            direct.rows(
                "INSERT INTO tokens (user_id, digest)"
                " SELECT id, sha256(%s) FROM users WHERE username = 'hub'",
                SCHEDULER_TOKEN.encode(),
            )

    @pytest_twisted.ensureDeferred
    async def test_a_user_with_the_same_token_may_what_the_user_may(
        self, api: Api, database_uri: str
    ) -> None:
        made = await api.subscription()
        await self.shared(api, database_uri, limited=True, permissions=["people.read"])
        schedule = f"/api/v1/schedule/{made['schedule']}/"
        send = f"/api/v1/subscriptions/{made['id']}/send"
        assert (await api.get("/api/v1/subscriptions/", token=SCHEDULER_TOKEN)).status == 200
        assert (await api.call("PATCH", schedule, {}, token=SCHEDULER_TOKEN)).status == 403
        resend = f"/api/v1/subscriptions/{made['id']}/resend"
        assert (await api.post(resend, token=SCHEDULER_TOKEN)).status == 403
        assert (await api.post(f"{schedule}send/", token=SCHEDULER_TOKEN)).status == 202
        await api.database.transact(users.set_active, username="hub", is_active=False)
        assert (await api.get("/api/v1/subscriptions/", token=SCHEDULER_TOKEN)).status == 401
        assert (await api.post(send, token=SCHEDULER_TOKEN)).status in (200, 201)
        assert (await api.post(f"{schedule}send/", token=SCHEDULER_TOKEN)).status == 202

    @pytest.mark.parametrize("end", ["revoked_at", "expires_at"])
    @pytest_twisted.ensureDeferred
    async def test_a_token_that_is_no_longer_live_is_the_schedulers_alone(
        self, api: Api, database_uri: str, end: str
    ) -> None:
        made = await api.subscription()
        await self.shared(api, database_uri)
        assert (await api.get("/api/v1/schedule/", token=SCHEDULER_TOKEN)).status == 200
        with arranged(database_uri) as direct:
            direct.rows(
                "UPDATE tokens SET revoked_at = CASE %s WHEN 'revoked_at' THEN now() END,"
                " expires_at = now() WHERE digest = sha256('scheduler-token')",
                end,
            )
        assert (await api.get("/api/v1/schedule/", token=SCHEDULER_TOKEN)).status == 403
        send = f"/api/v1/schedule/{made['schedule']}/send/"
        assert (await api.post(send, token=SCHEDULER_TOKEN)).status == 202

    @pytest_twisted.ensureDeferred
    async def test_each_of_several_tokens_is_the_schedulers(
        self, database_uri: str, tmp_path: Path
    ) -> None:
        scheduling = evolve(a_scheduling(), other_inbound_tokens=("old", "older"))
        async with served(database_uri, tmp_path, scheduling=scheduling) as api:
            path = "/api/v1/schedule/999/"
            for token in (SCHEDULER_TOKEN, "old", "older"):
                assert (await api.post(f"{path}send/", token=token)).status == 404
                assert (await api.get(path, token=token)).status == 403
            assert (await api.post(f"{path}send/", token="oldest")).status == 401
