"""The process may have as many files open as the system allows without a privilege."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sbm.runtime.open_files import WANTED

LIMITS = resource.RLIMIT_NOFILE


@pytest.mark.parametrize(
    ("before", "most", "after"),
    [(256, 1000, 1000), (256, WANTED, WANTED), (1000, 1000, 1000)],
)
def test_the_limit_is_raised_as_far_as_it_may(before: int, most: int, after: int) -> None:
    assert limit_after(before, most) == after


def test_a_higher_limit_stays() -> None:
    _, most = resource.getrlimit(LIMITS)
    if most != resource.RLIM_INFINITY and most <= WANTED:
        pytest.skip("the system allows no more")
    assert limit_after(WANTED + 1, WANTED + 1) == WANTED + 1


def limit_after(before: int, most: int) -> int:
    program = (
        "import resource; from sbm.runtime.open_files import allow_open_files; allow_open_files();"
        " print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(LIMITS, (before, most)),
    )
    return int(told.stdout)
