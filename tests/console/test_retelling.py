"""The sentences of other layers are found, and told in the language of the reader."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sbm.console.retelling import SENTENCES, retold
from sbm.console.texts import translations

SBM = Path(__file__).parent.parent.parent / "sbm"

_QUOTED = re.compile(r"'([^'\n]+)'")
_VALUE = re.compile(r"%\(\w+\)s|\{\w*\}")


@cache
def sentences_of_other_layers() -> frozenset[str]:
    """All constants outside the console, with a mark where a value is."""
    paths = (path for path in SBM.rglob("*.py") if SBM / "console" not in path.parents)
    in_python = {
        told for path in paths for told in _told(ast.parse(path.read_text(encoding="utf-8")))
    }
    queries = (SBM.parent / "sql" / "queries").glob("*.sql")
    in_sql = (_QUOTED.findall(path.read_text(encoding="utf-8")) for path in queries)
    return frozenset(in_python.union(*in_sql))


def _told(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _VALUE.sub("\0", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values
            )


@pytest.mark.parametrize("sentence", SENTENCES)
def test_another_layer_says_it(sentence: str) -> None:
    skeleton = _VALUE.sub("\0", sentence)

    # What is optional at the end has a mark of its own.
    assert {skeleton, f"{skeleton}\0"} & sentences_of_other_layers()


@pytest.mark.parametrize("sentence", SENTENCES)
def test_it_stays_in_english_and_is_told_in_french(sentence: str) -> None:
    told = _VALUE.sub("7", sentence)

    assert retold(translations("en"), told) == told
    assert retold(translations("fr"), told) != told


@pytest.mark.parametrize(
    ("english", "french"),
    [
        (
            "Ensure this field has no more than 100 characters.",
            "Ce champ ne doit pas avoir plus de 100 caractères.",
        ),
        (
            "It must have 1 to 150 characters.",
            "Cette valeur doit avoir de 1 à 150 caractères.",
        ),
        (
            "the change in entry 4 cannot be undone: the person was forgotten",
            "La modification de l’entrée 4 ne peut pas être annulée\u00a0: la personne a été"
            " oubliée",
        ),
        (
            "mothers has no message in eng_ZA from number 3 on",
            "mothers n’a pas de message en eng_ZA à partir du numéro 3",
        ),
        ('"100 %" is not a valid choice.', "«\u00a0100 %\u00a0» n’est pas un choix possible."),
        ("Nobody has said this before.", "Nobody has said this before."),
    ],
)
def test_the_values_stay(english: str, french: str) -> None:
    assert retold(translations("fr"), english) == french
