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
    {"operations"},
    {"store", "clients"},
    {"runtime", "telemetry"},
    {"settings"},
    {"model"},
)

# The same inside a layer. What is not named there lies in the row of REST.
REST = "*"
ROWS_INSIDE = {
    "web": (
        {"api"},
        {"description"},
        {"resources"},
        {"declaration"},
        {"openapi"},
        {"schema"},
        {"http"},
    ),
    "store": ({REST}, {"postgres"}),
    "pipeline": ({"sends", "scheduler", "tasks", "upkeep"}, {REST}),
    "sandbox": ({"demo"}, {"stand_ins"}, {"postgres"}, {"account"}),
    "settings": ({"config"}, {"voice_vendor"}, {"reading"}, {"endpoints"}),
}


def depths(rows: tuple[set[str], ...]) -> dict[str, int]:
    """How far down each name lies."""
    return {name: depth for depth, row in enumerate(rows) for name in row}


DEPTH = depths(ROWS)
DEPTH_INSIDE = {layer: depths(rows) for layer, rows in ROWS_INSIDE.items()}

# What is spoken in some layers only.
RESERVED = {
    "psycopg2": {"store", "operations/django_import"},
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


def room(layer: str, name: str) -> str:
    """In which room of its layer a module lies, as ROWS_INSIDE names them."""
    return name if name in DEPTH_INSIDE[layer] else REST


def import_faults(path: Path, name: str) -> Iterator[str]:
    """What is wrong with one import in a module."""
    layer = path.parts[0].removesuffix(".py")
    if name.startswith("."):
        yield "is relative"
    for package, places in RESERVED.items():
        if lies_in(name, package) and not places & {layer, "/".join(path.parts[:2])}:
            yield f"is for {' and '.join(sorted(places))} only"
    if any(lies_in(name, package) for package in FORBIDDEN.get(layer, ())):
        yield f"has no place in {layer}"
    if not points_down(path, name):
        yield "does not point down"


def points_down(path: Path, name: str) -> bool:
    """Whether an import is of a layer or a room further down, or of the module's own."""
    layer = path.parts[0].removesuffix(".py")
    parts = name.split(".")
    if parts[0] != "sbm" or len(parts) == 1 or parts[1] not in DEPTH:
        return True
    if parts[1] != layer:
        return DEPTH[layer] < DEPTH[parts[1]]
    if layer not in ROWS_INSIDE or len(parts) == 2:
        return True
    depth = DEPTH_INSIDE[layer]
    here, there = room(layer, path.parts[1].removesuffix(".py")), room(layer, parts[2])
    return here == there or depth[here] < depth[there]


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
            for fault in import_faults(path, name)
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
        ("web/http/wire.py", "from sbm.web.schema import fields", "does not point down"),
        ("store/postgres/text.py", "from sbm.store.sends import claim", "does not point down"),
        ("operations/behind.py", "import psycopg2", "is for operations/django_import and store"),
        ("web/schedule.py", "from sbm.pipeline.sends.claimer import Claims", "does not point down"),
        ("model/cron.py", "from sbm.store import sends", "does not point down"),
        ("runtime/loop.py", "from sbm.store import sends", "does not point down"),
        ("model/cron.py", "def f():\n    import twisted.python", "has no place in model"),
        (
            "pipeline/ticks.py",
            "from psycopg2 import sql",
            "is for operations/django_import and store",
        ),
        ("store/pool.py", "from treq.client import HTTPClient", "is for clients and sandbox only"),
        ("daemon.py", "from twisted.internet import reactor", "is for tap only"),
        ("daemon.py", "import twisted.internet.reactor as r", "is for tap only"),
        ("daemon.py", "from .settings import config", "is relative"),
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
        ("clients/identity_store.py", "import treq\nfrom sbm.settings.config import Config"),
        ("web/__init__.py", '"""Web."""'),
    ],
)
def test_what_the_rules_allow_passes(path: str, source: str) -> None:
    assert faults(Path(path), source) == []
