"""The client that the other Seed services use, from PyPI and unchanged, against the daemon."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from tests.arrange import Arranged
from tests.e2e.end_to_end import World

# The client's own library asks for this name, which Python 3.11 has no more, and of a function
# with annotations, which it could not take before.
with patch.object(
    inspect, "getargspec", lambda function: inspect.getfullargspec(function)[:4], create=True
):
    from demands import HTTPServiceError
    from seed_services_client import StageBasedMessagingApiClient

METHODS = {name for name in vars(StageBasedMessagingApiClient) if not name.startswith("_")}
IDENTITY = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
UNKNOWN_SEND = "33333333-3333-4333-8333-333333333333"


class Client(StageBasedMessagingApiClient):  # type: ignore[misc]
    """Notes which of its methods were asked for."""

    def __init__(self, *given: Any) -> None:
        self.used: set[str] = set()
        super().__init__(*given)

    def __getattribute__(self, name: str) -> Any:
        if name in METHODS:
            self.used.add(name)
        return super().__getattribute__(name)


async def told(seed: World, use: Callable[[Client, Arranged], None], **settings: str) -> set[str]:
    """Let a client use a daemon, in a thread of its own; which methods it used."""
    url = seed.start(**settings)
    client = Client(await seed.token(), f"{url}/api/v1")
    await deferToThread(use, client, seed.direct)
    return client.used


def use_content(client: Client, direct: Arranged) -> None:
    schedule = direct.schedule(minute="5")
    messageset = direct.messageset("pregnancy", schedule, content_type="audio")
    assert client.get_schedule(schedule)["minute"] == "5"
    assert [one["id"] for one in client.get_schedules()["results"]] == [schedule]
    assert client.get_messageset(messageset)["short_name"] == "pregnancy"
    (listed,) = client.get_messagesets({"short_name": "pregnancy"})["results"]
    assert listed["default_schedule"] == schedule
    assert client.get_messageset_languages() == {str(messageset): ["eng_ZA"]}
    file = client.create_binarycontent({"content": ("hello.mp3", b"ID3", "audio/mpeg")})
    assert file["content"].endswith(".mp3")
    place = {"messageset": messageset, "sequence_number": 9, "lang": "eng_ZA"}
    message = client.create_message({**place, "binary_content": file["id"]})
    assert client.get_message(message["id"])["binary_content"] == file["id"]
    changed = client.update_message(message["id"], {"text_content": "hello"})
    assert changed["text_content"] == "hello"
    (found,) = client.get_messages({**place})["results"]
    assert found == changed
    assert client.delete_message(message["id"]) is None
    assert client.delete_binarycontent(file["id"]) is None
    with pytest.raises(HTTPServiceError):
        client.get_message(message["id"])


def use_subscriptions(client: Client, direct: Arranged) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("baby", schedule)
    made = client.create_subscription(
        {"identity": IDENTITY, "messageset": messageset, "lang": "eng_ZA", "schedule": schedule}
    )
    assert client.get_subscription(made["id"]) == made
    changed = client.update_subscription(made["id"], {"metadata": {"prepend_next_delivery": "hi"}})
    assert changed["metadata"] == {"prepend_next_delivery": "hi"}
    (found,) = client.get_subscriptions({"identity": IDENTITY, "active": True})["results"]
    assert found == changed
    assert client.resend_subscription(made["id"]) == {"accepted": True}
    direct.rows(
        "INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity,"
        " initiated_at, attempt) VALUES (%s, 'next', 'post', 'no such channel', %s, %s, now(), 1)",
        *(UNKNOWN_SEND, made["id"], IDENTITY),
    )
    (failed,) = client.get_failed_tasks()["results"]
    assert (failed["task_id"], failed["reason"]) == (UNKNOWN_SEND, "no such channel")
    assert client.requeue_failed_tasks() == {"requeued_failed_tasks": True}


@ensureDeferred
async def test_every_method_of_the_client_works(seed: World, tmp_path: Path) -> None:
    seed.identities.add("+27820001001", IDENTITY)
    content = await told(seed, use_content, SBM_MEDIA_ROOT=str(tmp_path))
    subscriptions = await told(seed, use_subscriptions)
    assert content | subscriptions == METHODS


@ensureDeferred
async def test_the_client_follows_pages_to_their_end(seed: World) -> None:
    """Whether it says how long they are, or leaves that to the service."""

    def follow(client: Client, direct: Arranged) -> None:
        schedule = direct.schedule()
        messageset = direct.messageset("pregnancy", schedule, messages=7)
        made = {str(one) for one in direct.subscriptions(2100, messageset, schedule)}
        everybody = [one["id"] for one in client.get_subscriptions()["results"]]
        assert (len(everybody), set(everybody)) == (2100, made)
        numbers = [
            one["sequence_number"]
            for one in client.get_messages({"messageset": messageset, "limit": 2})["results"]
        ]
        assert numbers == [1, 2, 3, 4, 5, 6, 7]

    await told(seed, follow)
