"""The figures of a benchmark, its JSON file, and the table that is made from such files."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

RESULTS = Path(__file__).parent / "results"


@frozen(kw_only=True)
class Figure:
    """One thing that was measured in each round, on our side, and on another side if there is one.

    ``measure`` is its number in the table of goals, or empty. ``ours`` and ``theirs`` have one
    value for each round, in ``unit``. If there is another side, the goal is about the ratio: ours ÷
    theirs, or theirs ÷ ours if ``is_inverse``.
    """

    measure: str = ""
    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    goal: str = ""
    is_inverse: bool = False

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round."""
        if not self.theirs:
            return []
        pairs = zip(self.ours, self.theirs, strict=True)
        return [theirs / ours if self.is_inverse else ours / theirs for ours, theirs in pairs]

    def cells(self) -> list[str]:
        """The cells of its row: measure, name, ours, the other side, the ratio, and the goal."""
        sides = [spread(self.ours, self.unit), spread(self.theirs, self.unit), spread(self.ratios)]
        return [self.measure, self.name, *sides, self.goal]


HEAD = ("measure", "what", "ours", "the other side", "ratio", "goal")


def spread(values: Sequence[float], unit: str = "") -> str:
    """The median, and the lowest and highest value if there are several."""
    if not values:
        return ""
    text = f"{_short(statistics.median(values))} {unit}".strip()
    if len(values) == 1:
        return text
    return f"{text} ({_short(min(values))} to {_short(max(values))})"


def _short(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def add_options(parser: argparse.ArgumentParser, quick: Mapping[str, Any]) -> None:
    """Add the options of all benchmarks; ``quick`` are the values of others with ``--quick``."""
    parser.add_argument("--quick", action="store_true", help="small numbers: less than a minute")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    if "--quick" in sys.argv:
        parser.set_defaults(**quick)


def write(
    folder: Path,
    script: str,
    about: Mapping[str, Any],
    settings: Mapping[str, Any],
    figures: Iterable[Figure],
) -> Path:
    """Write a JSON file; its name is that of the script and the date."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = about["date"].removesuffix(" UTC").replace(" ", "-").replace(":", "")
    path = folder / f"{script}-{moment}.json"
    told = {"script": script, **about, "settings": dict(settings)}
    told["figures"] = [
        {**asdict(figure), "ratios": figure.ratios, "shown": figure.cells()} for figure in figures
    ]
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def table(folder: Path, *, with_all: bool) -> str:
    """The newest results of each script in reStructuredText; by default, only those with a goal."""
    read = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    newest = {one["script"]: one for one in sorted(read, key=_precedence)}
    rows = [
        [*figure["shown"], result["script"]]
        for result in newest.values()
        for figure in result["figures"]
        if with_all or figure["goal"]
    ]
    rows.sort(key=lambda row: (row[0] == "", float(row[0].rstrip("abc") or 0), row[0]))
    machines = [_circumstances(one) for _, one in sorted(newest.items())]
    return "\n".join([*_list_table([*HEAD, "script"], rows), "", *machines])


def _circumstances(result: Mapping[str, Any]) -> str:
    """Where and when a result was found."""
    quick = " --quick" if _is_quick(result) else ""
    where = ", ".join(result[name] for name in ("date", "CPU"))
    return (
        f"* ``{result['script']}{quick}``: {where}, {result['cores']} cores, commit"
        f" {result['commit']}, load {result['load']} to {result['load at the end']}."
    )


def _precedence(result: Mapping[str, Any]) -> tuple[bool, str]:
    """A quick result counts only if there is no other."""
    return not _is_quick(result), result["date"]


def _is_quick(result: Mapping[str, Any]) -> bool:
    return result["settings"]["quick"] in (True, "True")


def _list_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}".rstrip())
    return lines
