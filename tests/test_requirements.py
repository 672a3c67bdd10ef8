"""What is installed is known exactly, and so is what is shipped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from requirements.audit import main, report
from requirements.lock import OF_THE_PACKAGE, TOOLS, with_source
from requirements.sbom import about_us

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "requirements").glob("*.txt"))

# One package, with everything that belongs to it.
ENTRY = re.compile(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)((?:.*\\\n)*.*)", re.MULTILINE)
DIGEST, ANOTHER = (f"sha256:{64 * digit}" for digit in "12")


def locked(path: Path) -> Iterator[tuple[str, str, str]]:
    """The name and the version of each package, and what follows them."""
    for entry in ENTRY.finditer(path.read_text(encoding="utf-8")):
        yield entry[1], entry[2], entry[3]


def given_to_setup() -> dict[str, Any]:
    """What setup.py says of the package."""
    code = (
        "import setuptools, json, sys\n"
        "def setup(**given):\n"
        "    print(json.dumps(given))\n"
        "setuptools.setup = setup\n"
        "exec(open('setup.py').read(), {'__file__': 'setup.py', '__name__': '__main__'})\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    given: dict[str, Any] = json.loads(made.stdout)
    return given


def named_in_setup() -> dict[str, list[str]]:
    """The packages that setup.py names, for each extra, and for "" without one."""
    given = given_to_setup()
    named: dict[str, list[str]] = {"": given["install_requires"], **given["extras_require"]}
    return {extra: [re.split(r"[^\w.-]", one)[0] for one in ones] for extra, ones in named.items()}


def test_there_is_a_file_for_each_purpose_and_no_other() -> None:
    assert {path.stem for path in FILES} == {"dev", *OF_THE_PACKAGE, *TOOLS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_package_has_one_version_and_hashes(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    packages = list(locked(path))
    assert packages
    assert len([line for line in lines if line[:1] not in ("", " ", "#")]) == len(packages)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", rest) for _, _, rest in packages)


def test_all_files_have_the_same_versions() -> None:
    everything = {(name, version) for name, version, _ in locked(ROOT / "requirements" / "dev.txt")}
    for path in FILES:
        assert {(name, version) for name, version, _ in locked(path)} <= everything


@pytest.mark.parametrize(("stem", "extras"), OF_THE_PACKAGE.items())
def test_nothing_that_the_package_names_is_left_to_be_found(stem: str, extras: list[str]) -> None:
    named = named_in_setup()
    wanted = {name.lower() for extra in ("", *extras) for name in named[extra]}
    found = {name for name, _, _ in locked(ROOT / "requirements" / f"{stem}.txt")}
    assert wanted <= found


def test_tox_installs_from_files_with_hashes_only() -> None:
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    named = re.findall(r"^deps = (.*)$", text, re.MULTILINE)
    assert named
    assert all(re.fullmatch(r"-r requirements/\w+\.txt", one) for one in named)


def test_a_package_that_comes_as_source_has_the_hash_of_the_source() -> None:
    entry = "txpostgres==1.7.0 \\\n    --hash={}\n    # via sbm\nx==1\n"
    wheels = entry.format("sha256:00 \\\n    --hash=sha256:01")
    assert with_source(wheels, "ff") == entry.format("sha256:ff")


# The list of what is shipped


def test_the_list_is_about_us_and_tells_no_paths_of_the_machine() -> None:
    ours: dict[str, Any] = {"name": "sbm", "version": "1"}
    other = {
        "name": "attrs",
        "externalReferences": [{"url": "file:///home/me/attrs.whl"}, {"url": "https://a.example"}],
    }
    listed: dict[str, Any] = about_us({"components": [other, ours], "metadata": {"tools": {}}})
    assert listed["metadata"] == {"tools": {}, "component": ours}
    clean = {"name": "attrs", "externalReferences": [{"url": "https://a.example"}]}
    assert listed["components"] == [clean]


# Known vulnerabilities

CLEAN = {"name": "attrs", "version": "1", "vulns": []}
HURT = {
    "name": "six",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}],
}
UNKNOWN = {"name": "old", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "lines"),
    [
        ([CLEAN], ["audit of r: 1 packages were checked"]),
        (
            [CLEAN, HURT, UNKNOWN],
            [
                "six 2: PYSEC-1 CVE-1, fixed in 3",
                "not in the list, so not checked: old",
                "audit of r: 2 packages were checked",
            ],
        ),
        (
            [UNKNOWN],
            ["audit of r: SKIPPED, the list of vulnerabilities has none of the packages"],
        ),
    ],
)
def test_an_audit_says_what_it_found(dependencies: list[dict[str, Any]], lines: list[str]) -> None:
    assert report("r", dependencies) == lines


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        ("", 0, "SKIPPED"),
        ('{"dependencies": [{"name": "attrs", "version": "1", "vulns": []}]}', 0, "1 packages"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X"}]}]}', 1, "a 1: X"),
    ],
)
def test_an_audit_fails_for_what_is_known_only(
    monkeypatch: Any, capsys: Any, said: str, status: int, told: str
) -> None:
    program = ["/bin/sh", "-c", 'printf "%s" "$0"; echo "no network" >&2', said]
    monkeypatch.setattr("requirements.audit.PIP_AUDIT", program)
    assert main("r") == status
    assert told in capsys.readouterr().out


def test_an_audit_does_not_wait_for_ever(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("requirements.audit.PIP_AUDIT", ["/bin/sh", "-c", "exec sleep 100"])
    monkeypatch.setattr("requirements.audit.PATIENCE_SECONDS", 0)
    assert main("r") == 0
    assert "SKIPPED" in capsys.readouterr().out


# The image


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / "Dockerfile").read_text()
    untied = re.sub(r"^(ARG BASE_IMAGE=[^@\n]*).*$", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "Dockerfile").write_text(untied)
    return tmp_path


def make(checkout: Path, target: str, digest: str) -> subprocess.CompletedProcess[str]:
    """Run a target, where docker knows this digest."""
    docker = checkout / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >> calls\n[ "$1" = build ] || echo "{digest}"\n')
    docker.chmod(0o755)
    environ = {**os.environ, "PATH": f"{checkout}:{os.environ['PATH']}", "MAKEFLAGS": ""}
    return subprocess.run(
        ["make", target], cwd=checkout, env=environ, capture_output=True, text=True, check=False
    )


def test_both_stages_of_the_image_have_the_same_base() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE_IMAGE}"}
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.*)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim(@sha256:[0-9a-f]{64})?", base)


def test_an_image_is_built_on_a_digest_only(checkout: Path) -> None:
    refused = make(checkout, "image", DIGEST)
    assert refused.returncode != 0
    assert 'run "make base-image" first' in refused.stderr
    assert make(checkout, "base-image", DIGEST).returncode == 0
    assert f"-slim@{DIGEST}\n" in (checkout / "Dockerfile").read_text()
    assert make(checkout, "image", DIGEST).returncode == 0
    assert "build --tag sbm" in (checkout / "calls").read_text()
    assert make(checkout, "base-image", ANOTHER).returncode == 0
    assert DIGEST not in (checkout / "Dockerfile").read_text()


def test_what_is_no_digest_is_not_written(checkout: Path) -> None:
    before = (checkout / "Dockerfile").read_text()
    assert make(checkout, "base-image", "error: no such image").returncode != 0
    assert (checkout / "Dockerfile").read_text() == before


def test_the_wheel_has_all_files_of_the_console() -> None:
    folder = ROOT / "sbm" / "console"
    shipped = {
        path
        for pattern in given_to_setup()["package_data"]["sbm.console"]
        for path in folder.glob(pattern)
    }
    present = {
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }

    assert present
    assert present - shipped == set()
