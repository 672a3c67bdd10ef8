"""The stand-in of a Hub, at the real API over a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from treq.client import HTTPClient
from twisted.internet import reactor as global_reactor
from twisted.web.client import Agent

from sbm.operations import users
from sbm.runtime.wakeups import Wakeups
from sbm.sandbox.demo.api_caller import ApiError, Caller
from sbm.sandbox.demo.hub import Hub, SampleContentLoader
from sbm.sandbox.demo.sample_content import (
    AUDIO,
    BABY,
    COHORT,
    LANGUAGES,
    PREGNANCY,
    SETS,
    sample_subscriber,
)
from sbm.sandbox.stand_ins.identity_store import IdentityStore
from sbm.settings.config import SchedulingSettings
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database
from sbm.web.api import build

reactor: Any = global_reactor


@define
class World:
    """A caller of a running API, and those who use it."""

    caller: Caller
    database: Database
    media_root: Path
    identities: IdentityStore = field(factory=IdentityStore)

    async def load(self, caller: Any = None) -> bool:
        library = SampleContentLoader(
            caller=caller or self.caller, database=self.database, media_root=self.media_root
        )
        return await library.load()

    def hub(self, caller: Any = None) -> Hub:
        return Hub(caller=caller or self.caller, identity_store=self.identities)

    async def all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.caller.get(path))["results"]
        return found


@define
class DiesBetweenPosts:
    """A caller whose process is killed before so many more POSTs have been made."""

    caller: Caller
    posts: int

    async def get(self, path: str, **query: str) -> Any:
        return await self.caller.get(path, **query)

    async def post(self, path: str, body: Any, *, key: str = "") -> Any:
        if not self.posts:
            raise ConnectionAbortedError
        self.posts -= 1
        return await self.caller.post(path, body, key=key)


@define
class LosesAnswers:
    """A caller that loses the answers to its first POSTs."""

    caller: Caller
    lost: int

    async def get(self, path: str, **query: str) -> Any:
        return await self.caller.get(path, **query)

    async def post(self, path: str, body: Any, *, key: str = "") -> Any:
        answer = await self.caller.post(path, body, key=key)
        if self.lost:
            self.lost -= 1
            raise ConnectionResetError
        return answer


@pytest_twisted.async_yield_fixture
async def world(database_uri: str, tmp_path: Path) -> AsyncIterator[World]:
    database = Database(reactor=reactor, address=DatabaseAddress.parse(database_uri), size=2)
    site = build(
        database=database,
        scheduling=SchedulingSettings(
            mode="builtin", public_url="http://sbm", scheduler=None, inbound_token=None
        ),
        version="1",
        wakeups=Wakeups.of(reactor),
        media_root=tmp_path,
    )
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    token = await database.transact(users.create_token, email="a@example.org", admin=True)
    agent: Any = Agent(reactor)
    caller = Caller(
        url=f"http://127.0.0.1:{port.getHost().port}/api/v1",
        token=token,
        treq=HTTPClient(agent),
    )
    try:
        yield World(caller, database, tmp_path)
    finally:
        await port.stopListening()
        database.stopService()


async def content_of(world: World) -> set[tuple[str, str, int]]:
    names = {one["id"]: one["short_name"] for one in await world.all("messageset/")}
    messages = await world.all("message/")
    places = {(names[one["messageset"]], one["lang"], one["sequence_number"]) for one in messages}
    assert len(places) == len(messages)
    return places


EVERYTHING = {
    (sample.short_name, lang, number)
    for sample in SETS
    for lang in LANGUAGES
    for number in range(1, len(sample) + 1)
}


@ensureDeferred
async def test_the_content_is_loaded_and_linked(world: World) -> None:
    assert await world.load()
    assert await content_of(world) == EVERYTHING
    sets = {one["short_name"]: one for one in await world.all("messageset/")}
    assert sets[PREGNANCY.short_name]["next_set"] == sets[BABY.short_name]["id"]
    assert len({one["default_schedule"] for one in sets.values()}) == 3
    assert sets[AUDIO.short_name]["content_type"] == "audio"


@ensureDeferred
async def test_a_recording_is_served_as_a_sound(world: World) -> None:
    await world.load()
    (audio,) = (
        one for one in await world.all("messageset/") if one["short_name"] == AUDIO.short_name
    )
    found = await world.caller.get(f"messageset/{audio['id']}/messages/")
    urls = {one["binary_content"]["content"] for one in found["messages"]}
    assert len(urls) == AUDIO.recordings
    response = await world.caller.treq.get(min(urls))
    assert (await response.content())[:4] == b"RIFF"


@ensureDeferred
async def test_a_load_that_was_interrupted_anywhere_is_completed(world: World) -> None:
    posts = 0
    while True:
        dying = DiesBetweenPosts(world.caller, posts)
        try:
            await world.load(dying)
        except ConnectionAbortedError:
            posts = 1
        else:
            break
    assert await content_of(world) == EVERYTHING
    assert len(await world.all("schedule/")) == 3
    assert len(await world.all("messageset/")) == 3


@ensureDeferred
async def test_an_interrupted_registration_is_completed_and_nobody_is_subscribed_twice(
    world: World,
) -> None:
    await world.load()
    try:
        await world.hub(DiesBetweenPosts(world.caller, 10)).register_cohort()
    except ConnectionAbortedError:
        assert len(await world.all("subscriptions/")) == 10
    assert await world.hub().register_cohort() == COHORT - 10
    assert await world.hub().register_cohort() == 0
    subscribed = [one["identity"] for one in await world.all("subscriptions/")]
    assert sorted(subscribed) == sorted(
        sample_subscriber(place).identity for place in range(1, COHORT + 1)
    )


@ensureDeferred
async def test_content_is_the_users_once_somebody_is_subscribed(world: World) -> None:
    await world.load()
    await world.hub().register_cohort()
    assert not await world.load(DiesBetweenPosts(world.caller, 0))


@ensureDeferred
async def test_the_next_in_the_queue_registers_after_a_restart_too(world: World) -> None:
    await world.load()
    await world.hub().register_next()
    await world.hub().register_next()
    found = {one["identity"]: one for one in await world.all("subscriptions/")}
    assert set(found) == {
        sample_subscriber(COHORT + 1).identity,
        sample_subscriber(COHORT + 2).identity,
    }
    assert {one["next_sequence_number"] for one in found.values()} == {1}
    assert (
        world.identities.msisdn(sample_subscriber(COHORT + 1).identity)
        == sample_subscriber(COHORT + 1).msisdn
    )


@ensureDeferred
async def test_a_registration_is_made_again_if_its_answer_is_lost_but_not_if_it_is_refused(
    world: World,
) -> None:
    await world.load()
    hub = world.hub(LosesAnswers(world.caller, 2))
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await hub.register_next()
    await hub.register_next()
    hub.caller = evolve(world.caller, token="nobodys")
    with pytest.raises(ApiError):
        await hub.register_next()
    hub.caller = world.caller
    await hub.register_next()
    subscribed = [one["identity"] for one in await world.all("subscriptions/")]
    assert subscribed == [sample_subscriber(COHORT + place).identity for place in (3, 1)]


@ensureDeferred
async def test_without_the_set_no_subscriber_is_registered(world: World) -> None:
    await world.hub().register_next()
    assert await world.all("subscriptions/") == []


@ensureDeferred
async def test_a_refusal_is_told_with_the_answer(world: World) -> None:
    with pytest.raises(ApiError, match=r"answered 400: .*This field is required\."):
        await world.caller.post("subscriptions/request", {})
