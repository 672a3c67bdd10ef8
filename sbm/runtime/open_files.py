"""How many files and sockets the process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress

# The connections of clients, those that wait for their refusal, and the files of long bodies are
# up to 1,300. The rest is for all else.
WANTED = 4096


def allow_open_files() -> None:
    """Raise the limit, as far as the system allows it without a privilege.

    Most systems allow a process 1,024 at first, because of ``select``, which nothing uses here.
    """
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if most == resource.RLIM_INFINITY else min(WANTED, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
