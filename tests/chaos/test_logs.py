"""Errors are found in logs, and the same one is known again."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.logs import errors

_LOG = """=== start 1
2026-01-01T00:00:00+0000 [sbm.tap#info] sbm 1.0
2026-01-01T00:00:01+0000 [sbm.store#critical] send 7f3c8f3e-98c5-4a5b-8b0e-0f0a3c1f5a5d broke
\tTraceback (most recent call last):
\t  File "x.py", line 1, in x
\tbuiltins.ValueError: no

2026-01-01T00:00:02+0000 [sbm.store#warn] the database cannot be used
2026-01-01T00:00:03+0000 [sbm.store#critical] send 1f3c8f3e-98c5-4a5b-8b0e-0f0a3c1f5a5d broke
\tTraceback (most recent call last):
\t  File "x.py", line 1, in x
\tbuiltins.ValueError: no
"""


def test_each_error_counts_and_its_kinds_come_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(_LOG, encoding="utf-8")
    told, again = errors([log])
    assert told == "send … broke | builtins.ValueError: no (2 times)"
    assert told.startswith(again)


def test_a_traceback_of_python_itself_is_found_at_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('Traceback (most recent call last):\n  File "x.py"\nOSError: no\n', "utf-8")
    (told,) = errors([log])
    assert told.endswith("OSError: no (1 times)")


def test_a_log_without_errors_has_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("2026-01-01T00:00:00+0000 [sbm.tap#info] sbm 1.0\n", encoding="utf-8")
    assert errors([log]) == []
