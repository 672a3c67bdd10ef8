"""``sbm token``: the tokens with which clients authenticate."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import datetime, timedelta, timezone
from functools import partial

from sbm.commands.running import (
    OK,
    CommandFailed,
    Work,
    add_signature,
    in_database,
    print_table,
    say,
)
from sbm.operations import users
from sbm.operations.usernames import UnfitText
from sbm.settings.api_tokens import read_max_tokens
from sbm.settings.reading import Settings
from sbm.store import clock
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
    create.add_argument(
        "--name",
        dest="token_name",
        default="",
        metavar="TEXT",
        help="what the token is for; `sbm token list` shows it",
    )
    expiry = create.add_mutually_exclusive_group()
    expiry.add_argument(
        "--expires",
        type=_moment,
        metavar="WHEN",
        help="when it expires, such as 2030-01-31 or 2030-01-31T08:00+02:00; default: never",
    )
    expiry.add_argument(
        "--expires-in", type=_days, metavar="DAYS", help="the same, as a number of days from now"
    )
    add_signature(create)
    create.set_defaults(command=in_database(_create))

    listing = verbs.add_parser(
        "list",
        help="list the tokens, without the tokens themselves",
        description="List the tokens of one user, or of all users, with their ids and names, and"
        " when they were used, as of an hour ago. The tokens themselves are not stored.",
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
    add_signature(revoke)
    revoke.set_defaults(command=in_database(_revoke))


def _moment(text: str) -> datetime:
    """A date, or a date and a time; in UTC, unless it has an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date or a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _days(text: str) -> timedelta:
    """A number of days; raises ValueError, also if it is too large."""
    days = int(text)
    if not 0 < days <= 36500:
        raise argparse.ArgumentTypeError("give 1 to 36500 days")
    return timedelta(days=days)


def _create(options: argparse.Namespace) -> Work:
    settings = Settings(environ=options.environ)
    most = read_max_tokens(settings)
    settings.check()
    return partial(
        _create_token,
        username=options.name,
        is_admin=options.admin,
        name=options.token_name,
        expires_at=options.expires,
        expires_in=options.expires_in,
        most=most,
    )


async def _create_token(
    database: Database,
    *,
    username: str,
    is_admin: bool,
    name: str,
    expires_at: datetime | None,
    expires_in: timedelta | None,
    most: int,
) -> int:
    if expires_in is not None:
        expires_at = await database.transact(clock.now) + expires_in
    try:
        token = await database.transact(
            users.create_token,
            email=username,
            admin=is_admin,
            name=name,
            expires_at=expires_at,
            most=most,
        )
    except UnfitText as error:
        raise CommandFailed(f"NAME {error}") from None
    say(token)
    return OK


def _list(options: argparse.Namespace) -> Work:
    return partial(_list_tokens, username=options.name)


async def _list_tokens(database: Database, *, username: str | None) -> int:
    tokens = await database.transact(users.list_tokens, username=username)
    print_table(
        ("ID", "USER", "NAME", "CREATED", "LAST USED", "EXPIRES", "REVOKED"),
        [
            (
                str(token.id),
                token.username,
                token.name,
                _shown(token.created_at),
                _shown(token.last_used_at),
                _shown(token.expires_at),
                _shown(token.revoked_at),
            )
            for token in tokens
        ],
    )
    return OK


def _shown(moment: datetime | None) -> str:
    return moment.isoformat(" ", "seconds") if moment else ""


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
    say("revoked")
    return OK
