"""The old service's database beside ours."""

from __future__ import annotations

from tests.store.django.old import empty_old as empty_old
from tests.store.django.old import old as old
