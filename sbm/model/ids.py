"""Where ids begin and end."""

from __future__ import annotations

from uuid import UUID

# Before the first id, where rows are gone through in the order of their ids.
BEFORE_ALL = UUID(int=0)

# Ids of rows that are numbered have four bytes, as other numbers that are stored.
LARGEST_ID = 2**31 - 1
