"""What is sent and when, described: schedules, message sets, messages, and their files."""

from __future__ import annotations

from collections.abc import Iterator

from sbm.model.content import CONTENT_TYPES
from sbm.web.http.bodies import MULTIPART
from sbm.web.openapi.parts import Operation, Path, allow, answer_of, no_content
from sbm.web.openapi.resources import NOT_FOUND, Resource, filters, key
from sbm.web.openapi.schemas import (
    MOMENT,
    ROW_ID,
    TEXT,
    URL,
    JsonSchema,
    nullable,
    one_object,
    said,
    schema,
    shown,
    written,
)
from sbm.web.resources import binary_contents, messages, messagesets, schedules
from sbm.web.schema.schema import Schema

TAGS = (
    (
        "Schedules",
        "When messages are sent: the five fields of a cron line, all of which must match.",
    ),
    ("Message sets", "Messages that are sent one after the other, by default on one schedule."),
    ("Messages", "What is sent: a text, a file, or both, in one language."),
    ("Files", "Images and sound for messages to carry."),
)

_CREATED_AT = "When the row was made."
_UPDATED_AT = "When the row was last changed."
_ID = "The number of the row; it is given, and stays."

_SCHEDULE = {
    "id": _ID,
    "minute": "Minutes: 0 to 59.",
    "hour": "Hours: 0 to 23.",
    "day_of_week": "Days of the week: 1 is Monday; Sunday is 7, or 0.",
    "day_of_month": "Days of the month: 1 to 31.",
    "month_of_year": "Months: 1 to 12.",
}
_MESSAGESET = {
    "id": _ID,
    "short_name": "A unique name.",
    "label": "A name for people to read.",
    "content_type": "Whether its messages are texts or sound. It cannot change to what its messages"
    " do not suit.",
    "channel": "The channel that the Message Sender is told to use; null: its own choice. Texts"
    " of a set whose channel contains whatsapp may hold no newline, tab, or four blanks in a row; a"
    " set with other texts does not get such a channel.",
    "notes": "Anything about the set.",
    "next_set": "The set that follows when this one is completed.",
    "default_schedule": "The schedule of subscriptions that follow from another set.",
    "created_at": _CREATED_AT,
    "updated_at": _UPDATED_AT,
}
_MESSAGE = {
    "id": _ID,
    "messageset": "The set that it belongs to.",
    "sequence_number": "Its place in the set. Gaps are stepped over.",
    "lang": "ISO 639-3, or with a country: eng, eng_ZA.",
    "metadata": "Any JSON but null. What an object holds goes out with the message.",
    "text_content": "The text, in plain characters: “ ” ’ – are refused. At most 1,000 characters,"
    " unless the service is set otherwise.",
    "binary_content": "The file. In a set of sounds there must be one, and no image.",
    "created_at": _CREATED_AT,
    "updated_at": _UPDATED_AT,
}
_FILE = {"id": _ID, "content": "The file; shown as the URL that it is fetched by."}

SCHEDULES = Resource(
    tag="Schedules",
    path="/api/v1/schedule/",
    name="schedule",
    one="a schedule",
    many="schedules",
    schema_name="Schedule",
    row_key=key("id", ROW_ID, "The schedule."),
    in_use=True,
    notes={
        "POST": "Each field is `*`, numbers, ranges (`1-5`) or steps (`*/15`), several with commas"
        " between them. A day is due if all three of `day_of_month`, `month_of_year` and"
        " `day_of_week` match: `1-7` and `1` are the first Monday of a month. A date that does not"
        " exist, such as 31 April, is refused, and both of its fields are named.",
        "PUT": "What is left out stays as it is. The fields are judged as they will be stored.",
        "PATCH": "The fields are judged as they will be stored, not only those that are given.",
        "DELETE": "Not while message sets or subscriptions use it.",
    },
    example={"minute": "0", "hour": "8,18", "day_of_week": "1-5"},
    change={"hour": "9"},
)
MESSAGESETS = Resource(
    tag="Message sets",
    path="/api/v1/messageset/",
    name="messageset",
    one="a message set",
    many="message sets",
    schema_name="MessageSet",
    row_key=key("id", ROW_ID, "The message set."),
    in_use=True,
    filters=filters(
        short_name=(TEXT, "Its whole name."),
        content_type=(TEXT | {"enum": list(CONTENT_TYPES)}, "What it consists of."),
    ),
    notes={
        "PUT": "What is left out and has a default stays as it is.",
        "DELETE": "Its messages go with it, and sets that it follows have no next set any more;"
        " not while subscriptions use it.",
    },
    example={"short_name": "pregnancy", "content_type": "text", "default_schedule": 1},
    change={"label": "For expectant mothers"},
)
MESSAGES = Resource(
    tag="Messages",
    path="/api/v1/message/",
    name="message",
    one="a message",
    many="messages",
    schema_name="Message",
    row_key=key("id", ROW_ID, "The message."),
    filters=filters(
        messageset=(ROW_ID, "Messages of this set."),
        sequence_number=({"type": "number"}, "Messages in this place."),
        lang=(TEXT, "Messages in this language."),
    ),
    notes={
        "POST": "There has to be a text or a file, and no other message in the same place of the"
        " set in the same language.",
        "PUT": "What is left out and has a default stays as it is.",
    },
    example={
        "messageset": 1,
        "sequence_number": 1,
        "lang": "eng_ZA",
        "text_content": "Your baby is as big as a bean now.",
    },
    change={"text_content": "Your baby is as big as a lemon now."},
)
FILES = Resource(
    tag="Files",
    path="/api/v1/binarycontent/",
    name="binarycontent",
    one="a file",
    many="files",
    schema_name="BinaryContent",
    row_key=key("id", ROW_ID, "The file."),
    media_types=(MULTIPART,),
    notes={
        "POST": "The file is stored under a name that nobody can guess: the time, 128 random bits,"
        " and the extension of the name that it comes with. That name has at most 100 characters.",
        "PUT": "The new file gets a new name.",
        "DELETE": "The messages that use it go with it. The file itself stays where it is fetched:"
        " messages that were sent name it.",
    },
)

_CONTENT: JsonSchema = nullable(
    one_object({"id": ROW_ID, "content": said(URL, "The URL that the file is fetched by.")})
)


def schemas() -> dict[str, JsonSchema]:
    """The schemas of all this."""
    with_file = {
        name: taken
        for name, taken in shown(messages.SCHEMA, _MESSAGE)["properties"].items()
        if name != "metadata"
    } | {"binary_content": said(_CONTENT, "Its file.")}
    of_set = shown(messagesets.SCHEMA, _MESSAGESET)["properties"]
    return {
        **_of(SCHEDULES, schedules.SCHEMA, _SCHEDULE),
        **_of(MESSAGESETS, messagesets.SCHEMA, _MESSAGESET),
        **_of(MESSAGES, messages.SCHEMA, _MESSAGE),
        **_of(FILES, binary_contents.SCHEMA, _FILE),
        "MessageWithFile": one_object(with_file),
        "MessageSetWithMessages": one_object(
            {
                **{
                    name: of_set[name]
                    for name in ("id", "short_name", "notes", "next_set", "default_schedule")
                },
                "messages": {"type": "array", "items": schema("MessageWithFile")},
                "created_at": said(MOMENT, _CREATED_AT),
                "updated_at": said(MOMENT, _UPDATED_AT),
            }
        ),
    }


def paths() -> Iterator[Path]:
    """The paths of all this."""
    yield from SCHEDULES.paths()
    yield Path(
        path="/api/v1/schedule/{id}/send/",
        tag="Schedules",
        parameters=SCHEDULES.row_key,
        operations={
            "POST": Operation(
                name="send_schedule",
                summary="Send to all subscriptions on a schedule, now",
                description="The POST-back of the Seed Scheduler. Everybody on the schedule who is"
                " active and not completed is owed her next message, once, and it is sent in the"
                " background. The body is not read. A call with the Scheduler's token that repeats"
                " one of the same due moment gets the same answer, and begins nothing.",
                answers={
                    202: answer_of({"type": "object", "maxProperties": 0}, "It is begun."),
                    **NOT_FOUND,
                },
                takes_key=True,
            )
        },
    )
    yield from MESSAGESETS.paths()
    yield Path(
        path="/api/v1/messageset/{id}/messages/",
        tag="Message sets",
        parameters=MESSAGESETS.row_key,
        operations={
            "GET": Operation(
                name="read_messageset_messages",
                summary="Read a message set with all of its messages",
                description="They are sorted by sequence number.",
                answers={
                    200: answer_of(schema("MessageSetWithMessages"), "The set."),
                    **NOT_FOUND,
                },
            )
        },
    )
    yield Path(
        path="/api/v1/messageset_languages/",
        tag="Message sets",
        operations={
            "GET": Operation(
                name="read_messageset_languages",
                summary="Read in which languages each message set can be had",
                answers={
                    200: answer_of(
                        {
                            "type": "object",
                            "additionalProperties": {"type": "array", "items": TEXT},
                        },
                        "The languages, sorted, by the id of the set.",
                    )
                },
            )
        },
    )
    yield from MESSAGES.paths()
    yield Path(
        path="/api/v1/message/{id}/content/",
        tag="Messages",
        parameters=MESSAGES.row_key,
        operations={
            "GET": Operation(
                name="read_message_content",
                summary="Read a message with its file",
                answers={200: answer_of(schema("MessageWithFile"), "The message."), **NOT_FOUND},
            )
        },
    )
    yield from FILES.paths()
    yield _media()


def _of(resource: Resource, shape: Schema, notes: dict[str, str]) -> dict[str, JsonSchema]:
    return resource.schemas(
        shown(shape, notes), written(shape, notes), written(shape, notes, partial=True)
    )


def _media() -> Path:
    whole = {
        "description": "The file.",
        "headers": allow(),
        "content": {"*/*": {"schema": TEXT | {"format": "binary"}}},
    }
    return Path(
        path="/media/{name}",
        tag="Files",
        needs_user=False,
        is_api=False,
        parameters=key("name", TEXT, "The name of the file."),
        operations={
            "GET": Operation(
                name="fetch_file",
                summary="Fetch a file, or a range of it",
                description="Images and sound are shown; everything else is to be saved. Files"
                " never change, and can be kept.",
                answers={
                    200: whole,
                    206: {**whole, "description": "The part of the file that was asked for."},
                    304: no_content("The client has it already."),
                    **NOT_FOUND,
                    416: no_content("The file ends before the range begins."),
                },
            )
        },
    )
