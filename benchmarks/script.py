"""What all benchmarks share: options, a folder, an orderly end, and a report."""

from __future__ import annotations

import argparse
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from benchmarks import machine, results
from benchmarks.results import Figure


@frozen(eq=False, kw_only=True)
class Script:
    """A benchmark. ``quick`` are the values of its options for a run of less than a minute.

    ``measure`` gets the options and a new folder, prints what it finds, and returns the figures. It
    may add to ``about``, which is written into the result.
    """

    name: str
    doc: str
    measure: Callable[[argparse.Namespace, Path, dict[str, Any]], Sequence[Figure]]
    options: Mapping[str, Any] = field(factory=dict)
    quick: Mapping[str, Any] = field(factory=dict)

    def run(self) -> None:
        """Parse the command line, measure, print, and write the result."""
        options = self._parse()
        about: dict[str, Any] = dict(machine.about())
        print("; ".join(f"{name} {value}" for name, value in about.items()), flush=True)
        _end_in_order()
        with tempfile.TemporaryDirectory(prefix="sbm-benchmark-") as folder:
            figures = self.measure(options, Path(folder), about)
        about["load at the end"] = machine.load()
        for figure in figures:
            print_figure(figure)
        settings = {name: value for name, value in vars(options).items() if name != "results"}
        path = results.write(options.results, self.name, about, settings, figures)
        print(f"written to {path}")

    def _parse(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{self.name}",
            description=self.doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, value in self.options.items():
            flag = "--" + name.replace("_", "-")
            if isinstance(value, (tuple, list)):
                parser.add_argument(flag, type=type(value[0]), nargs="+", default=value)
            else:
                parser.add_argument(flag, type=type(value), default=value)
        results.add_options(parser, self.quick)
        return parser.parse_args()


def print_figure(figure: Figure) -> None:
    """Print both sides, their ratio, and the goal."""
    number, name, ours, theirs, ratio, goal = figure.cells()
    line = f"{number:>3}  {name}: {ours}"
    if theirs:
        line += f"; the other side {theirs}; ratio {ratio}"
    print(line + (f"; goal {goal}" if goal else ""), flush=True)


def _end_in_order() -> None:
    """Let SIGINT and SIGTERM end the script by an exception, so that everything is removed.

    A second signal is ignored, because it would interrupt that.
    """

    def end(number: int, _frame: Any) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, end)
