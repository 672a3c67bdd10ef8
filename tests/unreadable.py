"""Rows that cannot be read, in the ways in which that comes about."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg2.sql import SQL, Identifier, Literal

from tests.arrange import Arranged

# JSON that PostgreSQL stores and Python does not read; and what is no text in UTF-8.
HUGE_NUMBER = """jsonb_build_object('a', repeat('9', 5000)::numeric)"""
BYTES = r"'\x636166e9'::bytea::text"


def allow_bytes(direct: Arranged) -> None:
    """Let BYTES be taken for text as they are: as from a database that had no encoding."""
    direct.rows("CREATE CAST (bytea AS text) WITHOUT FUNCTION")


def put(direct: Arranged, table: str, column: str, value: str, **where: Any) -> None:
    """Set a column of the rows with these values to an SQL expression."""
    conditions = SQL(" AND ").join(
        SQL("{} = {}").format(Identifier(name), Literal(value)) for name, value in where.items()
    )
    direct.rows(
        SQL("UPDATE {} SET {} = {} WHERE {}").format(
            Identifier(table), Identifier(column), SQL(value), conditions
        )
    )


def refuse(direct: Arranged, table: str, subscription: UUID, *, when: str = "UPDATE") -> None:
    """Let the server refuse to write the row of one subscription."""
    name = f"refuse_{table}"
    direct.rows(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF (COALESCE(NEW, OLD)).subscription_id = '{subscription}'"
        " THEN RAISE 'this row is broken'; END IF; RETURN COALESCE(NEW, OLD); END $$;"
        f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
    )
