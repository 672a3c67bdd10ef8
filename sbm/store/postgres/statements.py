"""The statements in ``sql/queries``: each has a name, says what it is for, and lives in a file."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import field, frozen

import sbm

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"--.*")
_READS = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
# What writes, wherever it stands in a statement: locking a row writes, too.
_WRITES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|MERGE|INTO|SHARE|pg_notify|nextval|owe_chore|(make|drop)_ledger_partitions)\b",
    re.IGNORECASE,
)


@frozen(kw_only=True)
class Query:
    """One SQL statement; ``sql`` takes its parameters as ``%(name)s``.

    ``only_reads``: whoever has run nothing but such statements has nothing to commit.
    """

    name: str
    sql: str
    only_reads: bool = field(init=False)

    @only_reads.default
    def _does_only_read(self) -> bool:
        statement = _COMMENT.sub("", self.sql)
        return _READS.match(statement) is not None and _WRITES.search(statement) is None


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
    """Read the statements of ``sql/<folder>/<noun>.sql``."""
    path = sql_directory() / folder / f"{noun}.sql"
    _prose, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    names, statements = parts[::2], parts[1::2]
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name} names a statement twice")
    by_name = {
        name: Query(name=name, sql=statement.strip())
        for name, statement in zip(names, statements, strict=True)
    }
    return Queries(path.name, by_name)
