"""The rows of a benchmark: message sets, subscriptions, and a user with a token."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

TOKEN = "b" * 40
HEADERS = {"Authorization": f"Token {TOKEN}"}

TEXT = "Welcome. This is the message of the week."

# No message set ends during a benchmark.
_MESSAGES = 1000


def identity(number: int) -> str:
    """The identity with this number, the same in all processes."""
    return str(uuid.UUID(int=number + 1))


def add_user(cursor: Any, name: str = "benchmark", token: str = TOKEN) -> None:
    """Insert an administrator with a token."""
    cursor.execute(
        "WITH made AS (INSERT INTO users (username, is_admin) VALUES (%s, true)"
        " RETURNING id)"
        " INSERT INTO tokens (user_id, digest) SELECT id, %s FROM made",
        (name, hashlib.sha256(token.encode("ascii")).digest()),
    )


def add_schedule(cursor: Any) -> int:
    """Insert a schedule that is due on 29 February only; returns its id."""
    cursor.execute(
        "INSERT INTO schedules (day_of_month, month_of_year) VALUES ('29', '2') RETURNING id"
    )
    return int(cursor.fetchone()[0])


def add_messageset(cursor: Any, schedule: int, name: str = "benchmark") -> int:
    """Insert a message set with many messages; returns its id."""
    cursor.execute(
        "INSERT INTO messagesets (short_name, content_type, default_schedule_id)"
        " VALUES (%s, 'text', %s) RETURNING id",
        (name, schedule),
    )
    (messageset,) = cursor.fetchone()
    cursor.execute(
        "INSERT INTO messages (messageset_id, sequence_number, lang, text_content)"
        " SELECT %s, n, 'eng_ZA', %s FROM generate_series(1, %s) n",
        (messageset, TEXT, _MESSAGES),
    )
    return int(messageset)


def add_subscriptions(
    cursor: Any,
    count: int,
    *,
    schedule: int,
    messageset: int,
    first: int = 0,
    prefix: str = "00000000-",
) -> None:
    """Insert so many active subscriptions, for ``identity(first)`` and following.

    ``prefix`` replaces the first 9 characters of these identities.
    """
    cursor.execute(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, metadata,"
        " next_sequence_number)"
        " SELECT %s || substr(lpad(to_hex(n), 32, '0')::uuid::text, 10), %s, %s, 'eng_ZA',"
        " jsonb_build_object('source', 'hub'), 2 FROM generate_series(%s, %s) n",
        (prefix, messageset, schedule, first + 1, first + count),
    )


def add_many_sets(cursor: Any, subscriptions: int) -> None:
    """Insert 20 message sets, 10 schedules, and so many subscriptions in 3 languages.

    A fifth of the subscriptions is completed, one in a thousand is in error, and one in 5,000 has a
    rare key. The schedules are due on 29 February only.
    """
    cursor.execute(
        "INSERT INTO schedules (day_of_month, month_of_year)"
        " SELECT '29', '2' FROM generate_series(1, 10);"
        " INSERT INTO messagesets (short_name, label, content_type, default_schedule_id)"
        " SELECT 'set.' || n, 'Set ' || n, 'text', 1 + n % 10 FROM generate_series(1, 20) n"
    )
    cursor.execute(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, metadata,"
        " next_sequence_number, active, completed, process_status, created_at, created_by)"
        " SELECT gen_random_uuid(), 1 + n %% 20, 1 + n %% 10,"
        " (ARRAY['eng_ZA', 'zul_ZA', 'xho_ZA'])[1 + n %% 3],"
        " jsonb_build_object('source', 'hub', 'scheduler_schedule_id', gen_random_uuid())"
        " || CASE WHEN n %% 5000 = 1 THEN '{\"rare\": true}'::jsonb ELSE '{}' END,"
        " 1 + n %% 50, n %% 5 > 0, n %% 5 = 0,"
        " CASE WHEN n %% 5 = 0 THEN 2 WHEN n %% 1000 = 7 THEN -1 ELSE 0 END,"
        " now() - n * interval '10 seconds', 1"
        " FROM generate_series(1, %s) n",
        (subscriptions,),
    )


def registration(*, messageset: int, schedule: int) -> dict[str, Any]:
    """The body of a request to subscribe a new person, as the Hub makes it."""
    subscription = {
        "identity": str(uuid.uuid4()),
        "messageset": messageset,
        "next_sequence_number": 1,
        "lang": "eng_ZA",
        "schedule": schedule,
        "metadata": {"source": "hub"},
    }
    return {"data": subscription}


def analyse(cursor: Any) -> None:
    """Vacuum and analyse all tables, as they are in a database that is not new."""
    cursor.execute("VACUUM ANALYZE")


def is_idle(cursor: Any) -> bool:
    """Whether no tick is expanded, and no send is owed or under way."""
    cursor.execute(
        "SELECT NOT EXISTS (SELECT FROM ticks WHERE state = 'expanding')"
        " AND NOT EXISTS (SELECT FROM sends)"
    )
    return bool(cursor.fetchone()[0])
