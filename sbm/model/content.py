"""Schedules, message sets, messages and files: what is sent, and when."""

from __future__ import annotations

import re
from datetime import datetime

from attrs import field, frozen

from sbm.model.content_rules import Medium
from sbm.model.json_text import JsonText, json_text

CONTENT_TYPES = ("text", "audio")

# ISO 639-3, with or without a country. A list of languages would be out of date.
_LANGUAGE = re.compile(r"[a-z]{3}(_[A-Z]{2})?")

# What happens at a number without a message in the language of a reader: the next message in that
# language is sent, or the message in another language, or nothing until it is translated.
NEXT = "next"
WAIT = "wait"
FALLBACK = "fallback:"


@frozen(kw_only=True)
class Schedule:
    """The five fields of a cron line, the name of the time zone in which they are read, and limits.

    Without a time zone, it has that of all schedules (see ``TimeZones``). The limits are those of
    the messages that leave: their hours, their longest age in seconds, how many leave in a second,
    after how many a tick waits for a person, and the share of failures that stops it, in percent of
    so many at least. Without a value, there is no limit.
    """

    id: int
    minute: str
    hour: str
    day_of_week: str
    day_of_month: str
    month_of_year: str
    time_zone: str | None = None
    send_hours: str | None = None
    max_age: int | None = None
    max_rate: int | None = None
    canary: int | None = None
    brake_percent: int | None = None
    brake_after: int | None = None


@frozen(kw_only=True)
class MessageSet:
    """Messages that are sent one after the other, by default on one schedule.

    The limits are those of its messages: their hours, and their longest age in seconds.
    ``updated_by`` is the user of the API who changed it last. ``on_missing_translation`` is NEXT,
    WAIT, or FALLBACK and a language: what a reader gets at a number that has messages in other
    languages only.
    """

    id: int
    short_name: str
    label: str
    content_type: str
    channel: str | None
    notes: str | None
    next_set_id: int | None
    default_schedule_id: int
    created_at: datetime
    updated_at: datetime
    send_hours: str | None = None
    max_age: int | None = None
    updated_by: int | None = None
    on_missing_translation: str = NEXT

    @property
    def medium(self) -> Medium:
        """How its messages are sent."""
        return Medium(content_type=self.content_type, channel=self.channel)


@frozen(kw_only=True)
class BinaryContent:
    """A stored file; ``content`` is its name below the media folder."""

    id: int
    content: str
    created_at: datetime
    updated_at: datetime


@frozen(kw_only=True)
class FileToCompare:
    """A stored file, and what a task knows about the voice vendor's copy of it.

    ``size_there`` is the size of the copy, or None if the task found no copy. ``is_copied`` says
    that the task itself made the copy.
    """

    id: int
    name: str
    size_there: int | None
    is_copied: bool


@frozen(kw_only=True)
class ListedMessage:
    """One message of a set, in one language: a text, a file, or both.

    ``updated_by`` is the user of the API who changed it last.
    """

    id: int
    messageset_id: int
    sequence_number: int
    lang: str
    text_content: str | None
    binary_content_id: int | None
    created_at: datetime
    updated_at: datetime
    updated_by: int | None = None


@frozen(kw_only=True)
class Message(ListedMessage):
    """A message with its metadata, which may be long."""

    metadata: JsonText = field(converter=json_text)


def is_language(code: str) -> bool:
    """Whether the code has the form ``eng`` or ``eng_ZA``."""
    return _LANGUAGE.fullmatch(code) is not None


def is_translation_policy(given: str) -> bool:
    """Whether this is NEXT, WAIT, or FALLBACK and a language."""
    if given.startswith(FALLBACK):
        return is_language(given.removeprefix(FALLBACK))
    return given in (NEXT, WAIT)


@frozen(kw_only=True)
class ComingMessage:
    """The message that comes next at a place in a set.

    Without a ``lang``, the reader waits for the translation. ``text`` is None for a sound alone.
    """

    sequence_number: int
    lang: str | None
    text: str | None
