"""``twistd`` with a profile of the processor time of its main thread, from its start to its end.

    python benchmarks/profiled_twistd.py -n sbm ...

The profile is written into the file ``$PROFILED_TWISTD``. It is run by its path, and imports
nothing of this checkout: ``$PYTHONPATH`` says whose daemon it is.
"""

from __future__ import annotations

import cProfile
import os
import sys
import time
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.scripts import twistd

COMMAND = (sys.executable, __file__)
VARIABLE = "PROFILED_TWISTD"


def main() -> None:
    """Run twistd."""
    reactor: Any = _reactor
    profile = cProfile.Profile(time.thread_time)

    def write() -> None:
        profile.disable()
        profile.dump_stats(os.environ[VARIABLE])

    # Not before: imports would be the most of it.
    reactor.callWhenRunning(profile.enable)
    reactor.addSystemEventTrigger("after", "shutdown", write)
    twistd.run()


if __name__ == "__main__":
    main()
