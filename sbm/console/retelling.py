"""Sentences that other layers make, in the language of the reader.

The API, the operations and the ledger say in English why something is so. Clients match these
sentences, so they stay as they are; here they are found again, and translated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from babel.support import NullTranslations

from sbm.console.texts import marked

# Why the rest of a sentence is so: it is retold, too.
_WHY = "why"

FIELDS = (
    marked("This field is required."),
    marked("This field may not be null."),
    marked("This field may not be blank."),
    marked("Null characters are not allowed."),
    marked("Surrogate characters are not allowed."),
    marked("A valid integer is required."),
    marked("Value must be valid JSON."),
    marked("Ensure this field has no more than %(most)s characters."),
    marked("Ensure this value has no more than %(most)s bytes as JSON."),
    marked("Ensure this value has no more than %(most)s values in it."),
    marked("Ensure this value is nested no more than %(most)s levels deep."),
    marked("Ensure this value is less than or equal to %(most)s."),
    marked("Ensure this value is greater than or equal to %(least)s."),
    marked('"%(value)s" is not a valid choice.'),
    marked('Invalid pk "%(value)s" - object does not exist.'),
    marked("Incorrect type. Expected pk value, received %(kind)s."),
    marked("This moment is not in the future."),
    marked("It is gone."),
    marked("It does not exist."),
)

CONTENT = (
    marked("Enter a valid language code: ISO 639-3, optionally with a country, such as eng_ZA."),
    marked("Must be next, wait, or fallback: and a language, such as fallback:eng_ZA."),
    marked("message set with this Short name already exists."),
    marked("there is a message set %(name)s already"),
    marked("the message set was changed meanwhile: do it again"),
    marked("%(messages)s\nsuch messages cannot be sent, and are not copied"),
    marked("The fields messageset, sequence_number, lang must make a unique set."),
    marked("Cannot delete %(row)s: it is used by %(users)s."),
    marked("Messages must have text or file attached"),
    marked("A message of an audio message set must have a sound attached."),
    marked("A message of a text message set must have a text, or an image attached."),
    marked("Text for WhatsApp must not include newline, tabs, or 4 consecutive spaces."),
    marked('Text "%(text)s" %(why)s'),
    marked("has special characters which can be replaced: %(characters)s"),
    marked("The body must not exceed %(most)s bytes."),
    marked("The file cannot be stored now. Try again later."),
)

SCHEDULES = (
    marked("Enter hours such as 08:00-20:00."),
    marked("Enter the IANA name of a time zone, such as Africa/Johannesburg."),
    marked(
        "The database does not know this name, or reads it in another way: enter the name of a"
        " place, such as Africa/Johannesburg."
    ),
    marked(
        'Enter a valid cron field: "*", numbers from %(why)s, ranges and steps, separated by'
        " commas."
    ),
    marked("0 to 59"),
    marked("0 to 23"),
    marked("1 (Monday) to 7 (Sunday, also written 0)"),
    marked("1 to 31"),
    marked("1 to 12"),
    marked(
        "There is no such date: day_of_month %(days)s does not occur in month_of_year %(months)s."
    ),
    marked(
        "The Scheduler cannot store this field: it accepts at most 64 characters, and a step after"
        ' a single number ("5/10") must be written with its end ("5-59/10"). Use fewer terms.'
    ),
    marked(
        "The Scheduler makes the ticks, and it reads all schedules in %(zone)s: enter null, or"
        " %(same)s. A cron in one time zone cannot follow the daylight saving of another."
    ),
    marked("Enter a number: brake_percent needs it."),
    marked("Enter a number: brake_after needs it."),
    marked("its fields cannot be read: it is never due"),
    marked("this machine does not know its time zone, %(zone)s: it is never due"),
    marked(
        "there is no day_of_month %(days)s in month_of_year %(months)s: it is never due, and the"
        " Scheduler is not told of it"
    ),
    marked(
        "a field of it has no form of 64 characters that the Scheduler understands: it is not told"
        " of it"
    ),
    marked(
        "its time zone, %(zone)s, does not count: the Scheduler makes its ticks, and reads it in"
        " %(other)s"
    ),
    marked("a day must match day_of_month %(days)s and day_of_week %(weekdays)s"),
)

USERS = (
    marked("A user with this name already exists."),
    marked("A user with this e-mail address already exists."),
    marked(
        "This user is the last active administrator. Make another one first, or use `sbm user`."
    ),
    marked("It %(why)s."),
    marked("must have %(least)s to %(most)s characters"),
    marked("must be an e-mail address"),
    marked("must not contain blanks, control characters or invisible characters"),
    marked("must be written with plain letters, not with variants like fullwidth ones"),
    marked(
        "must have a letter and its accent as one character (Unicode calls this NFC): type the"
        " letter again, because some programs store the accent as a second character"
    ),
    marked("must have no other signs and digits than those of ASCII"),
    marked("must not have accents that are characters of their own, over a letter or alone"),
    marked(
        "must not mix letters of several scripts, or contain phonetic or historic letters, or Latin"
        " letters that look like others, as the dotless i does"
    ),
    marked("must not consist of letters that look like Latin ones"),
    marked("must not contain a colon: it ends the name when a user logs in with a password"),
)

UNDOING = (
    marked("the change in entry %(entry)s cannot be undone: %(why)s"),
    marked("it tells of a whole command: undo the changes of its rows"),
    marked("make or revoke a token instead"),
    marked("resume, or pause again instead"),
    marked("users are not removed: disable the user instead"),
    marked("the audit does not have the secret: set another one instead"),
    marked("the person was forgotten"),
    marked("there are messages in it"),
    marked("messages use it"),
    marked("its request made over %(most)s changes: use `sbm audit undo`"),
)

OBSTACLES = (
    marked("the subscription is not active"),
    marked("the subscription is in error (%(status)s)"),
    marked("%(set)s has no message in %(lang)s"),
    marked("%(set)s has no message in %(lang)s from number %(number)s on"),
    marked("message %(number)s of %(set)s is missing in %(lang)s: the subscription waits for it"),
    marked("it is paused: %(reason)s"),
    marked("the outcome of its last send is not known yet"),
    marked("its send is tried again: %(reason)s"),
    marked("the Scheduler has no schedule that calls for it"),
    marked("the fields of its schedule cannot be read"),
    marked("this machine does not know the time zone %(zone)s"),
    marked("its schedule is never due"),
    marked("it is paused"),
    marked("it waits for its hours"),
    marked("its tick was stopped by its brake, and waits for a person"),
    marked("its tick waits for a person after its first messages"),
    marked("its tick was stopped for good, and it is being skipped"),
)

LEDGER = (
    marked("it was paused when the tick came"),
    marked("the Message Sender had the message of this tick already"),
    marked("the tick before it was still being sent"),
    marked("it is older than max_age"),
    marked("a message is already owed to the subscription"),
    marked("%(set)s has no further message in %(lang)s"),
)

SENTENCES = (*FIELDS, *CONTENT, *SCHEDULES, *USERS, *UNDOING, *OBSTACLES, *LEDGER)


def retold(texts: NullTranslations, sentence: str) -> str:
    """A sentence of another layer in the language of the reader; as it is, if nobody knows it."""
    translated = str(texts.ugettext(sentence))
    if translated != sentence:
        return translated
    for text, pattern in _with_values().items():
        match = pattern.fullmatch(sentence)
        if match is not None:
            return str(texts.ugettext(text)) % {
                name: retold(texts, value) if name == _WHY else value
                for name, value in match.groupdict().items()
            }
    return sentence


@cache
def _with_values() -> Mapping[str, re.Pattern[str]]:
    """The sentences that have values in them, each with what such a sentence looks like."""
    return {
        text: re.compile(re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", re.escape(text)), re.DOTALL)
        for text in sorted(SENTENCES, key=len, reverse=True)
        if "%(" in text
    }
