"""Where sbm goes another way than the service that was recorded, on purpose: how, and why."""

from __future__ import annotations

from typing import Any

from tests.web.replay import ANY, Different

NOT_FOUND = {"detail": "Not found."}
REQUIRED = "This field is required."
NO_OBJECT = "Invalid data. Expected a dictionary, but got {}."
CRON = 'Enter a valid cron field: "*", numbers from {}, ranges and steps, separated by commas.'
LANGUAGE = "Enter a valid language code: ISO 639-3, optionally with a country, such as eng_ZA."
EXTRA = "extra: sizes, chunked, raw HTTP: "
IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
LONG = {"email": ["Ensure this field has no more than 150 characters."]}


def each(why: str, *names: str, **changes: Any) -> dict[str, Different]:
    """The same difference in several exchanges."""
    return {name: Different(why=why, **changes) for name in names}


def subscription(why: str, name: str, **refused: str) -> dict[str, Different]:
    """A subscription that is not made here, and what is said of its field."""
    answer = {field: [message] for field, message in refused.items()}
    return each(why, f"subscriptions: {name}", status=400, answer=answer)


DIFFERENCES: dict[str, Different] = {
    # Paths
    **each(
        "errors outside the API are JSON, too",
        "auth and generic: api root, .json suffix",
        "auth and generic: upper-case path",
        "auth and generic: unknown path",
        "auth and generic: unknown path without slash",
        "auth and generic: / root",
        "auth and generic: /media/ file",
        f"{EXTRA}semicolon in path",
        status=404,
        answer=NOT_FOUND,
        allow=ANY,
    ),
    **each(
        "there are no suffixes for formats",
        "auth and generic: .json suffix list",
        "auth and generic: .json suffix list with slash",
        "schedule: retrieve .json",
        status=404,
        answer=NOT_FOUND,
        allow=ANY,
    ),
    **each(
        "path ids are written in plain digits",
        "schedule: retrieve space-padded id",
        "schedule: retrieve arabic digits id",
        f"{EXTRA}newline in path segment",
        status=404,
        answer=NOT_FOUND,
    ),
    **each(
        "a path ends where it ends",
        "api/token-auth: any path suffix matches (regex not anchored)",
        "api/metrics: suffix",
        status=404,
        answer=NOT_FOUND,
        allow=ANY,
    ),
    **each(
        "both forms of a path answer, without a redirect",
        "auth and generic: no trailing slash GET",
        "auth and generic: no trailing slash GET query",
        "schedule: send no slash",
        "messageset: messages with slash",
        "message: content with slash",
        "subscriptions: retrieve no slash",
        "subscription actions: send with slash",
        "user/token: no slash",
        "api/metrics: no slash",
        "api/health: no slash",
        same_as_other_form=True,
    ),
    **each(
        "both forms of a path answer, also of the webhook",
        "subscriptions/request: with slash POST",
        status=201,
        answer={"accepted": True},
        location=ANY,
        allow="POST, OPTIONS",
    ),
    # Requests as a whole
    **each(
        "JSON always",
        "auth and generic: Accept: text/html, no auth",
        answer={"detail": "Authentication credentials were not provided."},
    ),
    **each(
        "the recording does not tell the Host header that it sent",
        "auth and generic: Other Host header (urls follow it)",
        headers={"Host": "sbm.example.org"},
    ),
    **each(
        "the recording does not tell the Host header that it sent",
        "binarycontent: retrieve other Host",
        headers={"Host": "files.example.org"},
    ),
    **each(
        "X-Forwarded-Proto is believed only of a trusted proxy",
        "auth and generic: X-Forwarded-Host ignored, X-Forwarded-Proto https honoured (gunicorn)",
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "elsewhere.example.org"},
        answer={
            name: f"http://127.0.0.1:58000/api/v1/{name}/"
            for name in ("subscriptions", "failed-tasks", "behind-subscriptions")
        },
    ),
    # Schedules
    **each(
        "schedules are valid cron",
        "auth and generic: JSON with charset latin-1",
        body='{"minute": "11"}',
        answer={
            "id": 1,
            "minute": "11",
            "hour": "*",
            "day_of_week": "*",
            "day_of_month": "*",
            "month_of_year": "*",
        },
        status=201,
    ),
    **each(
        "what was no cron is not there", "schedule: list", "schedule: list empty cursor", answer=ANY
    ),
    **each(
        "schedules are valid cron",
        "schedule: create with numbers",
        status=400,
        answer={"hour": [CRON.format("0 to 23")]},
    ),
    **each(
        "schedules are valid cron",
        "schedule: create too long",
        answer={
            "minute": ["Ensure this field has no more than 64 characters."],
            "hour": [CRON.format("0 to 23")],
        },
    ),
    **each(
        "schedules are valid cron",
        "schedule: create nonsense cron accepted",
        status=400,
        answer={"minute": [CRON.format("0 to 59")], "hour": [CRON.format("0 to 23")]},
    ),
    **each(
        "schedules are valid cron",
        "schedule: create unicode",
        status=400,
        answer={"minute": [CRON.format("0 to 59")]},
    ),
    **each(
        "no 500",
        "schedule: create lone surrogate escape",
        status=400,
        answer={"minute": ["Surrogate characters are not allowed."]},
    ),
    # Message sets, files, messages
    **each(
        "true is no id",
        "messageset: create FK as bool",
        body='{"short_name": "set-bool", "default_schedule": 1}',
    ),
    **each(
        "the channel can be written",
        "messageset: patch channel ignored",
        body='{"channel": "JUNEBUG_VOICE"}',
    ),
    **each(
        "files are served", "binarycontent: GET the content URL", status=200, answer=ANY, allow=ANY
    ),
    **each(
        "a long extension is none",
        "binarycontent: upload extension of 90 chars (the stem is cut, not the extension)",
        answer=ANY,
    ),
    **each(
        "languages are ISO 639-3",
        "message: create lang too long",
        answer={"lang": [LANGUAGE]},
    ),
    **each(
        "no 500",
        "message: create metadata with NUL",
        status=400,
        answer={"metadata": ["Null characters are not allowed."]},
    ),
    # Subscriptions
    **each(
        "metadata are an object or null",
        "subscriptions: create blanks",
        "subscriptions: create wrong types",
        adds={"metadata": ['Expected a dictionary of items but got type "str".']},
    ),
    **subscription(
        "identities are UUIDs",
        "create identity not a uuid is accepted",
        identity="Must be a valid UUID.",
    ),
    **subscription(
        "identities are UUIDs", "create identity number", identity="Must be a valid UUID."
    ),
    **subscription(
        "identities are UUIDs", "create unicode identity", identity="Must be a valid UUID."
    ),
    **each(
        "identities are kept in lower case",
        "subscriptions: create identity upper-case kept",
        adds={"identity": IDENTITY},
    ),
    **subscription(
        "there are five states",
        "create process_status any int",
        process_status='"77" is not a valid choice.',
    ),
    **subscription(
        "languages are ISO 639-3", "create lang with no messages accepted", lang=LANGUAGE
    ),
    **subscription(
        "metadata are an object or null",
        "create metadata list",
        metadata='Expected a dictionary of items but got type "list".',
    ),
    **subscription(
        "metadata are an object or null",
        "create metadata string",
        metadata='Expected a dictionary of items but got type "str".',
    ),
    **subscription(
        "metadata are an object or null",
        'create metadata ""',
        metadata='Expected a dictionary of items but got type "str".',
    ),
    **subscription(
        "metadata are an object or null",
        "create metadata number",
        metadata='Expected a dictionary of items but got type "int".',
    ),
    **each(
        "a row in use is a conflict",
        "subscriptions: delete messageset used by a subscription (protected)",
        status=409,
        answer={"detail": "Cannot delete message set 1: it is used by subscriptions."},
    ),
    **each(
        "a row in use is a conflict",
        "subscriptions: delete that schedule (protected)",
        status=409,
        answer=ANY,
    ),
    **each(
        "there are no suffixes for formats, and none is repeated in URLs",
        "subscriptions filters: ?format=json&identity=34b026d2-150e-4c73-a466-e4435eefdc67",
        path="/api/v1/subscriptions/?format=json&identity=34b026d2-150e-4c73-a466-e4435eefdc67",
        without="?format=json",
    ),
    # Pages
    **each(
        "pages have limit and offset instead of cursors",
        "pagination: page 1 (filter kept in link)",
        "pagination: page 3",
        "pagination: back to page 1",
        "pagination: unknown query args are kept in the link",
        "pagination: all rows same created_at: page 1",
        "pagination: same created_at: page 2",
        "pagination: same created_at: page 3",
        "pagination: same created_at: back",
        "pagination: schedule past the end",
        answer=ANY,
    ),
    **each(
        "cursors of the old service are ignored",
        "pagination: cursor with non-integer position",
        "pagination: cursor with bad date position",
        status=200,
        answer=ANY,
    ),
    # Triggers
    **each(
        "a trigger for nobody is refused",
        "subscription actions: send missing uuid",
        status=400,
        answer={
            "accepted": False,
            "reason": "Cannot find subscription with ID 4e0a36de-e23d-4e3a-9d93-05f261d90ac8",
        },
    ),
    **each(
        "a trigger for nobody is refused",
        "subscription actions: send not a uuid",
        status=400,
        answer={"accepted": False, "reason": "Cannot find subscription with ID abc"},
    ),
    **each(
        "a trigger for nobody is refused",
        "subscription actions: send slashes in id",
        status=400,
        answer={"accepted": False, "reason": "Cannot find subscription with ID a/b/c"},
    ),
    **each(
        "the webhook says where to find what it made",
        "subscriptions/request: ok full",
        "subscriptions/request: ok with webhook envelope",
        "subscriptions/request: without next but with initial",
        "subscriptions/request: metadata null",
        location=ANY,
    ),
    **each(
        "no 500",
        "subscriptions/request: data string",
        status=400,
        answer={"non_field_errors": [NO_OBJECT.format("str")]},
    ),
    **each(
        "no 500",
        "subscriptions/request: data list",
        status=400,
        answer={"non_field_errors": [NO_OBJECT.format("list")]},
    ),
    **each(
        "no 500",
        'subscriptions/request: body string "data"',
        "subscriptions/request: body number",
        "subscriptions/request: body null",
        status=400,
        answer={"data": [REQUIRED]},
    ),
    # Users and the service
    **each(
        "no 500",
        "user/token: too long (>150 for username)",
        "user/token: 254+ long",
        status=400,
        answer=LONG,
    ),
    **each("200, as documented", "api/metrics: POST", "api/metrics: POST normal user", status=200),
    **each(
        "HEAD and OPTIONS are allowed",
        "behind-subscriptions: list HEAD superuser",
        status=200,
    ),
    **each(
        "HEAD and OPTIONS are allowed",
        "behind-subscriptions: list OPTIONS superuser",
        status=200,
        answer=ANY,
    ),
    # Sizes, and the connection. What is long was not recorded in full.
    **each(
        "a body has at most 1 MiB",
        f"{EXTRA}JSON body of 2.4 MB",
        body=f'{{"text_content":"{"x" * 2_400_000}"}}',
        status=413,
        answer={"detail": "The body must not exceed 1048576 bytes."},
    ),
    **each(
        "a body has at most 1 MiB",
        f"{EXTRA}form body of 3 MB",
        body=f"text_content={'x' * 3_000_000}",
        status=413,
        answer={"detail": "The body must not exceed 1048576 bytes."},
    ),
    **each(
        "the hosts of a request agree",
        f"{EXTRA}absolute-form target",
        status=400,
        answer={"detail": "The host of the target is not that of the Host header."},
        allow=ANY,
    ),
    **each(
        "errors are JSON",
        f"{EXTRA}form with 1001 fields",
        body="&".join(f"f{number}=1" for number in range(1001)),
        answer={"detail": "A form must not have more than 1000 fields."},
    ),
    **each(
        "the file is made here",
        f"{EXTRA}binarycontent upload of 3 MB",
        body='--X\r\nContent-Disposition: form-data; name="content"; filename="a.bin"\r\n\r\n'
        f"{'x' * 3_000_000}\r\n--X--\r\n",
    ),
    **each(
        "no 500",
        f"{EXTRA}metadata nested 900 deep",
        body=f'{{"identity":"{IDENTITY}","messageset":1,"lang":"eng_ZA","schedule":1,"metadata":'
        + '{"a":' * 900
        + "1"
        + "}" * 901,
        status=400,
        answer={"metadata": ["Ensure this value is nested no more than 100 levels deep."]},
    ),
    **each(
        "identities are UUIDs, and metadata are an object or null",
        f'{EXTRA}?metadata="abc" matches a row whose metadata is the JSON string',
        status=400,
        answer={
            "identity": ["Must be a valid UUID."],
            "metadata": ['Expected a dictionary of items but got type "str".'],
        },
    ),
    **each(
        "metadata are an object or null",
        f"{EXTRA}filter metadata=abc",
        answer={"next": None, "previous": None, "results": []},
    ),
    **each(
        "errors are JSON",
        f"{EXTRA}URL of 5000 characters",
        path=f"/api/v1/subscriptions/?x={'y' * 5000}",
        answer={"detail": "Request Line is too large (5038 > 4094)"},
    ),
    **each(
        "errors are JSON",
        f"{EXTRA}header of 9000 bytes",
        headers={"X-Long": "y" * 9000},
        answer={"detail": "A header is too large."},
    ),
    **each(
        "errors are JSON",
        f"{EXTRA}bad request line",
        f"{EXTRA}lower-case method",
        answer={"detail": "The request cannot be read."},
    ),
    **each(
        "the first message of a set is number 1",
        "subscriptions: create next_sequence_number 0",
        status=400,
        answer={"next_sequence_number": ["Ensure this value is greater than or equal to 1."]},
    ),
    **each(
        "HTTP/1.1 demands the Host header",
        f"{EXTRA}HTTP/1.1 without Host",
        status=400,
        answer={"detail": "The Host header is missing."},
        allow=ANY,
    ),
    **each(
        "the recording has both answers in one",
        f"{EXTRA}Expect: 100-continue",
        status=201,
        answer={"token": "0" * 40},
        allow="POST, OPTIONS",
        content_type="application/json",
    ),
}
