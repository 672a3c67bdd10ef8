"""An SFTP server that answers the request for a list with a message that never ends."""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import Any

from twisted.conch.ssh.keys import Key
from twisted.internet import reactor as global_reactor
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver

from tests.clients.voice_vendor.sftp import PASSWORD, USER, Vendor

reactor: Any = global_reactor


class _Input(LineReceiver):
    """Ends with the benchmark."""

    def connectionLost(self, _reason: Any = None) -> None:
        reactor.stop()


def environment(port: int, host_key: str) -> dict[str, str]:
    """The settings of a daemon that copies files there."""
    return {
        "AUDIO_FTP_HOST": "127.0.0.1",
        "AUDIO_FTP_PORT": str(port),
        "AUDIO_FTP_USER": USER,
        "AUDIO_FTP_PASS": PASSWORD,
        "SBM_AUDIO_FTP_HOST_KEY": host_key,
    }


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("key", type=Path)
    options = parser.parse_args()
    vendor = Vendor(options.key.parent, host_key=Key.fromFile(str(options.key)))
    vendor.number = options.port
    vendor.says = struct.pack("!LB", 2**32 - 1, 104) + bytes(64 * 2**20)
    vendor.listen()
    StandardIO(_Input())
    print("ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
