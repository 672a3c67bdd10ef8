"""The house's rules, read off the syntax trees: who may import whom, and how big a room may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the top down: a layer imports what lies further down, and of its own row only itself.
ROWS = (
    {"tap"},
    {"daemon", "cli"},
    {"sending"},
    {"web", "pipeline", "sandbox", "commands"},
    {"comparison"},
    {"store", "clients"},
    {"config", "files", "services", "signals", "slices", "telemetry"},
    {"audio_settings"},
    {"settings"},
    {"addresses"},
    {"model"},
)
DEPTH = {layer: depth for depth, row in enumerate(ROWS) for layer in row}

# What is spoken in some layers only.
RESERVED = {
    "psycopg2": {"store"},
    "txpostgres": {"store"},
    "treq": {"clients", "sandbox"},
    "twisted.conch": {"clients"},
    "prometheus_client": {"web"},
    "twisted.internet.reactor": {"tap"},
}
FORBIDDEN = {"model": {"twisted", "klein", "treq", "psycopg2", "txpostgres"}}

LONGEST_MODULE = 400


def imports(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a module imports, wherever in it; a relative one begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def lies_in(name: str, package: str) -> bool:
    """Whether a dotted name is the package, or something in it."""
    return name == package or name.startswith(f"{package}.")


def import_faults(layer: str, name: str) -> Iterator[str]:
    """What is wrong with one import in a module of a layer."""
    if name.startswith("."):
        yield "is relative"
    for package, layers in RESERVED.items():
        if lies_in(name, package) and layer not in layers:
            yield f"is for {' and '.join(sorted(layers))} only"
    if any(lies_in(name, package) for package in FORBIDDEN.get(layer, ())):
        yield f"has no place in {layer}"
    if lies_in(name, "sbm") and name != "sbm":
        target = name.split(".")[1]
        if target in DEPTH and target != layer and DEPTH[target] <= DEPTH[layer]:
            yield f"does not point down from {layer}"


def faults(path: Path, source: str) -> list[str]:
    """What is wrong with one module of the package; the path is relative to the package."""
    tree = ast.parse(source)
    found = []
    layer = path.parts[0].removesuffix(".py")
    if path.name == "__init__.py":
        if len(tree.body) != 1 or ast.get_docstring(tree) is None:
            found.append(f"{path}: holds more, or less, than a docstring")
    elif layer not in DEPTH:
        found.append(f"{path}: is in no layer")
    else:
        found += [
            f"{path}: import of {name} {fault}"
            for name in imports(tree)
            for fault in import_faults(layer, name)
        ]
    if len(source.splitlines()) > LONGEST_MODULE:
        found.append(f"{path}: is longer than {LONGEST_MODULE} lines")
    return found


def test_the_package_keeps_the_rules() -> None:
    package = ROOT / "sbm"
    paths = sorted(package.rglob("*.py"))
    found = [
        fault
        for path in paths
        for fault in faults(path.relative_to(package), path.read_text(encoding="utf-8"))
    ]

    assert paths
    assert "\n".join(found) == ""


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("store/sends.py", "import sbm.clients.identity_store", "does not point down"),
        ("store/sends.py", "from sbm import web", "does not point down"),
        ("web/schedule.py", "from sbm.pipeline.claim import Claims", "does not point down"),
        ("model/cron.py", "from sbm.store import sends", "does not point down"),
        ("config.py", "from sbm.store import sends", "does not point down"),
        ("model/cron.py", "def f():\n    import twisted.python", "has no place in model"),
        ("pipeline/claim.py", "from psycopg2 import sql", "is for store only"),
        ("store/pool.py", "from treq.client import HTTPClient", "is for clients and sandbox only"),
        ("daemon.py", "from twisted.internet import reactor", "is for tap only"),
        ("daemon.py", "import twisted.internet.reactor as r", "is for tap only"),
        ("daemon.py", "from .config import Config", "is relative"),
        ("jobs/run.py", "", "is in no layer"),
        ("web/__init__.py", "", "more, or less, than a docstring"),
        ("web/__init__.py", '"""Web."""\nimport os', "more, or less, than a docstring"),
        ("web/schedule.py", "\n" * 401, "longer than 400 lines"),
    ],
)
def test_a_fault_is_found(path: str, source: str, fault: str) -> None:
    (found,) = faults(Path(path), source)

    assert fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tap.py", "from twisted.internet import reactor\nfrom sbm.daemon import assemble"),
        ("daemon.py", "from sbm.web import api\nfrom sbm.store.pool import Pool"),
        ("store/sends.py", "import psycopg2\nfrom sbm.model.send import Send"),
        ("clients/identity_store.py", "import treq\nfrom sbm.config import Config"),
        ("web/__init__.py", '"""Web."""'),
    ],
)
def test_what_the_rules_allow_passes(path: str, source: str) -> None:
    assert faults(Path(path), source) == []
