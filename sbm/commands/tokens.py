"""``sbm token``: the tokens with which clients authenticate."""

from __future__ import annotations

import argparse
import re
import sys
from functools import partial

from sbm.commands.running import OK, CommandFailed, Work, in_database, print_table
from sbm.operations import users
from sbm.store.postgres.database import Database
from sbm.store.users import revoke_token

# An id is shorter than any token, so the two cannot be confused.
_ID = re.compile(r"[0-9]{1,9}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``token`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    create = verbs.add_parser(
        "create",
        help="make a token for a user; if there is no such user, make the user, too",
        description="Print a new token. Only its hash is stored, so it cannot be shown again. Older"
        " tokens of the user stay valid.",
    )
    create.add_argument("name", metavar="NAME", help="the user's name or e-mail address")
    create.add_argument("--admin", action="store_true", help="make the user an administrator")
    create.set_defaults(command=in_database(_create))

    listing = verbs.add_parser(
        "list",
        help="list the tokens, without the tokens themselves",
        description="List the tokens of one user, or of all users, with their ids. The tokens"
        " themselves are not stored.",
    )
    listing.add_argument("name", metavar="NAME", nargs="?", help="only those of this user")
    listing.set_defaults(command=in_database(_list))

    revoke = verbs.add_parser(
        "revoke",
        help="make a token invalid",
        description="Revoke a token for ever. Requests with this token are refused from then on.",
    )
    revoke.add_argument(
        "token",
        metavar="ID-OR-TOKEN",
        nargs="?",
        help="the id from `sbm token list`, or the token itself; if neither is given, it is read"
        " from standard input",
    )
    revoke.set_defaults(command=in_database(_revoke))


def _create(options: argparse.Namespace) -> Work:
    return partial(_create_token, name=options.name, is_admin=options.admin)


async def _create_token(database: Database, *, name: str, is_admin: bool) -> int:
    try:
        print(await database.transact(users.create_token, email=name, admin=is_admin))
    except users.UnfitText as error:
        raise CommandFailed(f"NAME {error}") from None
    return OK


def _list(options: argparse.Namespace) -> Work:
    return partial(_list_tokens, username=options.name)


async def _list_tokens(database: Database, *, username: str | None) -> int:
    tokens = await database.transact(users.list_tokens, username=username)
    print_table(
        ("ID", "USER", "CREATED", "REVOKED"),
        [
            (
                str(token.id),
                token.username,
                token.created_at.isoformat(" ", "seconds"),
                token.revoked_at.isoformat(" ", "seconds") if token.revoked_at else "",
            )
            for token in tokens
        ],
    )
    return OK


def _revoke(options: argparse.Namespace) -> Work:
    known_as = options.token
    if known_as is None:
        known_as = sys.stdin.buffer.read().decode("ascii", "replace").strip()
    return partial(_revoke_token, known_as=known_as)


async def _revoke_token(database: Database, *, known_as: str) -> int:
    if _ID.fullmatch(known_as):
        revoked = await database.transact(revoke_token, token_id=int(known_as))
    else:
        revoked = await database.transact(revoke_token, token=known_as)
    if not revoked:
        raise CommandFailed("there is no such token, or it is revoked already")
    print("revoked")
    return OK
