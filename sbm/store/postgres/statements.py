"""The statements in ``sql/queries``, by name: their text, what they return, and their effects.

A statement begins with its name and its cardinality. Header lines may follow. Then comes a comment
that says what the statement is for, and then the SQL::

    -- name: find_message :maybe
    -- reads
    -- One message.
    SELECT {columns} FROM messages WHERE id = %(id)s;

``:one``, ``:maybe`` and ``:many`` say how many rows it returns: one, at most one, any number. An
``:exec`` returns only the number of rows that it touches. The header lines are:

``-- reads``
    It leaves nothing to commit.
``-- fires: a, b``
    The triggers that it can fire, also through a function that it calls or a cascading delete.
``-- page: created_at DESC, id DESC``
    It lists pages in this order: ``sql/queries/page.sql`` is put around it. It selects the whole
    list. After a line ``-- shown:``, a second SELECT may say which columns of ``page`` are shown.
``-- sized: metadata, text_content``
    These columns of a page are texts that may be long: a portion of the page is limited by them.
``-- prepared: active, completed``
    Each session prepares it at its first use, so that it is planned once and not for each use. It
    is prepared for each value of the parameters that are named, if any: they are true, false or
    integers, and decide which partial index can be used.
``-- indexed``
    It is planned without sequential scans, as far as indexes allow that. A prepared statement keeps
    its plan for longer than a table stays small; so does the rest of the transaction.
``-- prompt``
    The server answers it at once. If it is the first of its transaction, it is sent with BEGIN.

``-- long``
    It may take minutes, as it reads all subscriptions, for example.

``-- tells: transaction``
    Its row has two more columns, ``transaction_id`` and ``pid``, for ``commits``. So no round trip
    is needed to find them before COMMIT.

``{columns}`` stands for the list of columns at the head of the file, below ``-- columns:``. Other
names in braces stand for parts that several statements share: ``sql/queries/parts.sql`` has them.

A condition in square brackets, in lines of its own, is left out if its parameter is null::

    SELECT {columns} FROM ticks
     WHERE source <> 'single'
      [AND schedule_id = %(schedule_id)s]
      [AND state = %(state)s]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from attrs import field, frozen

import sbm

Cardinality = Literal["one", "maybe", "many", "exec"]

_NAME = re.compile(r"^-- name: (.*)\n", re.MULTILINE)
_NAMED = re.compile(rf"(\w+) :({'|'.join(get_args(Cardinality))})")
# The comment begins with a capital letter, so an unknown header word is not mistaken for it.
_HEADER = re.compile(r"-- ([a-z]+)(?:: (.+))?\n")
_COMMENT = re.compile(r"\A(-- .*\n)+")
_COLUMNS = "-- columns:\n"
_SHOWN = "-- shown:\n"
_WHOLE_PAGE = "SELECT * FROM page"
_END = "(SELECT {column} FROM ending) AS end_{column}"
# How many rows were found beyond the page: one, or none.
_BEYOND_PAGE = "GREATEST((SELECT count(*) FROM found) - %(limit)s::bigint, 0)"

_HEADER_WORDS = frozenset(
    {"reads", "fires", "page", "sized", "prepared", "indexed", "prompt", "long", "tells"}
)

_OPTIONAL = re.compile(r"^( *)\[(.+?)\]$", re.MULTILINE | re.DOTALL)
PARAMETER = re.compile(r"%\((\w+)\)s")
_FRAME_PART = re.compile(r"^-- (\w+: \w+)\n", re.MULTILINE)
_PART = re.compile(r"^-- part: (\w+)\n", re.MULTILINE)
_SLOT = re.compile(r"(?<!')\{([a-z]\w*)\}")


@frozen(kw_only=True)
class Query:
    """One SQL statement; ``sql`` takes its parameters as ``%(name)s``.

    ``sql`` has all its optional conditions; ``given`` leaves out those whose parameters are null.
    ``reads``: a transaction of only such statements has nothing to commit. ``fires`` are the names
    of triggers. ``page`` are the columns of the key by which it lists pages, if it does: then it
    lists the first page, ``after`` lists the page after a key, ``before`` the page before it, and
    ``between`` the rows after a key up to another.
    ``prepared_for`` are the parameters whose values are written out. ``is_indexed``: it is planned
    without sequential scans.
    """

    name: str
    sql: str
    returns: Cardinality
    reads: bool = False
    fires: tuple[str, ...] = ()
    page: tuple[str, ...] = ()
    is_prepared: bool = False
    prepared_for: tuple[str, ...] = ()
    is_indexed: bool = False
    is_prompt: bool = False
    is_long: bool = False
    tells_transaction: bool = False
    after: Query | None = field(default=None, repr=False)
    between: Query | None = field(default=None, repr=False)
    before: Query | None = field(default=None, repr=False)
    # Fixed texts and optional conditions in turn, and the parameter of each condition.
    _parts: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)

    def given(self, parameters: Mapping[str, Any]) -> str:
        """The SQL for these parameters, without the conditions whose parameters are null."""
        if not self._parts:
            return self.sql
        return "".join(
            self._written(text, parameter, parameters[parameter]) if parameter else text
            for text, parameter in self._parts
            if parameter is None or parameters[parameter] is not None
        )

    def _written(self, condition: str, parameter: str, value: Any) -> str:
        if parameter not in self.prepared_for:
            return condition
        literal = str(value).lower() if isinstance(value, bool) else f"{value:d}"
        return condition.replace(f"%({parameter})s", literal)

    @property
    def optional(self) -> list[str]:
        """The parameters that may be null, which leaves out a condition."""
        return list(dict.fromkeys(parameter for _, parameter in self._parts if parameter))


@frozen(kw_only=True)
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
    """Read the statements of ``sql/<folder>/<noun>.sql``; raises ValueError if one is wrong."""
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
    return Queries(source=path.name, by_name=by_name)


@cache
def _parts_of(path: Path) -> Mapping[str, str]:
    """The parts that several statements share, by name, each without its comment."""
    _, *texts = _PART.split(path.read_text(encoding="utf-8"))
    return {
        name: _COMMENT.sub("", text).strip()
        for name, text in zip(texts[::2], texts[1::2], strict=True)
    }


def _query(named: str, text: str, columns: str) -> Query:
    match = _NAMED.fullmatch(named)
    if match is None:
        raise ValueError("behind its name it has to say :one, :maybe, :many or :exec")
    name, returns = match.groups()
    said, text = _header(text)
    slots = {**_parts_of(sql_directory() / "queries" / "parts.sql"), "columns": columns}
    while (filled := _SLOT.sub(lambda slot: slots.get(slot[1]) or slot[0], text)) != text:
        text = filled
    if "page" in said and returns != "many":
        raise ValueError("a page is :many")
    key, windows = (
        _page(said["page"], _listed(said.get("sized", "")), text)
        if "page" in said
        else ((), {"": text})
    )

    def made(window: str, **others: Query) -> Query:
        sql, parts = _parted(windows[window].strip())
        return Query(
            name=name,
            sql=sql,
            returns=cast(Cardinality, returns),
            reads="reads" in said,
            fires=_listed(said.get("fires", "")),
            page=key,
            is_prepared="prepared" in said,
            prepared_for=_listed(said.get("prepared", "")),
            is_indexed="indexed" in said,
            is_prompt="prompt" in said,
            is_long="long" in said,
            tells_transaction=said.get("tells") == "transaction",
            parts=parts,
            **others,
        )

    if not key:
        return made("")
    return made("first", after=made("after"), between=made("between"), before=made("before"))


def _header(text: str) -> tuple[dict[str, str], str]:
    """The lines of the header, by their first words, and the rest of the statement."""
    said: dict[str, str] = {}
    while header := _HEADER.match(text):
        said[header[1]] = header[2] or ""
        text = text[header.end() :]
    if unknown := said.keys() - _HEADER_WORDS:
        raise ValueError(f"what {', '.join(sorted(unknown))} means is not known")
    if not text.startswith("-- "):
        raise ValueError("it does not say what it is for")
    return said, text


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split(", ")) if names else ()


def _parted(text: str) -> tuple[str, tuple[tuple[str, str | None], ...]]:
    """The whole statement, and its parts; no parts if nothing in it is optional."""
    whole = _OPTIONAL.sub(r"\1\2", text)
    fixed_and_optional = _OPTIONAL.split(text)
    if len(fixed_and_optional) == 1:
        return whole, ()
    first, *rest = fixed_and_optional
    parts: list[tuple[str, str | None]] = [(first, None)]
    for blanks, condition, fixed in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        parameters = set(PARAMETER.findall(condition))
        if len(parameters) != 1:
            raise ValueError(f"an optional condition has one parameter: {condition}")
        parts += [(blanks + condition, parameters.pop()), (fixed, None)]
    return whole, tuple(parts)


def _page(order: str, sized: tuple[str, ...], text: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The columns of the key, and the statement with ``page.sql`` around it, by its windows."""
    terms = order.split(", ")
    key = tuple(term.removesuffix(" DESC") for term in terms)
    descending = terms == [f"{column} DESC" for column in key]
    if not descending and order != ", ".join(key):
        raise ValueError("a page is listed in one direction")
    if key[-1] != "id":
        raise ValueError("the key of a page ends with id")
    wanted, _, shown = text.strip().removesuffix(";").partition(_SHOWN)
    slots = {
        "size": f"({' + '.join(f'COALESCE(octet_length({column}), 0)' for column in sized)})",
        "wanted": wanted.strip(),
        "shown": shown.strip() or _WHOLE_PAGE,
        "key": ", ".join(key),
        "ends": ", ".join(_END.format(column=column) for column in key),
        "until": ", ".join(f"%(until_{column})s" for column in key),
        "from": ", ".join(f"%(from_{column})s" for column in key),
        "order": order,
        "reversed": ", ".join(key if descending else (f"{column} DESC" for column in key)),
        "behind": "<" if descending else ">",
        "before": ">" if descending else "<",
    }
    page = (sql_directory() / "queries" / "page.sql").read_text(encoding="utf-8")
    frame, *others = _FRAME_PART.split(page)
    parts = dict(zip(others[::2], others[1::2], strict=True))

    def filled(text: str, **more: str) -> str:
        return _SLOT.sub(lambda slot: {**slots, **more}[slot[1]], text).strip()

    result = filled(parts["result: sized" if sized else "result: whole"])
    return key, {
        name: filled(
            frame,
            window=filled(parts[f"window: {name}"]),
            beyond_begin=_BEYOND_PAGE if name == "before" else "0",
            beyond_end="0" if name == "before" else _BEYOND_PAGE,
            result=result,
        )
        for name in ("first", "after", "between", "before")
    }
