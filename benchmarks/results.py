"""The figures of a benchmark, its JSON file, and the table that is made from such files."""

from __future__ import annotations

import json
import statistics
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


def table(folder: Path) -> str:
    """The newest results of each script as a table in reStructuredText."""
    newest: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        known = newest.get(result["script"])
        if known is None or known["date"] <= result["date"]:
            newest[result["script"]] = result
    rows = [
        [*figure["shown"], result["script"]]
        for result in newest.values()
        for figure in result["figures"]
    ]
    rows.sort(key=lambda row: (row[0] == "", float(row[0].rstrip("abc") or 0), row[0]))
    machines = [
        f"* ``{script}``: {one['date']}, commit {one['commit']}, {one['CPU']}, {one['cores']}"
        f" cores, load {one['load']} at the start and {one['load at the end']} at the end."
        for script, one in sorted(newest.items())
    ]
    return "\n".join([*_list_table([*HEAD, "script"], rows), "", *machines])


def _list_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'*' if number == 0 else ' '} - {cell}".rstrip())
    return lines
