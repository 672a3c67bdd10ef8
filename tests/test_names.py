"""A name stands for one thing: no two modules and no two types have the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The modules of these folders have the names of nouns. If several of these folders have a module of
# the same name, all of them deal with the same noun. Elsewhere, each module has a name of its own.
STAND_INS = "sandbox/stand_ins"
FOLDERS_OF_NOUNS = {
    *("model", "store", "clients", "operations", "web/resources", "commands", STAND_INS),
    *("pipeline", "pipeline/sends", "pipeline/scheduler", "pipeline/tasks", "pipeline/upkeep"),
}

# The nouns of other services. The client of the service, or the model, and the stand-in share them.
NOUNS_OF_SERVICES = {"IdentityStore", "MessageSender", "Scheduler", "Schedule"}


def types_of(source: str) -> set[str]:
    """The classes and the type aliases that a module defines, without leading underscores.

    A type alias is a capitalised name that gets a value at module level, also below an ``if`` or a
    ``try``. Type variables do not count.
    """
    tree = ast.parse(source)
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for target in targets(tree.body):
        if isinstance(target, ast.Name):
            names.add(target.id)
    bare = {name.lstrip("_") for name in names}
    return {name for name in bare if name[:1].isupper() and not name.isupper()}


def targets(body: Sequence[ast.stmt]) -> Iterator[ast.expr]:
    """The targets of all assignments at module level, except those of type variables."""
    for node in body:
        if isinstance(node, ast.Assign) and not is_type_variable(node.value):
            yield from node.targets
        elif isinstance(node, ast.AnnAssign):
            yield node.target
        elif isinstance(node, ast.If | ast.Try):
            yield from targets(node.body + node.orelse)


def is_type_variable(value: ast.expr) -> bool:
    """Whether a value is a new type variable."""
    return isinstance(value, ast.Call) and ast.unparse(value.func) in ("TypeVar", "ParamSpec")


def homonyms(sources: Mapping[Path, str]) -> list[str]:
    """The names of modules and types that stand for several things; paths are below ``sbm``."""
    modules, types = defaultdict(list), defaultdict(list)
    for path, source in sources.items():
        if path.name != "__init__.py":
            modules[path.stem].append(path.parent.as_posix())
        for name in types_of(source):
            types[name].append(path.parent.as_posix())
    return [
        f"{name}: is in {' and '.join(places)}"
        for names, is_one_thing in ((modules, is_one_noun), (types, is_noun_of_service))
        for name, places in sorted(names.items())
        if len(places) > 1 and not is_one_thing(name, places)
    ]


def is_one_noun(_name: str, places: Sequence[str]) -> bool:
    """Whether all of these folders have modules with the names of nouns."""
    return FOLDERS_OF_NOUNS.issuperset(places)


def is_noun_of_service(name: str, places: Sequence[str]) -> bool:
    """Whether a type is a noun of another service, in one client or model and in the stand-in."""
    others = [place for place in places if place != STAND_INS]
    return (
        name in NOUNS_OF_SERVICES
        and len(places) == 2
        and len(others) == 1
        and others[0] in ("clients", "model")
    )


def sources(folder: str) -> dict[Path, str]:
    """The modules below a folder."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT / folder): path.read_text(encoding="utf-8") for path in paths}


def shared_by_tests() -> dict[Path, str]:
    """The modules that tests share. A test module may have small classes for itself."""
    return {
        path: source
        for path, source in sources("tests").items()
        if not path.name.startswith("test_") and path.name != "conftest.py"
    }


def test_a_name_stands_for_one_thing() -> None:
    modules = sources("sbm")

    assert modules
    assert "\n".join(homonyms(modules)) == ""


def test_every_noun_of_a_service_is_used_by_two() -> None:
    found = [name for source in sources("sbm").values() for name in types_of(source)]

    assert {name for name in NOUNS_OF_SERVICES if found.count(name) != 2} == set()


def test_a_type_that_tests_share_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path, source in shared_by_tests().items():
        for name in types_of(source):
            places[name].append(path.as_posix())

    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("web/http/text.py", "model/text.py", "text"),
        ("store/postgres/sends.py", "store/sends.py", "sends"),
        ("store/one.py:class Reply: pass", "web/http/two.py:class Reply: pass", "Reply"),
        ("store/one.py:class _Reply: pass", "web/http/two.py:Reply = int | str", "Reply"),
        ("store/one.py:class Reply: pass", "model/two.py:Reply: TypeAlias = int", "Reply"),
        ("store/one.py:class Reply: pass", "model/two.py:if A:\n    Reply = int", "Reply"),
        ("web/one.py:class Reply: pass", f"{STAND_INS}/two.py:class Reply: pass", "Reply"),
        ("model/one.py:class Reply: pass", f"{STAND_INS}/two.py:class Reply: pass", "Reply"),
        ("web/one.py:class Schedule: pass", f"{STAND_INS}/two.py:Schedule = int", "Schedule"),
    ],
)
def test_a_homonym_is_found(first: str, second: str, name: str) -> None:
    (found,) = homonyms(dict(map(module, (first, second))))

    assert found.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("store/sends.py", "pipeline/upkeep/sends.py"),
        ("model/user.py:User = int | str", "store/users.py:class Users: pass"),
        ("clients/one.py:class Scheduler: pass", f"{STAND_INS}/two.py:class Scheduler: pass"),
        ("store/one.py:Row = TypeVar('Row')", "web/two.py:Row = TypeVar('Row')"),
        ("store/one.py:LIMIT = 1", "web/two.py:LIMIT = 2"),
    ],
)
def test_a_shared_noun_is_not_a_homonym(first: str, second: str) -> None:
    assert homonyms(dict(map(module, (first, second)))) == []


def module(text: str) -> tuple[Path, str]:
    """A module's path and source, written with a colon between them."""
    path, _, source = text.partition(":")
    return Path(path), source
