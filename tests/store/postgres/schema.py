"""The schema that the migrations make, as text; as a program, it writes sql/schema.sql again."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.store.postgres.migrations import migrate
from sbm.store.postgres.statements import sql_directory

HEADER = """\
-- What sql/migrations make of an empty database: for reading, never applied. A test keeps it true;
-- `make schema` writes it again. The partitions of single months are left out.

"""

# Lines that depend on the day, on the server's version or on the single dump.
_MONTH = re.compile(r"\b[a-z]+_\d{4}_\d{2}(?!\d)")
_NOISE = re.compile(
    r"--( (Name:|Dumped|PostgreSQL).*)?|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*"
)


def path() -> Path:
    """Where the text is kept."""
    return sql_directory() / "schema.sql"


def dump(pg_dump: Path, uri: str) -> str:
    """The schema of a database, without what differs from one dump of it to the next."""
    command = [str(pg_dump), "--schema-only", "--no-owner", "--no-privileges", "--dbname", uri]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return HEADER + normalised(made.stdout)


def normalised(text: str) -> str:
    """A dump by statements: those of the month's partitions and those that say nothing are out."""
    lines = [line for line in text.splitlines() if not _NOISE.fullmatch(line)]
    blocks = re.split(r"\n{2,}", "\n".join(lines).strip())
    kept = [block for block in blocks if block.strip() and not _MONTH.search(block)]
    return "\n\n".join(kept) + "\n"


def main() -> None:
    """Make the schema in a server of its own, and write it down."""
    with tempfile.TemporaryDirectory(prefix="sbm-schema-") as folder:
        server = EmbeddedPostgres(folder=Path(folder))
        server.start()
        try:
            migrate(server.uri())
            path().write_text(dump(server.bin_dir / "pg_dump", server.uri()), encoding="utf-8")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
