"""The tables of ``docs/privacy.rst``, made from the list of personal data.

``python -m tests.privacy_page`` writes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sbm.model.personal_data import SUBSCRIBER_TABLES, USER_TABLES

PAGE = Path(__file__).parent.parent / "docs" / "privacy.rst"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (heading, *rows):
        lines += [f"   {'*' if not number else ' '} - {cell}" for number, cell in enumerate(row)]
    return "\n".join([*lines, ""])


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f"``{name}``" for name in names)


def tables() -> dict[str, str]:
    """Each table of the page, by the name in its comments."""
    return {
        "subscribers": _table(
            ("Table", "Columns", "Found by", "Purpose", "Kept", "When a person is forgotten"),
            [
                (
                    f"``{one.name}``",
                    _columns(one.subscriber),
                    one.key,
                    one.purpose,
                    one.retention,
                    one.forgotten,
                )
                for one in SUBSCRIBER_TABLES
            ],
        ),
        "users": _table(
            ("Table", "Columns", "Purpose", "Kept"),
            [
                (f"``{one.name}``", _columns(one.user), one.purpose, one.retention)
                for one in (*USER_TABLES, *SUBSCRIBER_TABLES)
                if one.user
            ],
        ),
    }


def with_tables(page: str) -> str:
    """The page with the tables of the list."""
    for name, table in tables().items():
        begin, end = f".. begin {name}\n\n", f"\n.. end {name}\n"
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}{table}{end}{rest.partition(end)[2]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
