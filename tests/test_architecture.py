"""The rules of the packages: which module may import which, and how long a module may be."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

# From the top down: a layer may import layers of lower rows, and no other layer of its own row.
ROWS = (
    {"tap"},
    {"daemon", "cli"},
    {"maintenance", "serving"},
    {"sending"},
    {"console"},
    {"web", "pipeline", "sandbox", "commands"},
    {"operations"},
    {"store", "clients"},
    {"runtime", "telemetry"},
    {"settings"},
    {"model"},
)

# The same inside a layer. Modules without a name here are in the row of REST, if there is one.
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
    "console": (
        {"console"},
        {"screens"},
        {"actions"},
        {"answering", "live", "static_files"},
        {"visit"},
        {REST},
    ),
    "store": ({REST}, {"postgres"}),
    "pipeline": ({"sends", "scheduler", "tasks", "ticks", "upkeep"}, {REST}),
    "clients": (
        {"identity_store", "message_sender", "scheduler", "metrics", "voice_vendor"},
        {"service_client", "links"},
        {"prepared_client"},
        {"http_agent"},
        {"http_connection"},
        {"outcomes", "certificates"},
    ),
    "runtime": ({"loop"}, {"work_gate"}, {REST}),
    "sandbox": ({"demo"}, {"stand_ins"}, {"postgres"}, {"account", "private_files"}),
    "settings": (
        {"config"},
        {"voice_vendor", "api_tokens", "delivery_delays", "sending_rules"},
        {"reading"},
        {"endpoints"},
    ),
}


def depths(rows: tuple[set[str], ...]) -> dict[str, int]:
    """How far down each name lies."""
    return {name: depth for depth, row in enumerate(rows) for name in row}


DEPTH = depths(ROWS)
DEPTH_INSIDE = {layer: depths(rows) for layer, rows in ROWS_INSIDE.items()}

# Libraries that only some layers may import.
RESERVED = {
    "babel": {"console"},
    "jinja2": {"console"},
    "psycopg2": {"store", "settings/endpoints.py"},
    "regex": {"model/usernames.py"},
    "txpostgres": {"store"},
    "treq": {"clients", "sandbox"},
    "httptools": {"clients"},
    "twisted.conch": {"clients"},
    "prometheus_client": {"web"},
    "sentry_sdk": {"runtime/sentry.py"},
    "twisted.internet.reactor": {"tap"},
}
# No private part of Twisted is imported. These are those that subclasses inherit, by the class. An
# upgrade of Twisted has to look at these.
INHERITED_INTERNALS = {
    "sbm.clients.voice_vendor.ssh.Sftp": {"_log", "_parseRequest"},
    "sbm.clients.voice_vendor.ssh.Ssh": {"_log", "_dhMinimalGroupSize"},
    "sbm.clients.voice_vendor.ssh._UserAuthentication": {"_log"},
    "sbm.clients.voice_vendor.ssh._Channel": {"_log"},
    "sbm.clients.voice_vendor.ssh._SshConnection": {"_log"},
    "sbm.web.http.channel.BoundedChannel": {
        "_buffer",
        "_command",
        "_handlingRequest",
        "_networkProducer",
        "_path",
        "_respondToBadRequestAndDisconnect",
        "_send100Continue",
        "_transferDecoder",
        "_version",
    },
    "sbm.web.http.held_channel.HeldChannel": {
        "_networkProducer",
        "_transferDecoder",
        "_waitingForTransport",
    },
}
# A private attribute or method, where it is defined or used in its class.
PRIVATE = re.compile(r"\bself\.(_[a-z]\w*)|\bdef (_[a-z]\w*)|^    (_[a-z]\w*)\b", re.MULTILINE)

FORBIDDEN = {"model": {"twisted", "klein", "treq", "psycopg2", "txpostgres"}}

LONGEST_MODULE = 400

# Arguments by position are easily swapped, and mypy does not notice a swap of durations.
MOST_POSITIONAL = 1


def positional_fields(class_: ast.ClassDef) -> list[str]:
    """The fields of an attrs class that its constructor takes by their position."""
    decorators = [decorator for decorator in class_.decorator_list if _is_attrs(decorator)]
    if not decorators or any(_is_set(decorator, "kw_only", True) for decorator in decorators):
        return []
    return [
        ast.unparse(node.target)
        for node in class_.body
        if isinstance(node, ast.AnnAssign)
        and not lies_in(ast.unparse(node.annotation).partition("[")[0], "ClassVar")
        and not _is_set(node.value, "init", False)
        and not _is_set(node.value, "kw_only", True)
    ]


def _is_attrs(decorator: ast.expr) -> bool:
    name = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
    return name.removeprefix("attrs.") in ("define", "frozen", "mutable")


def _is_set(call: ast.expr | None, name: str, value: bool) -> bool:
    return isinstance(call, ast.Call) and any(
        keyword.arg == name
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is value
        for keyword in call.keywords
    )


def unnamed_arguments(tree: ast.Module) -> Iterator[str]:
    """Classes and calls with several arguments that only their positions distinguish."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and len(positional_fields(node)) > MOST_POSITIONAL:
            yield f"{node.name} takes more than {MOST_POSITIONAL} argument by position"
        elif isinstance(node, ast.Call):
            for argument in node.args:
                if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Tuple):
                    yield f"line {argument.lineno}: arguments are wrapped in a tuple"


def imports(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a module imports, wherever in it; a relative one begins with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def lies_in(name: str, package: str) -> bool:
    """Whether a dotted name is the package, or a part of it."""
    return name == package or name.startswith(f"{package}.")


def is_private_to_twisted(name: str) -> bool:
    """Whether Twisted may remove a name without notice."""
    return lies_in(name, "twisted") and any(part.startswith("_") for part in name.split("."))


def part(layer: str, name: str) -> str:
    """The part of its layer that a module belongs to, as ROWS_INSIDE names it."""
    return name if name in DEPTH_INSIDE[layer] else REST


def has_part(path: Path) -> bool:
    """Whether ROWS_INSIDE has a part for a module."""
    layer = path.parts[0].removesuffix(".py")
    if layer not in ROWS_INSIDE:
        return True
    return part(layer, path.parts[1].removesuffix(".py")) in DEPTH_INSIDE[layer]


def import_faults(path: Path, name: str) -> Iterator[str]:
    """The faults of one import in a module."""
    layer = path.parts[0].removesuffix(".py")
    if name.startswith("."):
        yield "is relative"
    for package, places in RESERVED.items():
        if lies_in(name, package) and not places & {layer, "/".join(path.parts[:2])}:
            yield f"is for {' and '.join(sorted(places))} only"
    if is_private_to_twisted(name):
        yield "is private to Twisted"
    if any(lies_in(name, package) for package in FORBIDDEN.get(layer, ())):
        yield f"has no place in {layer}"
    if not points_down(path, name):
        yield "does not point down"


def points_down(path: Path, name: str) -> bool:
    """Whether an import is of a lower layer or part, or of the module's own."""
    layer = path.parts[0].removesuffix(".py")
    parts = name.split(".")
    if parts[0] != "sbm" or len(parts) == 1 or parts[1] not in DEPTH:
        return True
    if parts[1] != layer:
        return DEPTH[layer] < DEPTH[parts[1]]
    if layer not in ROWS_INSIDE or len(parts) == 2:
        return True
    depth = DEPTH_INSIDE[layer]
    here, there = part(layer, path.parts[1].removesuffix(".py")), part(layer, parts[2])
    return here == there or depth[here] < depth[there]


def faults(path: Path, source: str) -> list[str]:
    """The faults of one module of sbm; the path is relative to the package."""
    tree = ast.parse(source)
    found = []
    layer = path.parts[0].removesuffix(".py")
    if path.name == "__init__.py":
        if len(tree.body) != 1 or ast.get_docstring(tree) is None:
            found.append(f"{path}: is not just a docstring")
    elif layer not in DEPTH:
        found.append(f"{path}: is in no layer")
    elif not has_part(path):
        found.append(f"{path}: is in no part of its layer")
    else:
        found += [
            f"{path}: import of {name} {fault}"
            for name in imports(tree)
            for fault in import_faults(path, name)
        ]
    found += [f"{path}: {fault}" for fault in unnamed_arguments(tree)]
    if len(source.splitlines()) > LONGEST_MODULE:
        found.append(f"{path}: is longer than {LONGEST_MODULE} lines")
    return found


def sources() -> dict[Path, str]:
    """The modules of the package."""
    package = ROOT / "sbm"
    paths = sorted(package.rglob("*.py"))
    return {path.relative_to(package): path.read_text(encoding="utf-8") for path in paths}


def test_the_package_keeps_the_rules() -> None:
    modules = sources()
    found = [fault for path, source in modules.items() for fault in faults(path, source)]

    assert modules
    assert "\n".join(found) == ""


TWO_FIELDS = "    a: int\n    b: int\n"


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("store/sends.py", "import sbm.clients.identity_store", "does not point down"),
        ("store/sends.py", "from sbm import web", "does not point down"),
        ("web/http/wire.py", "from sbm.web.schema import fields", "does not point down"),
        ("store/postgres/storable.py", "from sbm.store.sends import claim", "does not point down"),
        (
            "operations/behind.py",
            "import psycopg2",
            "is for settings/endpoints.py and store",
        ),
        ("clients/outcomes.py", "import sbm.clients.service_client", "does not point down"),
        ("clients/metrics.py", "from sbm.clients import scheduler", "does not point down"),
        ("runtime/wakeups.py", "from sbm.runtime.loop import Loop", "does not point down"),
        ("pipeline/breaker.py", "from sbm.pipeline.sends.retries import x", "does not point down"),
        ("pipeline/ticks.py", "from sbm.pipeline.scheduler.outbox import x", "does not point down"),
        (
            "pipeline/tasks/audio.py",
            "from sbm.pipeline.sends.completer import x",
            "does not point down",
        ),
        ("settings/other.py", "", "is in no part of its layer"),
        (
            "web/resources/schedule.py",
            "from sbm.pipeline.sends.claimer import Claims",
            "does not point down",
        ),
        ("model/cron.py", "from sbm.store import sends", "does not point down"),
        ("runtime/loop.py", "from sbm.store import sends", "does not point down"),
        ("model/cron.py", "def f():\n    import twisted.python", "has no place in model"),
        (
            "pipeline/ticks.py",
            "from psycopg2 import sql",
            "is for settings/endpoints.py and store",
        ),
        ("store/pool.py", "from treq.client import HTTPClient", "is for clients and sandbox only"),
        ("daemon.py", "from twisted.internet import reactor", "is for tap only"),
        ("daemon.py", "import twisted.internet.reactor as r", "is for tap only"),
        ("daemon.py", "from .settings import config", "is relative"),
        (
            "clients/metrics.py",
            "from twisted.web._newclient import RequestNotSent",
            "is private to Twisted",
        ),
        (
            "web/http/wire.py",
            "from twisted.web.http import _IdentityTransferDecoder",
            "is private to Twisted",
        ),
        ("jobs/run.py", "", "is in no layer"),
        ("web/__init__.py", "", "is not just a docstring"),
        ("web/__init__.py", '"""Web."""\nimport os', "is not just a docstring"),
        ("web/resources/schedule.py", "\n" * 401, "longer than 400 lines"),
        ("daemon.py", "Breaker(*(name, seconds), cap=cap)", "wrapped in a tuple"),
        (
            "daemon.py",
            f"@define(eq=False)\nclass A:\n{TWO_FIELDS}",
            "A takes more than 1 argument by position",
        ),
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
        ("clients/http_agent.py", "import httptools\nfrom twisted.web.client import URI"),
        ("store/sends.py", "import psycopg2\nfrom sbm.model.send import Send"),
        ("clients/identity_store.py", "import treq\nfrom sbm.settings.config import Config"),
        ("web/__init__.py", '"""Web."""'),
        ("daemon.py", "Parallel(*services, *(Port(one) for one in ports))"),
        (
            "daemon.py",
            f"@frozen(kw_only=True)\nclass A:\n{TWO_FIELDS}",
        ),
        (
            "daemon.py",
            "@define\nclass A:\n    a: int = field(init=False)\n    b: int = field(kw_only=True)\n"
            "    c: ClassVar[int] = 1\n    d: int",
        ),
    ],
)
def test_what_the_rules_allow_passes(path: str, source: str) -> None:
    assert faults(Path(path), source) == []


def private_names(class_: type[Any]) -> set[str]:
    """The private attributes and methods in the source of a class."""
    return {name for names in PRIVATE.findall(inspect.getsource(class_)) for name in names if name}


def inherited_internals(class_: type[Any]) -> set[str]:
    """The private names that a class has in common with those of Twisted that it inherits from."""
    bases = [
        base
        for base in class_.__mro__
        # A class that was made by a function (proxyForInterface) has no source of its own.
        if base.__module__.startswith("twisted.")
        and hasattr(sys.modules[base.__module__], base.__name__)
    ]
    return private_names(class_) & set().union(*map(private_names, bases))


def test_all_private_parts_of_twisted_that_are_inherited_are_listed() -> None:
    found = {}
    for path in sorted((ROOT / "sbm").rglob("*.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for class_ in vars(module).values():
            if inspect.isclass(class_) and class_.__module__ == module.__name__:
                names = inherited_internals(class_)
                if names:
                    found[f"{module.__name__}.{class_.__name__}"] = names

    assert found == INHERITED_INTERNALS
