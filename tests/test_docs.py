"""The manual keeps up with the code."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from sbm.model.user import PERMISSIONS
from sbm.web.description import describe
from tests.privacy_page import PAGE, with_tables

ROOT = Path(__file__).parent.parent

# A setting: words in capitals, joined by underscores. There is one of a single word.
NAME = re.compile(r"[A-Z]+(?:_[A-Z]+)+|DEBUG")


READERS = ("config.py", "reading.py", "sending_rules.py", "api_tokens.py", "voice_vendor.py")


def sources() -> str:
    """The modules that read settings."""
    return "\n".join(
        (ROOT / "sbm" / "settings" / name).read_text(encoding="utf-8") for name in READERS
    )


def named_in_code() -> set[str]:
    """Every text in these modules that is the name of a setting."""
    trees = [
        ast.parse((ROOT / "sbm" / "settings" / name).read_text(encoding="utf-8"))
        for name in READERS
    ]
    nodes = (node for tree in trees for node in ast.walk(tree))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and NAME.fullmatch(text)}


def default_in_code() -> dict[str, str]:
    """The defaults of the numbers, as these modules have them."""
    return dict(re.findall(r'settings\.(?:count|seconds)\("(\w+)", ([\d.]+)', sources()))


def told_in_manual() -> dict[str, str]:
    """What the tables of docs/settings.rst say: the default of each setting."""
    page = (ROOT / "docs" / "settings.rst").read_text(encoding="utf-8")
    return dict(re.findall(r"^   \* - ``(\w+)``\n     -(?: (.*))?$", page, re.MULTILINE))


def test_the_manual_tells_of_every_setting_and_of_no_other() -> None:
    assert set(told_in_manual()) == named_in_code()


def test_the_manual_knows_the_defaults_of_all_numbers() -> None:
    told = told_in_manual()
    assert default_in_code()
    assert {name: told[name] for name in default_in_code()} == default_in_code()


def test_the_manual_explains_every_outcome_in_the_ledger() -> None:
    schema = (ROOT / "sql" / "schema.sql").read_text(encoding="utf-8")
    check = re.search(r"ledger_outcome_check CHECK (.*)$", schema, re.MULTILINE)
    assert check is not None
    page = (ROOT / "docs" / "monitoring.rst").read_text(encoding="utf-8")
    table = page.partition("* - Outcome\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"^   \* - ``(.+)``$", table, re.MULTILINE)) == set(
        re.findall(r"'([\w-]+)'::text", check[1])
    )


def test_the_manual_names_every_path_of_the_description() -> None:
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    table = page.partition("All endpoints\n")[2].partition(".. [#root]")[0]
    told = set()
    for row in re.findall(r"^   \* - (``.*)$", table, re.MULTILINE):
        first, *others = re.findall("``(.+?)``", row)
        told |= {first, *(other.replace("…/", first) for other in others)}
    described = set(describe("0")["paths"])
    assert {re.sub("<.*?>", "<>", path) for path in told} == {
        re.sub("{.*?}", "<>", path) for path in described
    }


def test_the_example_of_a_new_field_applies_and_changes_what_its_page_says() -> None:
    example = ROOT / "docs" / "examples" / "add-a-field.diff"
    checked = subprocess.run(
        ["git", "apply", "--check", "-C0", str(example)], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr

    changed = re.findall(
        r"^diff --git a/(\S+) b/", example.read_text(encoding="utf-8"), re.MULTILINE
    )
    page = (ROOT / "docs" / "add-a-field.rst").read_text(encoding="utf-8")
    told = re.findall(r"^   \* - ``(\S+)``$", page, re.MULTILINE)
    assert changed
    assert not [name for name in changed if not any(name.startswith(one) for one in told)]
    assert not [one for one in told if not any(name.startswith(one) for name in changed)]


def test_the_manual_has_the_list_of_personal_data() -> None:
    """`python -m tests.privacy_page` writes it."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page


def test_every_decision_has_a_date_and_a_status_and_names_what_it_replaces() -> None:
    pages = {
        path.name[:4]: path.read_text(encoding="utf-8")
        for path in (ROOT / "docs" / "decisions").glob("0*.rst")
    }
    replaced, replacing = {}, {}
    for number, page in pages.items():
        head = re.search(
            r"^:Date: \d{4}-\d\d-\d\d\n:Status: (accepted|replaced by (\d{4}))(.*)$",
            page,
            re.MULTILINE,
        )
        assert head is not None, number
        if head[2]:
            replaced[number] = head[2]
        elif of := re.search(r"replaces (\d{4})", head[3]):
            replacing[of[1]] = number
    assert replaced == replacing


def test_every_fragment_of_the_changelog_is_of_a_known_kind_and_says_something() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    kinds = set(
        re.findall(r'^\[\[tool\.towncrier\.type\]\]\ndirectory = "(\w+)"', settings, re.MULTILINE)
    )
    assert kinds
    for path in (ROOT / "changelog.d").iterdir():
        name = re.fullmatch(r"\+[\w-]+\.(\w+)\.rst", path.name)
        assert name is not None, path.name
        assert name[1] in kinds, path.name
        assert path.read_text(encoding="utf-8").strip(), path.name


def defined_in(path: Path) -> set[str]:
    """The functions, classes and methods of a module."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{one.name}"
                for one in node.body
                if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))
            }
    return found


def test_the_map_of_the_code_names_functions_that_are_there() -> None:
    page = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
    steps = re.findall(r"(sbm/[\w/]+\.py):([\w.]+)``", page)
    assert len(steps) > 20
    assert [step for step in steps if step[1] not in defined_in(ROOT / step[0])] == []


def test_the_manual_has_the_table_of_permissions() -> None:
    page = (ROOT / "docs" / "rights.rst").read_text(encoding="utf-8")
    told = re.findall(r"^   \* - ``(.+)``\n     - (.+)$", page, re.MULTILINE)
    assert told == list(PERMISSIONS.items())


def test_the_pictures_are_small_and_each_is_shown() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.rst"))
    pictures = list((ROOT / "docs" / "pictures").glob("*.png"))

    assert {path.name for path in pictures} == set(re.findall(r"image:: pictures/(\S+)", pages))
    assert [path.name for path in pictures if path.stat().st_size > 60_000] == []
