"""The roles of a daemon."""

from __future__ import annotations

from typing import Literal, get_args

# all: everything in one process. api: only requests. pipeline: everything but requests.
Role = Literal["all", "api", "pipeline"]
ROLES: tuple[Role, ...] = get_args(Role)
