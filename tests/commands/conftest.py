"""The fixtures of the tests of commands: ``sbm``, as an operator runs it."""

from __future__ import annotations

from functools import partial

import pytest

from tests.commands.operator import Sbm, SbmAtOnce, run_apart, run_at_once, run_here


@pytest.fixture
def sbm(database_uri: str) -> Sbm:
    """Run ``sbm`` with these arguments."""
    return partial(run_here, database_uri=database_uri)


@pytest.fixture
def sbm_at_once(database_uri: str) -> SbmAtOnce:
    """Run ``sbm`` with these arguments, which name a command that needs no reactor."""
    return partial(run_at_once, database_uri=database_uri)


@pytest.fixture
def sbm_apart(database_uri: str) -> SbmAtOnce:
    """Run ``sbm`` with these arguments in a process of its own."""
    return partial(run_apart, database_uri=database_uri)
