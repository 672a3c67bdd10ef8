"""Look up the locked packages in the list of known vulnerabilities, if it can be reached.

The exit status is 1 if a vulnerability is known. Without the list, nothing is checked, and a line
says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PIP_AUDIT = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"]
OPTIONS = ["--timeout", "5", "--progress-spinner", "off", "--format", "json", "--requirement"]
PATIENCE_SECONDS = 60


def main(path: str) -> int:
    """Audit one file of requirements, and say what was found."""
    try:
        said, reason = _asked(path)
        dependencies = json.loads(said)["dependencies"]
    except subprocess.TimeoutExpired:
        dependencies, reason = [], f"no answer within {PATIENCE_SECONDS} seconds"
    except ValueError:
        dependencies = []
    if not dependencies:
        print(f"audit of {path}: SKIPPED, the list of vulnerabilities cannot be read: {reason}")
        return 0
    for line in report(path, dependencies):
        print(line)
    return 1 if any(one.get("vulns") for one in dependencies) else 0


def _asked(path: str) -> tuple[str, str]:
    """What the program says on its two channels; of the second, the last line."""
    command = [*PIP_AUDIT, *OPTIONS, path]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    *_, reason = run.stderr.strip().splitlines() or ["it said nothing"]
    return run.stdout, reason


def report(path: str, dependencies: list[dict[str, Any]]) -> list[str]:
    """What is known about the packages, in lines for people."""
    lines = [
        f"{one['name']} {one['version']}: {found['id']} {' '.join(found.get('aliases', []))},"
        f" fixed in {' or '.join(found.get('fix_versions', [])) or 'no version'}"
        for one in dependencies
        for found in one.get("vulns", [])
    ]
    unknown = [one["name"] for one in dependencies if "skip_reason" in one]
    known = len(dependencies) - len(unknown)
    if not known:
        return [f"audit of {path}: SKIPPED, the list of vulnerabilities has none of the packages"]
    if unknown:
        lines.append(f"not in the list, so not checked: {', '.join(unknown)}")
    return [*lines, f"audit of {path}: {known} packages were checked"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
