"""A database, for the parts that need one."""

from __future__ import annotations
