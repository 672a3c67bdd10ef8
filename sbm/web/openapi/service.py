"""The service itself, described: users, state, metrics, and the description."""

from __future__ import annotations

from collections.abc import Iterator

from sbm.model.user import ADMINISTER
from sbm.web.openapi.parts import Operation, Path, allow, answer_of, no_content
from sbm.web.openapi.schemas import (
    FLAG,
    TEXT,
    URL,
    UUID,
    JsonSchema,
    one_object,
    said,
    schema,
    written,
)
from sbm.web.resources.users import EMAIL_SCHEMA, PASSWORD_SCHEMA

TAGS = (
    ("Users", "Tokens to authenticate with."),
    ("Service", "What the service is, and whether it works."),
)

_EMAIL = {"email": "The e-mail address, which is the name of the user."}
_PASSWORD = {
    "username": "The name of the user.",
    "password": "The password, as it is.",
}
_TOKEN = one_object(
    {"token": said(TEXT, "A new token. It is shown once; earlier ones stay valid until revoked.")}
)
_LAW = one_object(
    {
        "holds": {
            "description": "Whether every trigger is accounted for. It does not change `up`.",
            "type": ["boolean", "null"],
        },
        "broken_ticks": {
            "description": "The ticks for which the law was found broken.",
            "type": ["integer", "null"],
            "minimum": 0,
        },
        "checked_at": {
            "description": "When this process last checked all that had to be checked.",
            "type": ["string", "null"],
            "format": "date-time",
        },
    },
    note="The law: triggers = outcomes + live sends. Null: not checked yet, since the start.",
)
_CLOCK = one_object(
    {
        "trusted": {
            "description": "Whether leases end and absence is proven by the database's clock.",
            "type": ["boolean", "null"],
        },
        "jumps": {
            "description": "How often this process saw that the clock was set, since its start.",
            "type": "integer",
            "minimum": 0,
        },
        "last_jump_seconds": {
            "description": "By how much it was set the last time; below zero: back.",
            "type": ["number", "null"],
        },
    },
    note="The database's clock. Null: not compared yet, or no jump was seen, since the start.",
)
_OPTION = {
    "type": "object",
    "properties": {
        "type": TEXT,
        "required": FLAG,
        "read_only": FLAG,
        "label": TEXT,
        "max_length": {"type": "integer"},
        "min_value": {"type": "integer"},
        "max_value": {"type": "integer"},
        "choices": {
            "type": "array",
            "items": one_object({"value": {}, "display_name": TEXT}),
        },
    },
    "required": ["type", "required", "read_only", "label"],
    "additionalProperties": False,
}


_SERVICES: JsonSchema = {
    "type": "object",
    "description": "The services that this process calls, by name, as it last found them.",
    "additionalProperties": one_object(
        {
            "is_away": said(FLAG, "Whether this process takes it for being away."),
            "reason": said(TEXT, "Why; empty if it is not away."),
            "probe": said(TEXT, "The send that shows whether it is back, once it is known."),
        }
    ),
}


def schemas() -> dict[str, JsonSchema]:
    """The schemas of all this, and of errors."""
    sentences = {"type": "array", "items": TEXT, "minItems": 1}
    return {
        "Detail": one_object({"detail": said(TEXT, "What is wrong, in one sentence.")}),
        "Refusal": {
            "description": "Why what the request says is refused.",
            "anyOf": [
                schema("Detail"),
                {
                    "type": "object",
                    "description": "By field, or filter; `non_field_errors` is about several.",
                    "minProperties": 1,
                    "additionalProperties": sentences,
                },
                sentences,
            ],
        },
        "About": one_object(
            {
                "name": TEXT,
                "description": TEXT,
                "renders": {"type": "array", "items": TEXT},
                "parses": {"type": "array", "items": TEXT},
                "actions": {
                    "type": "object",
                    "description": "The fields, by method and name.",
                    "additionalProperties": {"type": "object", "additionalProperties": _OPTION},
                },
            },
            required=["name", "description", "renders", "parses"],
            note="What OPTIONS says of a path.",
        ),
        "EmailWritten": written(EMAIL_SCHEMA, _EMAIL),
        "PasswordWritten": written(PASSWORD_SCHEMA, _PASSWORD),
        "Token": _TOKEN,
        "Health": one_object(
            {
                "up": said(FLAG, "Whether the service can work."),
                "result": one_object(
                    {
                        "database": said(TEXT, "Whether the database can be used."),
                        "version": said(TEXT, "The version of this service."),
                        "libraries": {"type": "object", "additionalProperties": TEXT},
                        "law": _LAW,
                        "services": _SERVICES,
                        "clock": _CLOCK,
                        "database_reason": said(
                            TEXT,
                            "What an operator has to mend at the database; empty if nothing is"
                            " known.",
                        ),
                    }
                ),
            }
        ),
    }


def paths() -> Iterator[Path]:
    """The paths of all this."""
    yield from _users()
    yield Path(
        path="/api/v1/",
        tag="Service",
        operations={
            "GET": Operation(
                name="read_collections",
                summary="Read where the collections are",
                answers={
                    200: answer_of(
                        one_object(
                            {
                                "subscriptions": URL,
                                "failed-tasks": URL,
                                "behind-subscriptions": URL,
                            }
                        ),
                        "Their URLs.",
                    )
                },
            )
        },
    )
    yield from _metrics()
    yield from _states()
    yield from _exposition()
    yield from _description()


def _users() -> Iterator[Path]:
    yield Path(
        path="/api/v1/user/token/",
        tag="Users",
        permission=ADMINISTER,
        operations={
            "POST": Operation(
                name="create_user_token",
                summary="Make a token for a user",
                description="The user is made, too, if there is none of this name."
                " For administrators.",
                body=schema("EmailWritten"),
                example={"email": "bob@example.org"},
                answers={201: answer_of(schema("Token"), "The token.")},
            )
        },
    )
    yield Path(
        path="/api/token-auth/",
        tag="Users",
        needs_user=False,
        operations={
            "POST": Operation(
                name="create_own_token",
                summary="Make a token by a password",
                description="Nobody has to be authenticated, but whoever shows credentials has to"
                " show right ones.",
                body=schema("PasswordWritten"),
                example={"username": "bob@example.org", "password": "as it is"},
                answers={200: answer_of(schema("Token"), "The token.")},
            )
        },
    )


def _metrics() -> Iterator[Path]:
    names = {"type": "array", "items": TEXT}
    yield Path(
        path="/api/metrics/",
        tag="Service",
        operations={
            "GET": Operation(
                name="list_metrics",
                summary="List the names of the metrics",
                answers={200: answer_of(one_object({"metrics_available": names}), "The names.")},
            ),
            "POST": Operation(
                name="fire_metrics",
                summary="Fire the scheduled metrics",
                description="The Metrics API is told the send estimates of today and the rest of"
                " the week; they are made first if they are not of today. The body is not read.",
                answers={
                    200: answer_of(
                        one_object({"scheduled_metrics_initiated": FLAG | {"const": True}}),
                        "It is begun.",
                    )
                },
            ),
        },
    )
    yield Path(
        path="/api/v1/sync_audio_files/",
        tag="Service",
        operations={
            "POST": Operation(
                name="sync_audio_files",
                summary="Copy new sound to the voice vendor",
                description="In the background. The body is not read.",
                answers={
                    202: answer_of(
                        one_object(
                            {
                                "sync_audio_files_initiated": FLAG | {"const": True},
                                "task_id": said(UUID, "The task that was asked for."),
                            }
                        ),
                        "It is begun.",
                    )
                },
            )
        },
    )


def _states() -> Iterator[Path]:
    down = {"anyOf": [schema("Health"), schema("Detail")]}
    yield Path(
        path="/api/health/",
        tag="Service",
        operations={
            "GET": Operation(
                name="read_health",
                summary="Read whether the service can work",
                answers={
                    200: answer_of(schema("Health"), "It can."),
                    503: answer_of(down, "It cannot: the database is away."),
                },
            )
        },
    )
    yield Path(
        path="/livez",
        tag="Service",
        needs_user=False,
        is_api=False,
        operations={
            "GET": Operation(
                name="read_liveness",
                summary="See that the process answers",
                description="Nothing else is looked at.",
                answers={200: no_content("It answers; there is no body.")},
            )
        },
    )


def _exposition() -> Iterator[Path]:
    yield Path(
        path="/metrics",
        tag="Service",
        needs_user=False,
        is_api=False,
        operations={
            "GET": Operation(
                name="read_exposition",
                summary="Read the counters and gauges of this process",
                description="In the text format of Prometheus.",
                answers={
                    200: {
                        "description": "All of them.",
                        "headers": allow(),
                        "content": {"text/plain": {"schema": TEXT}},
                    }
                },
            )
        },
    )


def _description() -> Iterator[Path]:
    yield Path(
        path="/api/v1/openapi.json",
        tag="Service",
        needs_user=False,
        is_api=False,
        operations={
            "GET": Operation(
                name="read_description",
                summary="Read this description",
                answers={
                    200: answer_of({"type": "object"}, "OpenAPI 3.1."),
                    304: no_content("The client has it already."),
                },
            )
        },
    )
    yield Path(
        path="/docs/",
        tag="Service",
        needs_user=False,
        is_api=False,
        operations={
            "GET": Operation(
                name="read_docs",
                summary="Read this description as a page",
                answers={
                    200: {
                        "description": "The page.",
                        "headers": allow(),
                        "content": {"text/html": {"schema": TEXT}},
                    },
                    304: no_content("The client has it already."),
                },
            )
        },
    )
