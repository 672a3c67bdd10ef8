"""The lines on the terminal."""

from __future__ import annotations

import re
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger, LogPublisher

from sbm.sandbox.demo.terminal import Line, Terminal

TIME = re.compile(r"^\d\d:\d\d:\d\d  ", re.MULTILINE)


class ShownTerminal:
    """A terminal of a width, and a logger that is heard on it."""

    def __init__(self, *, width: int = 60, colours: bool = False, stream: Any = None) -> None:
        self.stream: Any = stream or StringIO()
        terminal: Any = Terminal(stream=self.stream, colours=colours, width=lambda: width)
        publisher: Any = LogPublisher(terminal)
        self.log = Logger(observer=publisher)

    def shown(self) -> str:
        return TIME.sub("", self.stream.getvalue())


@pytest.fixture
def scene() -> ShownTerminal:
    return ShownTerminal()


def test_a_line_comes_with_the_time_of_day(scene: ShownTerminal) -> None:
    scene.log.info("{line}", line=Line.of("hello"))
    assert TIME.match(scene.stream.getvalue())
    assert scene.shown() == "hello\n"


def test_what_is_no_line_is_for_the_log_file_alone(scene: ShownTerminal) -> None:
    scene.log.info("something technical")
    assert scene.shown() == ""


def test_the_last_piece_is_cut_to_the_width() -> None:
    scene = ShownTerminal(width=30)
    scene.log.info("{line}", line=Line.of(("number", "+2782  "), "a long text that does not fit"))
    assert scene.shown() == "+2782  a long tex...\n"
    assert len(scene.stream.getvalue().rstrip("\n")) == 30


def test_a_narrow_terminal_gets_no_more_than_it_can_hold() -> None:
    scene = ShownTerminal(width=14)
    scene.log.info("{line}", line=Line.of("+27820001001", "  ", "text"))
    assert len(scene.stream.getvalue().rstrip("\n")) == 14


def test_a_line_of_a_block_stands_as_it_is() -> None:
    scene = ShownTerminal(width=10)
    scene.log.info("{line}", line=Line(spans=(("", "  curl something long"),), block=True))
    assert scene.stream.getvalue() == "  curl something long\n"


def test_a_warning_is_shown_in_full() -> None:
    scene = ShownTerminal(width=10)
    scene.log.warn("a long warning about {what}", what="the weather")
    assert scene.shown() == "a long warning about the weather\n"


def test_an_error_is_shown_with_its_traceback(scene: ShownTerminal) -> None:
    try:
        raise ValueError("what a pity")
    except ValueError:
        scene.log.failure("it broke")
    assert scene.shown().startswith("it broke\n")
    assert "ValueError: what a pity" in scene.shown()


def test_pressing_ctrl_c_twice_is_no_error(scene: ShownTerminal) -> None:
    try:
        raise ReactorNotRunning("Can't stop reactor that isn't running.")
    except ReactorNotRunning:
        scene.log.failure("while calling from thread")
    assert scene.shown() == ""


def test_colours_are_only_where_they_are_wanted() -> None:
    line = Line.of(("number", "+2782"), " text")
    coloured, plain = ShownTerminal(colours=True), ShownTerminal()
    for scene in (coloured, plain):
        scene.log.info("{line}", line=line)
    assert "\x1b[36m+2782\x1b[0m text" in coloured.shown()
    assert "\x1b" not in plain.shown()


def test_a_message_cannot_command_the_terminal(scene: ShownTerminal) -> None:
    scene.log.info("{line}", line=Line.of("a\x1b[2Jb\nc"))
    assert scene.shown() == "a [2Jb c\n"


def test_a_terminal_without_a_character_shows_another() -> None:
    bare = TextIOWrapper(BytesIO(), encoding="ascii")
    ShownTerminal(stream=bare).log.info("{line}", line=Line.of("gesonde baba hê"))
    bare.seek(0)
    assert bare.read().endswith("gesonde baba h?\n")


def test_a_line_is_plain_text_in_the_log_file() -> None:
    assert str(Line.of(("number", "+2782"), " text")) == "+2782 text"
