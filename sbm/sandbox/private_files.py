"""Files of the sandbox that may have tokens in them."""

from __future__ import annotations

import os


def private(path: str, flags: int) -> int:
    """Open a file that only we may read, from its first moment on: an ``opener`` for ``open``.

    A file that is there already, perhaps from an earlier release, becomes so.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor
