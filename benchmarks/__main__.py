"""The list of all benchmarks, and the table of their results.

python -m benchmarks
python -m benchmarks table [--results FOLDER] [--all] [--write]
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

from benchmarks import results

SCRIPTS = (
    "send",
    "several_daemons",
    "sizes",
    "tick_of_a_million",
    "limits",
    "api",
    "versus_procrastinate",
    "refusals",
    "hostile_peers",
    "hostile_clients",
    "open_pages",
    "pages",
    "million",
    "ledger",
    "behind",
    "silent",
    "simulation",
    "import_django",
    "profiles",
    "chaos",
)
_HERE = Path(__file__).parent
_README = _HERE / "README.rst"
_BEGIN, _END = ".. The table begins here.", ".. The table ends here."


def question(script: str) -> str:
    """The first line of a script's docstring, without importing the script."""
    tree = ast.parse((_HERE / f"{script}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def write(table: str) -> None:
    """Replace the table in the README."""
    text = _README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _README.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}", encoding="utf-8")


def main() -> None:
    """List the scripts, or make the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="command")
    table = commands.add_parser("table", help="make a table of the newest results of each script")
    table.add_argument("--results", type=Path, default=results.RESULTS, metavar="FOLDER")
    table.add_argument("--all", action="store_true", help="also figures without a goal")
    table.add_argument("--write", action="store_true", help="write it into benchmarks/README.rst")
    options = parser.parse_args()
    if options.command is None:
        for script in SCRIPTS:
            print(f"python -m benchmarks.{script:22}{question(script)}")
        print("\nEach takes --quick and --help. `python -m benchmarks table` shows the results.")
        return
    text = results.table(options.results, with_all=options.all)
    if options.write:
        write(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
