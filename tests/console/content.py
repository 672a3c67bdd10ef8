"""What the tests of the console begin with: users, message sets, people, and a morning's sends."""

from __future__ import annotations

from functools import cache
from uuid import UUID

from sbm.model.password import hash_password
from sbm.model.user import PERMISSIONS
from tests.arrange import Arranged

# The administrator, an ordinary user without limits, and one who may do nothing. Besides them there
# is a user for each permission, who has that one alone and is called like it.
ADMIN, USUAL, NOBODY = "ann", "uma", "ned"
PASSWORD = "correct horse battery staple"

# Two schedules and four sets.
MORNING, TWICE_A_WEEK = 1, 2
MOTHERS, BABIES, NURSES, EMPTY = 1, 2, 3, 4

# Each receives MOTHERS in English, is at number 2, and has this number in the Identity Store.
THANDI = UUID("7656fa41-0000-4000-8000-000000000001")
THANDIS_NUMBER = "+27820001001"
THANDIS_SUBSCRIPTION = UUID("7656fa41-1111-4000-8000-000000000001")
# Receives MOTHERS in isiXhosa, which has no text for number 3.
NOSISI = UUID("7656fa41-0000-4000-8000-000000000002")
NOSISIS_SUBSCRIPTION = UUID("7656fa41-1111-4000-8000-000000000002")
# 10 more receive MOTHERS in English or isiZulu.
OTHERS = [UUID(f"7656fa41-0000-4000-8000-0000000001{number:02}") for number in range(10)]
PEOPLE = {str(THANDI): THANDIS_NUMBER, str(NOSISI): "+27820001002"} | {
    str(identity): f"+278200020{number:02}" for number, identity in enumerate(OTHERS)
}

_TEXTS = {
    "eng_ZA": "Hello {{name}}, this is week {number} of MomConnect.",
    "zul_ZA": "Sawubona {{name}}, leli yisonto {number} le-MomConnect.",
    "xho_ZA": "Molo {{name}}, le yiveki {number} ye-MomConnect.",
}


@cache
def _hash() -> str:
    return hash_password(PASSWORD)


def fill(direct: Arranged) -> None:
    """Put it all into an empty database."""
    _make_users(direct)
    schedules = [
        direct.schedule(minute="0", hour="8", day_of_week="1-5"),
        direct.schedule(minute="30", hour="9", day_of_week="2,4"),
    ]
    babies = direct.value(
        "INSERT INTO messagesets (id, short_name, label, content_type, default_schedule_id)"
        " OVERRIDING SYSTEM VALUE VALUES (2, 'baby1.text', 'Babies', 'text', 2) RETURNING id"
    )
    assert (schedules, babies) == ([MORNING, TWICE_A_WEEK], BABIES)
    mothers = direct.messageset("pregnancy.text", MORNING, messages=0, next_set=BABIES)
    assert mothers == MOTHERS
    direct.value("SELECT setval(pg_get_serial_sequence('messagesets', 'id'), 2)")
    assert direct.messageset("nurses.text", TWICE_A_WEEK) == NURSES
    assert direct.messageset("empty.text", MORNING, messages=0) == EMPTY
    for lang, text in _TEXTS.items():
        for number in range(1, 6):
            if (lang, number) != ("xho_ZA", 3):
                direct.message(MOTHERS, number, lang, text.replace("{number}", str(number)))
            direct.message(BABIES, number, lang, text.replace("{number}", f"1.{number}"))
    _subscribe(direct)
    direct.rows("ANALYZE")


def _make_users(direct: Arranged) -> None:
    users: list[tuple[str, bool, bool, list[str]]] = [
        (ADMIN, True, False, []),
        (USUAL, False, False, []),
        (NOBODY, False, True, []),
    ]
    users += [(name, name == "administer", True, [name]) for name in PERMISSIONS]
    for username, is_admin, is_limited, permissions in users:
        user_id = direct.value(
            "INSERT INTO users (username, email, is_admin, is_limited, password)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING id",
            *(username, f"{username}@example.org", is_admin, is_limited, _hash()),
        )
        for permission in permissions:
            if permission != "administer":
                direct.rows("INSERT INTO user_permissions VALUES (%s, %s)", user_id, permission)


def _subscribe(direct: Arranged) -> None:
    people: list[tuple[UUID, UUID, str, int, str | None]] = [
        (THANDIS_SUBSCRIPTION, THANDI, "eng_ZA", 2, '{"name": "Thandi"}'),
        (NOSISIS_SUBSCRIPTION, NOSISI, "xho_ZA", 3, '{"name": "Nosisi"}'),
    ]
    people += [
        (
            UUID(f"7656fa41-1111-4000-8000-0000000001{number:02}"),
            identity,
            "zul_ZA" if number % 2 else "eng_ZA",
            1 + number % 3,
            None,
        )
        for number, identity in enumerate(OTHERS)
    ]
    for subscription, identity, lang, number, metadata in people:
        direct.rows(
            "INSERT INTO subscriptions (id, identity, messageset_id, schedule_id, lang,"
            " next_sequence_number, metadata) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            *(subscription, str(identity), MOTHERS, MORNING, lang, number, metadata),
        )
