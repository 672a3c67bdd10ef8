"""Write requirements/*.txt again: exact versions, with the hashes of their files.

``make lock`` runs it, with the newest versions. With the argument ``--no-upgrade``, versions that
are still right stay.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Everything at once, so that all files have the same versions.
ALL = "dev"
# What the package needs, with these of its extras.
OF_THE_PACKAGE = {
    "runtime": ["sentry"],
    "sandbox": ["sandbox"],
    "test": ["test"],
    "types": ["types"],
    "docs": ["docs"],
}
# Tools that do not need the package, by the environment of tox in which they run.
TOOLS = {
    "tox": ["tox"],
    "build": ["setuptools"],
    "lint": ["ruff"],
    "package": ["build", "cyclonedx-bom", "pip-audit", "setuptools"],
    "changelog": ["towncrier"],
    "lock": ["setuptools", "uv"],
}

# All that there is of it is a .tar.bz2, which uv does not read. So uv gets a wheel that was built
# here, and pip gets the hash of the file that it will find.
SOURCE_ONLY = "txpostgres"


def main(options: list[str]) -> None:
    """Write all files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digest = source(folder)
        is_new = "--no-upgrade" not in options
        lock(ALL, ["setup.py", "--extra", "dev"], folder, ["--upgrade"] if is_new else [])
        within = ["--constraint", f"requirements/{ALL}.txt"]
        for name, extras in OF_THE_PACKAGE.items():
            chosen = [word for extra in extras for word in ("--extra", extra)]
            lock(name, ["setup.py", *chosen], folder, within)
        for name, tools in TOOLS.items():
            lock(name, ["-"], folder, within, "\n".join(tools))
        for path in HERE.glob("*.txt"):
            path.write_text(with_source(path.read_text(), digest))


def source(folder: Path) -> str:
    """Make a wheel of the package that comes as source only, and return the source's hash."""
    pip = [sys.executable, "-m", "pip"]
    alone = ["--quiet", "--no-deps", "--no-build-isolation"]
    run([*pip, "download", *alone, "--no-binary", ":all:", "--dest", str(folder), SOURCE_ONLY])
    (archive,) = folder.iterdir()
    run([*pip, "wheel", *alone, "--wheel-dir", str(folder), str(archive)])
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def lock(
    name: str, sources: list[str], folder: Path, options: list[str], names: str | None = None
) -> None:
    """Write one file, from the files ``sources``, or from ``names``."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.10"]
    # Older releases of pip need the extras to see that `coverage[toml]` is pinned, too.
    output = ["--generate-hashes", "--no-strip-extras"]
    output += ["--find-links", str(folder), "--no-emit-find-links"]
    output += ["--custom-compile-command", "make lock", "--output-file", f"requirements/{name}.txt"]
    run([*command, *output, *options, *sources], names)


def with_source(text: str, digest: str) -> str:
    """The text of a file with the hash of the source, instead of that of the wheel made here."""
    found = re.compile(rf"^({SOURCE_ONLY}==\S+)( \\\n +--hash=\S+)+", re.MULTILINE)
    return found.sub(rf"\1 \\\n    --hash=sha256:{digest}", text)


def run(command: list[str], given: str | None = None) -> None:
    """Run a command in the checkout."""
    subprocess.run(command, cwd=HERE.parent, input=given, text=True, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
