"""``sbm user``: who may speak to the API, and what each may do."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from sbm.commands.running import OK, CommandFailed, print_table, transact
from sbm.model.email import is_email
from sbm.model.password import hash_password
from sbm.model.user import PERMISSIONS
from sbm.settings.endpoints import DatabaseAddress
from sbm.store import users


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``user`` can do to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    create = _verb(
        verbs,
        "create",
        _create,
        "make a user",
        "Make a user. Without a password, a token is her only way in: see `sbm token create`.",
    )
    create.add_argument("--email", type=_email, help="default: NAME, if that is an e-mail address")
    create.add_argument("--admin", action="store_true", help="make her an administrator")
    _password_option(create)

    password = _verb(
        verbs,
        "password",
        _set_password,
        "give a user another password",
        "Give a user another password, or a first one. Her tokens stay valid.",
    )
    _password_option(password, required=True)

    _verb(
        verbs,
        "disable",
        partial(_set_active, is_active=False),
        "keep a user out",
        "Refuse a user, whatever she shows, until she is enabled again.",
    )
    _verb(
        verbs,
        "enable",
        partial(_set_active, is_active=True),
        "let a user in again",
        "Let a user in again: her password and her tokens are what they were.",
    )

    for name, command, what in (
        ("grant", _grant, "give a user a permission"),
        ("revoke", _revoke, "take a permission from a user"),
    ):
        verb = _verb(verbs, name, command, what, "Administrators hold every permission anyway.")
        verb.add_argument(
            "permission", metavar="PERMISSION", choices=PERMISSIONS, help=" or ".join(PERMISSIONS)
        )

    listing = verbs.add_parser("list", help="list the users")
    listing.set_defaults(command=_list)


def password_from(raw: bytes) -> str:
    """The password that standard input holds, as it is: any text, blanks at its ends included.

    Only one newline at the end is left off, which ``echo`` adds and nobody means. Raises
    CommandFailed if there is nothing, or nothing that is UTF-8.
    """
    try:
        password = raw.removesuffix(b"\n").decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed("the password on standard input is not UTF-8") from None
    if not password:
        raise CommandFailed("there is no password on standard input")
    return password


def _verb(
    verbs: Any, name: str, command: Any, what: str, description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=what, description=description)
    parser.add_argument("name", metavar="NAME", help="the user's name")
    parser.set_defaults(command=command)
    return parser


def _password_option(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        required=required,
        help="read the password from standard input; one newline at its end is left off",
    )


def _email(text: str) -> str:
    if len(text) > users.MAX_EMAIL or not is_email(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no e-mail address")
    return text


def _hashed_password() -> str:
    return hash_password(password_from(sys.stdin.buffer.read()))


def _create(options: argparse.Namespace, address: DatabaseAddress) -> int:
    email = options.email or (options.name if is_email(options.name) else "")
    password = _hashed_password() if options.password_stdin else None
    try:
        transact(
            address,
            users.create,
            username=options.name,
            email=email,
            admin=options.admin,
            password=password,
        )
    except users.UsernameTaken as error:
        raise CommandFailed(str(error)) from None
    except ValueError as error:
        raise CommandFailed(f"NAME {error}") from None
    print(f"made user {options.name!r}")
    return OK


def _set_password(options: argparse.Namespace, address: DatabaseAddress) -> int:
    transact(address, users.set_password, username=options.name, password=_hashed_password())
    print(f"user {options.name!r} has another password")
    return OK


def _set_active(options: argparse.Namespace, address: DatabaseAddress, *, is_active: bool) -> int:
    transact(address, users.set_active, username=options.name, is_active=is_active)
    print(f"user {options.name!r} is {'enabled' if is_active else 'disabled'}")
    return OK


def _grant(options: argparse.Namespace, address: DatabaseAddress) -> int:
    transact(address, users.grant, username=options.name, permission=options.permission)
    print(f"user {options.name!r} holds {options.permission}")
    return OK


def _revoke(options: argparse.Namespace, address: DatabaseAddress) -> int:
    held = transact(address, users.revoke, username=options.name, permission=options.permission)
    outcome = "no longer holds" if held else "did not hold"
    print(f"user {options.name!r} {outcome} {options.permission}")
    return OK


def _list(_options: argparse.Namespace, address: DatabaseAddress) -> int:
    print_table(
        ("NAME", "E-MAIL", "STATE", "PASSWORD", "TOKENS", "PERMISSIONS"),
        [
            (
                one.user.username,
                one.email,
                "active" if one.user.is_active else "disabled",
                "yes" if one.has_password else "no",
                str(one.tokens),
                "all (administrator)"
                if one.user.is_admin
                else " ".join(sorted(one.user.permissions)),
            )
            for one in transact(address, users.list_users)
        ],
    )
    return OK
