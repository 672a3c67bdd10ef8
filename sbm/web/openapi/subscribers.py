"""Who gets what, described: subscriptions, triggers, and how far people are."""

from __future__ import annotations

from collections.abc import Iterator

from sbm.model.user import FIND_BEHIND_SUBSCRIPTIONS, VIEW_BEHIND_SUBSCRIPTIONS
from sbm.web.http.bodies import JSON
from sbm.web.openapi.parts import ACCEPTED, NOT_ACCEPTED, TASK, Operation, Path, answer_of
from sbm.web.openapi.resources import BY_OFFSET, NOT_FOUND, Resource, filters, key, listing
from sbm.web.openapi.schemas import (
    COUNT,
    DAY,
    FLAG,
    MOMENT,
    ROW_ID,
    TEXT,
    URL,
    UUID,
    JsonSchema,
    one_object,
    page_of,
    ref,
    said,
    schema,
    shown,
    written,
)
from sbm.web.resources import subscriptions

TAGS = (
    ("Subscriptions", "Who gets which message set, and where she stands in it."),
    ("Behind subscriptions", "Who has had fewer messages than expected."),
    ("Send estimates", "How many are sent to on each of the next seven days."),
)

_NUMBER: JsonSchema = {"type": "number"}

_SUBSCRIPTION = {
    "url": "Where it is read.",
    "id": "A UUID; it is given, and stays.",
    "version": "The version of the client's own form of subscriptions.",
    "identity": "The identity in the Identity Store. It is kept in lower case.",
    "messageset": "What is sent.",
    "next_sequence_number": "The message that comes next, or the first one after it. Imported rows"
    " may have a number below 1, which can be written back unchanged.",
    "lang": "ISO 639-3, or with a country: eng, eng_ZA.",
    "active": "Whether messages are sent.",
    "completed": "Whether the last message was sent. Writing true also makes active false, unless"
    " that is written, too, and process_status 2.",
    "schedule": "When messages are sent.",
    "process_status": "0: ready; 1: a message is under way; 2: completed; -1 and -2: an error, and"
    " nothing is sent until 0 is written.",
    "metadata": "What belongs to the subscription: an object, or null. `prepend_next_delivery` goes"
    " out before the next message, once: before a sound the URL of a sound, before a text a text,"
    " but not for WhatsApp. With the next message it has at most 1,000 characters, unless the"
    " service is set otherwise.",
    "created_at": "When it was made.",
    "updated_at": "When it was last changed.",
    "initial_sequence_number": "Where it began.",
    "messageset_label": "The label of the message set.",
}

_EXAMPLE = {
    "identity": "3f2b1a0c-5d6e-4f70-8a9b-0c1d2e3f4a5b",
    "messageset": 1,
    "lang": "eng_ZA",
    "schedule": 1,
}

SUBSCRIPTIONS = Resource(
    tag="Subscriptions",
    path=subscriptions.PATH,
    name="subscription",
    one="a subscription",
    many="subscriptions",
    schema_name="Subscription",
    row_key=key("id", UUID, "The subscription."),
    created={"Location": ref("headers", "Location")},
    takes_key=True,
    filters=filters(
        id=(UUID, "This one."),
        identity=(TEXT, "Those of this identity."),
        messageset=(ROW_ID, "Those to this message set."),
        messageset_contains=(
            TEXT,
            "Those to message sets with this in their short names, exactly so.",
        ),
        schedule=(ROW_ID, "Those on this schedule."),
        lang=(TEXT, "Those in this language."),
        metadata=(TEXT, "Those whose metadata are this text."),
        metadata_has_key=(TEXT, "Those whose metadata have this key."),
        metadata_not_has_key=(TEXT, "Those whose metadata have no such key, or that have none."),
        active=(FLAG, "Those that are active, or not. Any other word is no filter."),
        completed=(FLAG, "Those that are completed, or not. Any other word is no filter."),
        process_status=(_NUMBER, "Those in this state."),
        version=(_NUMBER, "Those of this version."),
        next_sequence_number=(_NUMBER, "Those that have got so far."),
        initial_sequence_number=(_NUMBER, "Those that began there."),
        created_at=(MOMENT, "Those made at this time, to the microsecond."),
        created_after=(MOMENT, "Those made at this time or later."),
        created_before=(MOMENT, "Those made at this time or before."),
        updated_at=(MOMENT, "Those changed at this time, to the microsecond."),
        created_by=(ROW_ID, "Those made by this user."),
        updated_by=(ROW_ID, "Those changed by this user."),
    ),
    notes={
        "LIST": "The newest come first.",
        "PUT": "What is left out and has a default stays as it is.",
    },
    example=_EXAMPLE,
    change={"active": False},
)

_TRIGGER_KEY = key(
    "id", TEXT | {"minLength": 1}, "The subscription; any text, though only a UUID finds one."
)
_UNKNOWN = answer_of({"anyOf": [NOT_ACCEPTED, schema("Detail")]}, "There is no such subscription.")


def schemas() -> dict[str, JsonSchema]:
    """The schemas of all this."""
    shape = subscriptions.SCHEMA
    behind = one_object(
        {
            "id": ROW_ID,
            "subscription": said(URL, "Who is behind."),
            "subscription_id": UUID,
            "messages_behind": said(COUNT, "By how many messages."),
            "current_messageset": said(URL, "The set that she is in."),
            "current_messageset_id": ROW_ID,
            "current_messageset_name": TEXT,
            "current_sequence_number": said({"type": "integer"}, "The message that comes next."),
            "expected_messageset": said(URL, "The set that she should be in."),
            "expected_messageset_id": ROW_ID,
            "expected_messageset_name": TEXT,
            "expected_sequence_number": said({"type": "integer"}, "Which should come next."),
            "created_at": said(MOMENT, "When that was found."),
        }
    )
    estimate = one_object(
        {
            "id": ROW_ID,
            "send_date": said(DAY, "The day."),
            "messageset": said(ROW_ID, "What is sent."),
            "estimate_subscriptions": said(COUNT, "To how many subscriptions."),
            "estimate_identities": said(COUNT, "To how many people."),
        }
    )
    return {
        **SUBSCRIPTIONS.schemas(
            shown(shape, _SUBSCRIPTION),
            written(shape, _SUBSCRIPTION),
            written(shape, _SUBSCRIPTION, partial=True),
        ),
        "SubscriptionRequest": {
            "type": "object",
            "properties": {
                "data": said(
                    schema("SubscriptionWritten"),
                    "The subscription. Left out, metadata is {} and initial_sequence_number is"
                    " next_sequence_number.",
                )
            },
            "required": ["data"],
        },
        "BehindSubscription": behind,
        "BehindSubscriptionPage": page_of("BehindSubscription"),
        "SendEstimate": estimate,
        "SendEstimatePage": page_of("SendEstimate"),
    }


def paths() -> Iterator[Path]:
    """The paths of all this."""
    yield from SUBSCRIPTIONS.paths()
    yield from _triggers()
    yield from _behind_subscriptions()
    yield from _send_estimates()


def _triggers() -> Iterator[Path]:
    yield Path(
        path="/api/v1/subscriptions/request",
        tag="Subscriptions",
        operations={
            "POST": Operation(
                name="request_subscription",
                summary="Make a subscription, as the Hub does",
                description="The webhook for registrations. Without an Idempotency-Key, the twin of"
                " a request is refused for as long as SBM_DUPLICATE_WINDOW says; twins ask for the"
                " same in every field.",
                body=schema("SubscriptionRequest"),
                example={"data": _EXAMPLE | {"next_sequence_number": 1, "metadata": {}}},
                media_types=(JSON,),
                answers={
                    200: answer_of(
                        NOT_ACCEPTED,
                        "A twin made it a short while ago: trying again is no use.",
                        Location=ref("headers", "Location"),
                    ),
                    201: answer_of(ACCEPTED, "It is made.", Location=ref("headers", "Location")),
                },
                takes_key=True,
            )
        },
    )
    yield Path(
        path="/api/v1/subscriptions/{id}/send",
        tag="Subscriptions",
        parameters=_TRIGGER_KEY,
        operations={
            "POST": Operation(
                name="send_subscription",
                summary="Send the next message of a subscription, now",
                description="It is sent in the background. The body is not read. A call with the"
                " Scheduler's token that repeats one of the same due moment gets the same answer,"
                " and sends nothing.",
                answers={
                    200: answer_of(
                        NOT_ACCEPTED, "There is nothing to send; trying again is no use."
                    ),
                    201: answer_of(ACCEPTED, "The message is owed."),
                    400: _UNKNOWN,
                },
                takes_key=True,
            )
        },
    )
    yield Path(
        path="/api/v1/subscriptions/{id}/resend",
        tag="Subscriptions",
        parameters=_TRIGGER_KEY,
        operations={
            "POST": Operation(
                name="resend_subscription",
                summary="Send the last message of a subscription once more",
                description="It is the last one that was sent of the present message set, in the"
                " language of now, or else as it was sent. If it no longer exists, the resend"
                " becomes a failed task. It is sent in the background. The body is not read.",
                answers={202: answer_of(ACCEPTED, "It is owed."), 400: _UNKNOWN},
                takes_key=True,
            )
        },
    )


def _behind_subscriptions() -> Iterator[Path]:
    yield Path(
        path="/api/v1/behind-subscriptions/",
        tag="Behind subscriptions",
        permission=VIEW_BEHIND_SUBSCRIPTIONS,
        operations={
            "GET": listing(
                "list_behind_subscriptions",
                "List who is behind",
                "BehindSubscription",
                description="As it was when last looked for. The newest come first.",
            )
        },
    )
    yield Path(
        path="/api/v1/behind-subscriptions/{id}/",
        tag="Behind subscriptions",
        permission=VIEW_BEHIND_SUBSCRIPTIONS,
        parameters=key("id", ROW_ID, "The row."),
        operations={
            "GET": Operation(
                name="read_behind_subscription",
                summary="Read how far one is behind",
                answers={200: answer_of(schema("BehindSubscription"), "The row."), **NOT_FOUND},
            )
        },
    )
    yield Path(
        path="/api/v1/behind-subscriptions/find_behind_subscriptions/",
        tag="Behind subscriptions",
        permission=FIND_BEHIND_SUBSCRIPTIONS,
        operations={
            "POST": Operation(
                name="find_behind_subscriptions",
                summary="Look for those who are behind",
                description="In the background. The body is not read.",
                answers={202: answer_of(TASK, "It is begun.")},
            )
        },
    )


def _send_estimates() -> Iterator[Path]:
    yield Path(
        path="/api/v1/runsendestimate",
        tag="Send estimates",
        operations={
            "POST": Operation(
                name="run_send_estimate",
                summary="Estimate the sends of the next seven days",
                description="In the background. The body is not read.",
                answers={202: answer_of(TASK, "It is begun.")},
            )
        },
    )
    yield Path(
        path="/api/v1/send-estimates/",
        tag="Send estimates",
        operations={
            "GET": listing(
                "list_send_estimates",
                "List the estimates",
                "SendEstimate",
                filters(
                    send_date=(DAY, "Those of this day."),
                    messageset=(ROW_ID, "Those of this message set."),
                ),
                pages=BY_OFFSET,
                description="As they were last made.",
            )
        },
    )
