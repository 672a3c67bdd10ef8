"""A database, for the parts that need one."""

from __future__ import annotations

from tests.store.conftest import behind as behind
from tests.store.conftest import database as database
