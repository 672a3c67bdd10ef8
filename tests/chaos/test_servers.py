"""What the harness does with a process that serves."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chaos.servers import ServerProcess
from tests.ports import free_port

# It handles SIGTERM only when it begins to serve, as a daemon does.
_SLOW_TO_START = """
import signal, socket, sys, time
time.sleep(1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
serving = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    with serving.accept()[0] as client:
        client.recv(1000)
        client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
"""


def test_a_process_that_is_stopped_while_it_starts_does_not_end_badly(tmp_path: Path) -> None:
    port = free_port()
    process = ServerProcess(
        "slow",
        port,
        [sys.executable, "-c", _SLOW_TO_START, str(port)],
        tmp_path / "log",
    )
    process.start()
    process.stop()
    assert process.bad_ends == []
    assert not process.is_running
