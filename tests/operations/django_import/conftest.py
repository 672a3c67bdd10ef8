"""The old service's database beside ours."""

from __future__ import annotations

from tests.operations.django_import.old import empty_old as empty_old
from tests.operations.django_import.old import old as old
