"""``sbm token``: what clients show."""

from __future__ import annotations

import argparse
import re
import sys

from sbm.commands.running import OK, CommandFailed, print_table, transact
from sbm.settings.endpoints import DatabaseAddress
from sbm.store import users

# Shorter than any token, so that neither can be taken for the other.
_ID = re.compile(r"[0-9]{1,9}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``token`` can do to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    create = verbs.add_parser(
        "create",
        help="make a token for a user, and the user where there is none",
        description="Print a new token. It is stored hashed and cannot be shown again; older tokens"
        " of the user stay valid.",
    )
    create.add_argument("name", metavar="NAME", help="the user's name, or her e-mail address")
    create.add_argument("--admin", action="store_true", help="make the user an administrator")
    create.set_defaults(command=_create)

    listing = verbs.add_parser("list", help="list the tokens, without the tokens themselves")
    listing.add_argument("name", metavar="NAME", nargs="?", help="only those of this user")
    listing.set_defaults(command=_list)

    revoke = verbs.add_parser(
        "revoke",
        help="make a token worthless",
        description="Revoke a token for ever. Requests that show it are refused from then on.",
    )
    revoke.add_argument(
        "token",
        metavar="ID-OR-TOKEN",
        nargs="?",
        help="its id from `sbm token list`, or the token; without, it is read from standard input",
    )
    revoke.set_defaults(command=_revoke)


def _create(options: argparse.Namespace, address: DatabaseAddress) -> int:
    try:
        print(transact(address, users.create_token, email=options.name, admin=options.admin))
    except ValueError as error:
        raise CommandFailed(f"NAME {error}") from None
    return OK


def _list(options: argparse.Namespace, address: DatabaseAddress) -> int:
    print_table(
        ("ID", "USER", "CREATED", "REVOKED"),
        [
            (
                str(token.id),
                token.username,
                token.created_at.isoformat(" ", "seconds"),
                token.revoked_at.isoformat(" ", "seconds") if token.revoked_at else "",
            )
            for token in transact(address, users.list_tokens, username=options.name)
        ],
    )
    return OK


def _revoke(options: argparse.Namespace, address: DatabaseAddress) -> int:
    known_as = options.token
    if known_as is None:
        known_as = sys.stdin.buffer.read().decode("ascii", "replace").strip()
    if _ID.fullmatch(known_as):
        revoked = transact(address, users.revoke_token, token_id=int(known_as))
    else:
        revoked = transact(address, users.revoke_token, token=known_as)
    if not revoked:
        raise CommandFailed("there is no such token, or it is revoked already")
    print("revoked")
    return OK
