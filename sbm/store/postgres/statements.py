"""The statements in ``sql/queries``, by name: what each is, returns and does.

A statement begins with its name and its cardinality. Lines that say more of it may follow; then
comes what it is for, and then SQL::

    -- name: find_message :maybe
    -- reads
    -- One message.
    SELECT {columns} FROM messages WHERE id = %(id)s;

``:one``, ``:maybe`` and ``:many`` say how many rows it returns: one, at most one, any number. Of an
``:exec`` only the number of rows that it touches is returned. The lines that may follow:

``-- reads``
    It leaves nothing to commit.
``-- fires: a, b``
    The triggers that it can fire, also by a function that it calls, and by a delete that cascades.
``-- page: created_at DESC, id DESC``
    It lists pages in this order: ``sql/queries/page.sql`` is put around it. It selects all of the
    list; after a line ``-- shown:``, a second SELECT may say what is shown of each row of ``page``.

``{columns}`` stands for the list of columns at the head of the file, below ``-- columns:``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, cast, get_args

from attrs import frozen

import sbm

Cardinality = Literal["one", "maybe", "many", "exec"]

_NAME = re.compile(r"^-- name: (.*)\n", re.MULTILINE)
_NAMED = re.compile(rf"(\w+) :({'|'.join(get_args(Cardinality))})")
# Prose begins with a capital, so that a word that is not known is not taken for it.
_HEADER = re.compile(r"-- ([a-z]+)(?:: (.+))?\n")
_COLUMNS = "-- columns:\n"
_SHOWN = "-- shown:\n"
_WHOLE_PAGE = "SELECT * FROM page"


@frozen(kw_only=True)
class Query:
    """One SQL statement; ``sql`` takes its parameters as ``%(name)s``.

    ``reads``: a transaction of such statements alone has nothing to commit. ``fires`` are the names
    of triggers. ``page`` are the columns of the key in whose order it lists pages, if it does.
    """

    name: str
    sql: str
    returns: Cardinality
    reads: bool = False
    fires: tuple[str, ...] = ()
    page: tuple[str, ...] = ()


@frozen
class Queries:
    """The statements of one file, as attributes."""

    source: str
    by_name: dict[str, Query]

    def __getattr__(self, name: str) -> Query:
        try:
            return self.by_name[name]
        except KeyError:
            raise AttributeError(f"{self.source} has no statement named {name}") from None


def sql_directory() -> Path:
    """The folder of migrations and queries: in the installed package, or in a checkout."""
    package = Path(sbm.__file__).parent
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


def load(noun: str, folder: str = "queries") -> Queries:
    """Read the statements of ``sql/<folder>/<noun>.sql``; raises ValueError where one is wrong."""
    path = sql_directory() / folder / f"{noun}.sql"
    head, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    _prose, _, columns = head.partition(_COLUMNS)
    by_name: dict[str, Query] = {}
    for named, text in zip(parts[::2], parts[1::2], strict=True):
        try:
            query = _query(named, text, columns.strip())
        except ValueError as error:
            raise ValueError(f"{path.name}, {named}: {error}") from None
        if query.name in by_name:
            raise ValueError(f"{path.name} names {query.name} twice")
        by_name[query.name] = query
    return Queries(path.name, by_name)


def _query(named: str, text: str, columns: str) -> Query:
    match = _NAMED.fullmatch(named)
    if match is None:
        raise ValueError("behind its name it has to say :one, :maybe, :many or :exec")
    name, returns = match.groups()
    said: dict[str, str] = {}
    while header := _HEADER.match(text):
        said[header[1]] = header[2] or ""
        text = text[header.end() :]
    if unknown := said.keys() - {"reads", "fires", "page"}:
        raise ValueError(f"what {', '.join(sorted(unknown))} means is not known")
    if not text.startswith("-- "):
        raise ValueError("it does not say what it is for")
    if columns:
        text = text.replace("{columns}", columns)
    key: tuple[str, ...] = ()
    if "page" in said:
        if returns != "many":
            raise ValueError("a page is :many")
        key, text = _page(said["page"], text)
    return Query(
        name=name,
        sql=text.strip(),
        returns=cast(Cardinality, returns),
        reads="reads" in said,
        fires=tuple(said["fires"].split(", ")) if "fires" in said else (),
        page=key,
    )


def _page(order: str, text: str) -> tuple[tuple[str, ...], str]:
    """The columns of the key, and the statement with the frame of all pages around it."""
    terms = order.split(", ")
    key = tuple(term.removesuffix(" DESC") for term in terms)
    descending = terms == [f"{column} DESC" for column in key]
    if not descending and order != ", ".join(key):
        raise ValueError("a page is listed in one direction")
    if key[-1] != "id":
        raise ValueError("the key of a page ends with id")
    wanted, _, shown = text.strip().removesuffix(";").partition(_SHOWN)
    slots = {
        "wanted": wanted.strip(),
        "shown": shown or _WHOLE_PAGE,
        "key": ", ".join(key),
        "from": ", ".join(f"%(from_{column})s" for column in key),
        "order": order,
        "reversed": ", ".join(key if descending else (f"{column} DESC" for column in key)),
        "behind": "<" if descending else ">",
        "before": ">" if descending else "<",
    }
    frame = (sql_directory() / "queries" / "page.sql").read_text(encoding="utf-8")
    return key, re.sub(r"\{(\w+)\}", lambda slot: slots[slot[1]], frame)
