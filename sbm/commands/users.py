"""``sbm user``: the users of the API, and their permissions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sbm.commands.running import (
    OK,
    CommandFailed,
    Work,
    add_signature,
    in_database,
    print_table,
    say,
    signature_from,
)
from sbm.model.email import is_email
from sbm.model.password import hash_password
from sbm.model.signature import Signature
from sbm.model.user import MAX_EMAIL, PERMISSIONS, USUAL
from sbm.operations import users
from sbm.operations.logins import make_login_link
from sbm.operations.usernames import UnfitText
from sbm.settings.reading import Settings
from sbm.store.postgres.database import Database
from sbm.store.users import has_administrator, list_users

# For how long a link can be used. It goes from a terminal to a browser.
LINK_LASTS = timedelta(minutes=15)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``user`` to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _described()
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    create = _verb(
        verbs,
        "create",
        _create,
        "make a user",
        "Make a user. A user without a password can only use tokens: see `sbm token create`.",
    )
    create.add_argument("--email", type=_email, help="default: NAME, if that is an e-mail address")
    create.add_argument("--admin", action="store_true", help="make the user an administrator")
    create.add_argument(
        "--limited",
        action="store_true",
        help="the user holds only what is granted",
    )
    create.add_argument(
        "--permission",
        action="append",
        default=[],
        metavar="PERMISSION",
        choices=PERMISSIONS,
        help="grant this permission; may be given several times",
    )
    _password_option(create)

    password = _verb(
        verbs,
        "password",
        _set_password,
        "give a user another password",
        "Give a user another password, or a first one. The user's tokens stay valid.",
    )
    _password_option(password, required=True)

    _verb(
        verbs,
        "disable",
        _disable,
        "lock a user out",
        "Refuse a user's password and tokens, until the user is enabled again.",
    )
    _verb(
        verbs,
        "enable",
        _enable,
        "let a user in again",
        "Let a user in again. The user's password and tokens are the same as before.",
    )

    _verb(
        verbs,
        "limit",
        _limit,
        "let a user do only what was granted",
        "Let a user hold only the permissions that were granted, and no others.",
    )
    _verb(
        verbs,
        "unlimit",
        _unlimit,
        "let a user do the usual things, too",
        f"Let a user hold the usual permissions, too: {', '.join(sorted(USUAL))}.",
    )

    for name, read, what in (
        ("grant", _grant, "give a user a permission"),
        ("revoke", _revoke, "take a permission from a user"),
    ):
        description = f"{what.capitalize()}. A user who is not limited holds the usual ones anyway."
        verb = _verb(verbs, name, read, what, description)
        verb.add_argument(
            "permission", metavar="PERMISSION", choices=PERMISSIONS, help=", ".join(PERMISSIONS)
        )

    _verb(
        verbs,
        "link",
        _link,
        "print a link that logs a user in to the console",
        "Print a link that logs a user in to the console once, within"
        f" {LINK_LASTS.seconds // 60} minutes. It begins with STAGE_BASED_MESSAGING_URL. Whoever"
        " has it can log in as this user: give it to nobody else.",
    )

    listing = verbs.add_parser(
        "list",
        help="list the users",
        description="List all users: whether they are active, whether they have a password, how"
        " many valid tokens they have, whether they are limited, and which permissions were"
        " granted to them.",
    )
    listing.set_defaults(command=in_database(_list))


def password_from(raw: bytes) -> str:
    """The password from standard input, as it is: any text, with the blanks at its ends.

    Only one newline at the end is removed, because ``echo`` adds one. Raises CommandFailed if the
    input is empty or not UTF-8.
    """
    try:
        password = raw.removesuffix(b"\n").decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed("the password on standard input is not UTF-8") from None
    if not password:
        raise CommandFailed("there is no password on standard input")
    return password


def _verb(
    verbs: Any,
    name: str,
    read: Callable[[argparse.Namespace], Work],
    what: str,
    description: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=what, description=description)
    parser.add_argument("name", metavar="NAME", help="the user's name")
    add_signature(parser)
    parser.set_defaults(command=in_database(read))
    return parser


def _described() -> str:
    """The table of permissions, for the help."""
    width = max(map(len, PERMISSIONS))
    lines = [f"  {name:{width}}  {allows}" for name, allows in PERMISSIONS.items()]
    return "\n".join(["permissions:", *lines])


def _password_option(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        required=required,
        help="read the password from standard input; one newline at its end is removed",
    )


def _email(text: str) -> str:
    if len(text) > MAX_EMAIL or not is_email(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an e-mail address")
    return text


def _hashed_password() -> str:
    return hash_password(password_from(sys.stdin.buffer.read()))


def _create(options: argparse.Namespace) -> Work:
    return partial(
        _create_user,
        username=options.name,
        email=options.email or (options.name if is_email(options.name) else ""),
        is_admin=options.admin,
        is_limited=options.limited,
        permissions=options.permission,
        password=_hashed_password() if options.password_stdin else None,
    )


async def _create_user(
    database: Database,
    *,
    username: str,
    email: str,
    is_admin: bool,
    is_limited: bool,
    permissions: Sequence[str],
    password: str | None,
) -> int:
    try:
        await database.transact(
            users.create,
            username=username,
            email=email,
            admin=is_admin,
            limited=is_limited,
            permissions=permissions,
            password=password,
        )
    except UnfitText as error:
        raise CommandFailed(f"NAME {error}") from None
    say(f"made user {username!r}")
    return OK


def _set_password(options: argparse.Namespace) -> Work:
    return partial(_change_password, username=options.name, password=_hashed_password())


async def _change_password(database: Database, *, username: str, password: str) -> int:
    await database.transact(users.set_password, username=username, password=password)
    say(f"user {username!r} has another password")
    return OK


def _disable(options: argparse.Namespace) -> Work:
    return partial(_set_active, username=options.name, is_active=False)


def _enable(options: argparse.Namespace) -> Work:
    return partial(_set_active, username=options.name, is_active=True)


async def _set_active(database: Database, *, username: str, is_active: bool) -> int:
    await database.transact(users.set_active, username=username, is_active=is_active)
    say(f"user {username!r} is {'enabled' if is_active else 'disabled'}")
    await _warn_if_there_is_no_administrator(database)
    return OK


def _link(options: argparse.Namespace) -> Work:
    settings = Settings(environ=options.environ)
    public_url = settings.public_url()
    settings.check()
    return partial(
        _print_link,
        username=options.name,
        public_url=public_url,
        signature=signature_from(options),
    )


async def _print_link(
    database: Database, *, username: str, public_url: str, signature: Signature
) -> int:
    secret = await database.transact(
        make_login_link, username=username, within=LINK_LASTS, signature=signature
    )
    say(f"{public_url}/console/link?key={secret}")
    return OK


def _limit(options: argparse.Namespace) -> Work:
    return partial(_set_limited, username=options.name, is_limited=True)


def _unlimit(options: argparse.Namespace) -> Work:
    return partial(_set_limited, username=options.name, is_limited=False)


async def _set_limited(database: Database, *, username: str, is_limited: bool) -> int:
    await database.transact(users.set_limited, username=username, is_limited=is_limited)
    say(f"user {username!r} is {'limited' if is_limited else 'not limited'}")
    return OK


def _grant(options: argparse.Namespace) -> Work:
    return partial(_grant_permission, username=options.name, permission=options.permission)


async def _grant_permission(database: Database, *, username: str, permission: str) -> int:
    await database.transact(users.grant, username=username, permission=permission)
    say(f"user {username!r} has {permission}")
    return OK


def _revoke(options: argparse.Namespace) -> Work:
    return partial(_revoke_permission, username=options.name, permission=options.permission)


async def _revoke_permission(database: Database, *, username: str, permission: str) -> int:
    held = await database.transact(users.revoke, username=username, permission=permission)
    if await database.transact(users.holds, username=username, permission=permission):
        say(
            f"{permission} is not granted to user {username!r}, but the user holds it, like every"
            " user who is not limited, or every administrator"
        )
        return OK
    outcome = "no longer has" if held else "did not have"
    say(f"user {username!r} {outcome} {permission}")
    await _warn_if_there_is_no_administrator(database)
    return OK


async def _warn_if_there_is_no_administrator(database: Database) -> None:
    if not await database.transact(has_administrator):
        say(
            "sbm: there is no active administrator now; `sbm user grant NAME administer` makes one",
            file=sys.stderr,
        )


def _list(_options: argparse.Namespace) -> Work:
    return _list_users


async def _list_users(database: Database) -> int:
    listed = await database.transact(list_users)
    print_table(
        ("NAME", "E-MAIL", "STATE", "PASSWORD", "TOKENS", "LIMITED", "PERMISSIONS"),
        [
            (
                one.user.username,
                one.email,
                "active" if one.user.is_active else "disabled",
                "yes" if one.has_password else "no",
                str(one.tokens),
                "yes" if one.user.is_limited else "no",
                "all (administrator)"
                if one.user.is_admin
                else " ".join(sorted(one.user.permissions)),
            )
            for one in listed
        ],
    )
    return OK
