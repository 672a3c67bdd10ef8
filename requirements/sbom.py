"""Write dist/sbm-<version>.cdx.json: all that an environment has, as CycloneDX."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NAME = "sbm"


def main(environment: Path, folder: Path) -> None:
    """List the packages of an environment, next to the wheel of ours that is in it."""
    (wheel,) = folder.glob(f"{NAME}-*.whl")
    output = folder / ("-".join(wheel.name.split("-")[:2]) + ".cdx.json")
    command = [sys.executable, "-m", "cyclonedx_py", "environment"]
    # To check its own output against the scheme takes ten times as long as to write it.
    options = ["--output-reproducible", "--no-validate", "--output-file", str(output)]
    subprocess.run([*command, *options, str(environment)], check=True)
    listed = json.loads(output.read_text(encoding="utf-8"))
    output.write_text(json.dumps(about_us(listed), indent=2) + "\n", encoding="utf-8")


def about_us(listed: dict[str, object]) -> dict[str, object]:
    """The same list about our package, without the paths of the machine that made it."""
    components = listed["components"]
    assert isinstance(components, list)
    for one in components:
        references = one.get("externalReferences", [])
        one["externalReferences"] = [
            reference for reference in references if not reference["url"].startswith("file:")
        ]
    (ours,) = [one for one in components if one["name"] == NAME]
    metadata = listed["metadata"]
    assert isinstance(metadata, dict)
    others = [one for one in components if one is not ours]
    return {**listed, "metadata": {**metadata, "component": ours}, "components": others}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
