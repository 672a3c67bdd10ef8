"""The sandbox as a person runs it: the real ``twistd`` in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from attrs import define, field

import sbm
from sbm.sandbox.demo.sample_content import SETS
from tests.patience import patience
from tests.ports import free_port

TWISTD = Path(sys.executable).with_name("twistd")

# Of the environment of the tests the sandbox gets no settings.
ENVIRON = {
    "PATH": os.environ.get("PATH", os.defpath),
    "PYTHONPATH": str(Path(sbm.__file__).parent.parent),
    "LC_ALL": "C.UTF-8",
    **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
}

pytestmark = pytest.mark.slow

OUTBOUNDS = "outbound/?ordering=created_at"


@define
class RunningSandbox:
    """Runs of the sandbox in one folder; their output is in ``output``.

    They are told where to listen: by itself each would take the first port that is free, and knows
    of no other that is about to.
    """

    folder: Path
    options: list[str] = field(
        factory=lambda: ["--listen", f"tcp:{free_port()}:interface=127.0.0.1"]
    )
    process: subprocess.Popen[bytes] | None = None
    contents: dict[str, str] = field(factory=dict)

    @property
    def ready_file(self) -> Path:
        return self.folder / "var" / "sandbox" / "sandbox.json"

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    def begin(self) -> subprocess.Popen[bytes]:
        """Start a run, without waiting for anything."""
        command = [str(TWISTD), "--pidfile=", "-n", "sbm", "--sandbox", *self.options]
        with (self.folder / "output").open("wb") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=ENVIRON, stdout=output, stderr=output
            )

    def run(self) -> None:
        """Start a run, and return when it is ready."""
        process = self.process = self.begin()
        eventually(lambda: self.ready_file.exists() or process.poll() is not None)
        assert process.poll() is None, self.output
        self.contents = json.loads(self.ready_file.read_text())

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit status when the run has ended."""
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(number)
        return process.wait(patience())

    def get(self, url: str) -> Any:
        """The JSON at an address of the sandbox."""
        return exchange(url, {"Authorization": f"Token {self.contents['token']}"})

    def all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"{self.contents['api']}/api/v1/{path}/")["results"]
        return found

    def outbounds(self) -> list[dict[str, Any]]:
        """The outbounds that the Message Sender has stored, oldest first."""
        found = self.get(f"{self.contents['message_sender']}/{OUTBOUNDS}")
        outbounds: list[dict[str, Any]] = found["results"]
        return outbounds


def exchange(url: str, headers: dict[str, str], data: bytes | None = None) -> Any:
    with urlopen(Request(url, data, headers), timeout=patience()) as answer:
        return json.load(answer)


def eventually(condition: Callable[[], Any]) -> None:
    """Return when it has come true; fail when it does not."""
    end = time.monotonic() + patience()
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


def processes_of(folder: Path) -> list[str]:
    """The processes that still run in a folder, or have it in their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = os.readlink(process / "cwd")
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended, or is none of ours
        if str(folder) in f"{place} {command}":
            found.append(command)
    return found


def readable_by_others(folder: Path) -> set[str]:
    """The names of the files that another account of the machine could read, except for sound."""
    found = set()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [one for one in folders if (here / one).stat().st_mode & 0o011]
        if here.name != "media":
            found |= {name for name in names if (here / name).stat().st_mode & 0o077}
    return found


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    # Not below pytest's own directory, which pytest closes to the server's account.
    folder = Path(tempfile.mkdtemp(prefix="sbm-tests-")).resolve()
    sandbox = RunningSandbox(folder)
    try:
        yield sandbox
    finally:
        if sandbox.process is not None:
            sandbox.end(signal.SIGTERM)
        eventually(lambda: not processes_of(folder))
        shutil.rmtree(folder)


def test_a_first_run_delivers_and_a_stop_leaves_nothing_running(sandbox: RunningSandbox) -> None:
    sandbox.options.clear()
    sandbox.run()
    assert list(sandbox.contents) == [
        *("api", "console", "token", "database"),
        *("identity_store", "message_sender", "scheduler", "metrics"),
    ]
    eventually(sandbox.outbounds)
    texts = {text for one in SETS for texts in one.texts.values() for text in texts}
    assert {one["content"] for one in sandbox.outbounds() if one["content"]} <= texts
    eventually(lambda: sandbox.outbounds()[0]["to_addr"] in sandbox.output)
    eventually(lambda: "message.text.sum" in sandbox.get(f"{sandbox.contents['metrics']}/metrics/"))
    assert readable_by_others(sandbox.ready_file.parent) == {"owner.lock"}
    assert sandbox.end(signal.SIGTERM) == 0
    assert processes_of(sandbox.folder) == []
    assert not sandbox.ready_file.exists()
    assert "Traceback" not in sandbox.output


def test_the_commands_that_it_shows_work_as_they_stand(sandbox: RunningSandbox) -> None:
    sandbox.run()
    eventually(lambda: sandbox.output.count("curl ") == 3)
    answers = []
    for command in re.findall(r"^ *(curl .*)$", sandbox.output, re.MULTILINE):
        _, *words = shlex.split(command)
        headers, data = {}, None
        while len(words) > 1:
            option, value, *words = words
            if option == "-H":
                name, _, said = value.partition(": ")
                headers[name] = said
            else:
                assert option == "-d"
                data = value.encode()
        answers.append(exchange(words[0], headers, data))
    health, messageset, accepted = answers
    assert health["up"]
    assert messageset["messages"]
    assert accepted == {"accepted": True}


def test_the_next_run_goes_on_where_the_last_one_stopped(sandbox: RunningSandbox) -> None:
    sandbox.run()
    eventually(sandbox.outbounds)
    assert sandbox.end(signal.SIGINT) == -signal.SIGINT  # as a shell expects after Ctrl-C
    token = sandbox.contents["token"]
    sandbox.run()
    before = sandbox.outbounds()
    assert before
    eventually(lambda: len(sandbox.outbounds()) > len(before))
    assert sandbox.outbounds()[: len(before)] == before
    assert sandbox.contents["token"] == token
    assert len(sandbox.all("schedule")) == 3
    assert len(sandbox.all("messageset")) == len(SETS)
    assert len(sandbox.all("message")) == 2 * sum(len(one) for one in SETS)
    places = Counter((one["identity"], one["messageset"]) for one in sandbox.all("subscriptions"))
    assert set(places.values()) == {1}


def test_a_run_works_at_once_after_the_last_one_was_killed(sandbox: RunningSandbox) -> None:
    sandbox.run()
    sandbox.end(signal.SIGKILL)
    assert sandbox.ready_file.exists()
    sandbox.ready_file.unlink()
    sandbox.run()
    eventually(sandbox.outbounds)


def test_a_second_ctrl_c_is_no_error(sandbox: RunningSandbox) -> None:
    sandbox.run()
    process = sandbox.process
    assert process is not None
    process.send_signal(signal.SIGINT)
    eventually(lambda: "Stopping ..." in sandbox.output)
    assert sandbox.end(signal.SIGINT) == -signal.SIGINT
    assert processes_of(sandbox.folder) == []
    assert "Traceback" not in sandbox.output


def test_a_sandbox_that_cannot_be_furnished_stops_and_shows_that_it_failed(
    sandbox: RunningSandbox,
) -> None:
    (sandbox.folder / "var" / "sandbox" / "token").mkdir(parents=True)
    process = sandbox.begin()
    assert process.wait(patience()) == -signal.SIGTERM
    assert "The sandbox cannot start" in sandbox.output
    assert processes_of(sandbox.folder) == []


def test_a_second_sandbox_in_the_same_folder_is_refused_and_harms_nothing(
    sandbox: RunningSandbox,
) -> None:
    sandbox.run()
    second = sandbox.begin()
    assert second.wait(patience()) == 1
    assert "Another sandbox is running in ./var/sandbox: stop that one first." in sandbox.output
    assert sandbox.ready_file.exists()
    assert sandbox.all("messageset")
