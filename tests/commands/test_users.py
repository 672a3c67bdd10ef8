"""``sbm user`` and ``sbm token``, as an operator runs them."""

from __future__ import annotations

import re

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED, MISUSED, CommandFailed
from sbm.commands.users import password_from
from sbm.model import password
from sbm.model.user import PERMISSIONS
from tests.arrange import Arranged
from tests.commands.operator import Sbm


def worth(direct: Arranged) -> int:
    """How many tokens are of any worth."""
    return int(direct.value("SELECT count(*) FROM tokens WHERE revoked_at IS NULL"))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" s \t", " s \t"),
        (b"secret\r\n", "secret\r"),
        ("pässwörd\n".encode(), "pässwörd"),
    ],
)
def test_a_password_is_taken_as_it_is_but_for_one_newline(raw: bytes, expected: str) -> None:
    assert password_from(raw) == expected


@pytest.mark.parametrize("raw", [b"", b"\n", b"\xff"])
def test_no_password_is_none(raw: bytes) -> None:
    with pytest.raises(CommandFailed, match="standard input"):
        password_from(raw)


@ensureDeferred
async def test_a_user_is_made_with_all_that_is_said_of_her(sbm: Sbm, direct: Arranged) -> None:
    options = ("--email", "b@example.org", "--admin", "--password-stdin")
    assert (await sbm("user", "create", "bob", *options, stdin=b" pw\n")).status == 0
    (row,) = direct.rows("SELECT * FROM users")
    assert (row["username"], row["email"], row["is_admin"]) == ("bob", "b@example.org", True)
    assert password.verify(" pw", row["password"])


@ensureDeferred
async def test_a_user_of_little_words_has_no_password_and_no_rights(
    sbm: Sbm, direct: Arranged
) -> None:
    assert (await sbm("user", "create", "ann@example.org")).status == 0
    (row,) = direct.rows("SELECT * FROM users")
    assert (row["email"], row["is_admin"], row["password"]) == ("ann@example.org", False, None)


@ensureDeferred
async def test_a_name_that_is_taken_is_left_alone(sbm: Sbm, direct: Arranged) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('bob')")
    outcome = await sbm("user", "create", "bob", "--admin")
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert outcome.stderr == "sbm: there is a user 'bob' already\n"
    assert direct.value("SELECT is_admin FROM users") is False


@ensureDeferred
async def test_a_password_can_be_changed(sbm: Sbm, direct: Arranged) -> None:
    direct.rows("INSERT INTO users (username, password) VALUES ('bob', 'old')")
    assert (await sbm("user", "password", "bob", "--password-stdin", stdin=b"new")).status == 0
    assert password.verify("new", direct.value("SELECT password FROM users"))


@ensureDeferred
async def test_a_user_can_be_kept_out_and_let_in(sbm: Sbm, direct: Arranged) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('bob')")
    assert (await sbm("user", "disable", "bob")).status == 0
    assert direct.value("SELECT is_active FROM users") is False
    assert (await sbm("user", "enable", "bob")).status == 0
    assert direct.value("SELECT is_active FROM users") is True


@ensureDeferred
async def test_permissions_are_given_and_taken(sbm: Sbm, direct: Arranged) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('bob')")
    for _ in range(2):
        assert (await sbm("user", "grant", "bob", "view_behindsubscription")).status == 0
    held = direct.rows("SELECT permission FROM user_permissions")
    assert held == [{"permission": "view_behindsubscription"}]
    assert (await sbm("user", "revoke", "bob", "view_behindsubscription")).status == 0
    assert direct.rows("SELECT permission FROM user_permissions") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "grant", "bob", "everything"),
        ("user", "create", "bob", "--permission", "everything"),
        ("token", "create", "bob", "--expires", "soon"),
        ("token", "create", "bob", "--expires-in", "0"),
        ("user", "password", "bob"),
        ("user", "create", "bob", "--email", "nope"),
    ],
)
@ensureDeferred
async def test_what_cannot_be_meant_is_misuse(sbm: Sbm, arguments: tuple[str, ...]) -> None:
    assert (await sbm(*arguments)).status == MISUSED


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "disable", "bob"),
        ("user", "grant", "bob", "view_behindsubscription"),
        ("token", "list", "bob"),
    ],
)
@ensureDeferred
async def test_a_user_who_is_none_is_missed(sbm: Sbm, arguments: tuple[str, ...]) -> None:
    outcome = await sbm(*arguments)
    assert (outcome.status, outcome.stderr) == (FAILED, "sbm: there is no user 'bob'\n")


@ensureDeferred
async def test_users_are_listed(sbm: Sbm, direct: Arranged) -> None:
    direct.rows("INSERT INTO users (username, email, is_admin) VALUES ('bob', 'b@x.org', true)")
    direct.rows("INSERT INTO users (username, is_active, password) VALUES ('ann', false, 'x')")
    direct.rows("INSERT INTO user_permissions SELECT id, 'view' FROM users WHERE username = 'ann'")
    assert [line.split() for line in (await sbm("user", "list")).out.splitlines()] == [
        ["NAME", "E-MAIL", "STATE", "PASSWORD", "TOKENS", "LIMITED", "PERMISSIONS"],
        ["ann", "-", "disabled", "yes", "0", "no", "view"],
        ["bob", "b@x.org", "active", "no", "0", "no", "all", "(administrator)"],
    ]


@ensureDeferred
async def test_a_token_is_printed_alone_and_its_user_made(sbm: Sbm, direct: Arranged) -> None:
    outcome = await sbm("token", "create", "bob@example.org", "--admin")
    assert len(outcome.out) == 41
    (row,) = direct.rows("SELECT username, email, is_admin FROM users")
    assert set(row.values()) == {"bob@example.org", True}


@ensureDeferred
async def test_tokens_are_listed_and_revoked_by_id(sbm: Sbm, direct: Arranged) -> None:
    for name in ("bob", "ann", "bob"):
        assert (await sbm("token", "create", name)).status == 0
    listed = [line.split() for line in (await sbm("token", "list", "bob")).out.splitlines()]
    assert [line[:2] for line in listed] == [["ID", "USER"], ["1", "bob"], ["3", "bob"]]
    assert [line[-1] for line in listed] == ["REVOKED", "-", "-"]
    assert (await sbm("token", "revoke", "3")).status == 0
    assert worth(direct) == 2
    assert (await sbm("token", "list")).out.splitlines()[-1].split()[-1] != "-"


@ensureDeferred
async def test_a_token_is_revoked_by_showing_it(sbm: Sbm, direct: Arranged) -> None:
    first, second = [(await sbm("token", "create", "bob")).out for _ in range(2)]
    assert (await sbm("token", "revoke", stdin=first.encode())).status == 0
    assert worth(direct) == 1
    assert (await sbm("token", "revoke", second.strip())).status == 0
    assert worth(direct) == 0
    again = await sbm("token", "revoke", "1")
    assert (again.status, "revoked already" in again.stderr) == (FAILED, True)


@ensureDeferred
async def test_a_limited_user_is_made_with_permissions(sbm: Sbm, direct: Arranged) -> None:
    options = ("--limited", "--permission", "people.read", "--permission", "operate")
    assert (await sbm("user", "create", "bob", *options)).status == 0
    listed = (await sbm("user", "list")).out.splitlines()[-1].split()
    assert listed == ["bob", "-", "active", "no", "0", "yes", "operate", "people.read"]
    assert (await sbm("user", "unlimit", "bob")).out == "user 'bob' is not limited\n"
    revoked = await sbm("user", "revoke", "bob", "operate")
    assert "the user holds it, like every user who is not limited" in revoked.out
    assert (await sbm("user", "limit", "bob")).out == "user 'bob' is limited\n"
    revoked = await sbm("user", "revoke", "bob", "people.read")
    assert revoked.out == "user 'bob' no longer has people.read\n"
    assert direct.value("SELECT count(*) FROM user_permissions") == 0


@ensureDeferred
async def test_the_help_has_all_permissions(sbm: Sbm) -> None:
    text = (await sbm("user", "--help")).out
    for name, allows in PERMISSIONS.items():
        assert re.search(f"{re.escape(name)} +{re.escape(allows)}", text)


@ensureDeferred
async def test_a_token_has_a_name_and_an_expiry(sbm: Sbm, direct: Arranged) -> None:
    options = ("--name", "the hub", "--expires", "2030-01-31T08:00+02:00")
    assert (await sbm("token", "create", "bob", *options)).status == 0
    assert (await sbm("token", "create", "bob", "--expires-in", "3")).status == 0
    listed = (await sbm("token", "list", "bob")).out.splitlines()
    assert listed[0].split()[:3] == ["ID", "USER", "NAME"]
    assert "the hub" in listed[1]
    assert "2030-01-31 06:00:00" in listed[1]
    left = direct.value(
        "SELECT round(extract(epoch FROM expires_at - now()) / 3600) FROM tokens WHERE id = 2"
    )
    assert left == 72
    late = await sbm("token", "create", "bob", "--expires", "2020-01-01")
    assert (late.status, "not in the future" in late.stderr) == (FAILED, True)


@ensureDeferred
async def test_a_user_has_no_more_tokens_than_are_set(sbm: Sbm) -> None:
    for _ in range(2):
        assert (await sbm("token", "create", "bob", SBM_MAX_TOKENS="2")).status == 0
    outcome = await sbm("token", "create", "bob", SBM_MAX_TOKENS="2")
    assert (outcome.status, "has 2 live tokens" in outcome.stderr) == (FAILED, True)


SIGNED = ("--by", "ann", "--reason", "she asked")


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (("user", "create", "eve"), "users"),
        (("user", "password", "bob", "--password-stdin"), "users"),
        (("user", "disable", "bob"), "users"),
        (("user", "enable", "dan"), "users"),
        (("user", "limit", "bob"), "users"),
        (("user", "unlimit", "dan"), "users"),
        (("user", "grant", "bob", "people.read"), "user_permissions"),
        (("user", "grant", "bob", "administer"), "users"),
        (("user", "revoke", "dan", "operate"), "user_permissions"),
        (("token", "create", "bob"), "tokens"),
        (("token", "revoke", "1"), "tokens"),
    ],
)
@ensureDeferred
async def test_each_change_is_signed(
    sbm: Sbm, direct: Arranged, arguments: tuple[str, ...], changed: str
) -> None:
    direct.rows("INSERT INTO users (username) VALUES ('bob')")
    direct.rows(
        "INSERT INTO users (username, is_active, is_limited) VALUES ('dan', false, true);"
        " INSERT INTO user_permissions SELECT id, 'operate' FROM users WHERE username = 'dan';"
        " INSERT INTO tokens (user_id, digest) SELECT min(id), sha256('x') FROM users"
    )
    outcome = await sbm(*arguments, *SIGNED, stdin=b"secret")
    assert outcome.status == 0, outcome.stderr
    (entry,) = direct.rows("SELECT actor, action, reason, table_name FROM audit")
    assert entry == {
        "actor": "ann",
        "action": f"sbm {' '.join(arguments[:2])}",
        "reason": "she asked",
        "table_name": changed,
    }


@pytest.mark.parametrize(
    "arguments", [("user", "disable", "bob"), ("user", "revoke", "bob", "administer")]
)
@ensureDeferred
async def test_an_operator_may_lock_the_last_administrator_out(
    sbm: Sbm, direct: Arranged, arguments: tuple[str, ...]
) -> None:
    direct.rows("INSERT INTO users (username, is_admin) VALUES ('bob', true), ('ann', true)")
    assert (await sbm("user", "disable", "ann")).stderr == ""
    outcome = await sbm(*arguments)
    assert outcome.status == 0
    assert outcome.stderr.startswith("sbm: there is no active administrator now")
    assert direct.value("SELECT count(*) FROM users WHERE is_admin AND is_active") == 0


URL = {"STAGE_BASED_MESSAGING_URL": "https://sbm.example.org/api/v1"}


@ensureDeferred
async def test_a_link_logs_a_user_in_once(sbm: Sbm, direct: Arranged) -> None:
    await sbm("user", "create", "bob")
    printed = await sbm("user", "link", "bob", "--by", "ann", "--reason", "asked", **URL)
    found = re.fullmatch(r"https://sbm.example.org/console/link\?key=([\w-]{43})\n", printed.out)
    assert found is not None
    lasts = "SELECT extract(epoch FROM expires_at - now())::int / 60 FROM console_links"
    assert direct.value(lasts) in (14, 15)
    assert direct.rows("SELECT actor, reason, details FROM audit WHERE operation IS NULL") == [
        {"actor": "ann", "reason": "asked", "details": {"user": 1}}
    ]


@ensureDeferred
async def test_nobody_else_gets_a_link(sbm: Sbm, direct: Arranged) -> None:
    await sbm("user", "create", "bob")
    await sbm("user", "disable", "bob")
    for name, why in (("bob", "is disabled"), ("eve", "no user")):
        refused = await sbm("user", "link", name, **URL)
        assert (refused.status, why in refused.stderr) == (FAILED, True)
    assert direct.value("SELECT count(*) FROM console_links") == 0
