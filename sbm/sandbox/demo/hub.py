"""A stand-in of a project's Hub: it loads the content, and registers subscribers by the webhook."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from attrs import define, field, frozen
from twisted.logger import Logger

from sbm.sandbox.demo.api_caller import ApiError, Caller
from sbm.sandbox.demo.sample_content import (
    COHORT,
    LANGUAGES,
    SETS,
    SampleSet,
    SampleSubscriber,
    sample_subscriber,
    sound,
    sound_name,
    unregistered_subscriber,
)
from sbm.sandbox.demo.terminal import Line
from sbm.sandbox.stand_ins.identity_store import IdentityStore
from sbm.store import binary_contents, messages
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

CRON_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


@frozen(eq=False, kw_only=True)
class SampleContentLoader:
    """Loads the sample content through the API, and the sound files into the media folder.

    Existing content is not changed, so that an interrupted load can be completed. If there is a
    subscription, the load was completed before. Then nothing is loaded, because the user may have
    changed the content.
    """

    caller: Caller
    database: Database
    media_root: Path

    async def load(self) -> bool:
        """Load the content that is missing; returns whether it looked for any."""
        if (await self.caller.get("subscriptions/", limit="1"))["count"]:
            return False
        for sample in SETS:
            await self._load_set(sample)
        return True

    async def _load_set(self, sample: SampleSet) -> None:
        known = await self.caller.get("messageset/", short_name=sample.short_name)
        if known["results"]:
            messageset = known["results"][0]
        else:
            messageset = await self.caller.post("messageset/", await self._described(sample))
        there = await self.caller.get("message/", messageset=str(messageset["id"]))
        places = {(one["lang"], one["sequence_number"]) for one in there["results"]}
        for number in range(1, len(sample) + 1):
            missing = [lang for lang in LANGUAGES if (lang, number) not in places]
            if sample.recordings and missing:
                await self._record(messageset["id"], number, missing)
                continue
            for lang in missing:
                text = sample.texts[lang][number - 1]
                await self.caller.post(
                    "message/",
                    {
                        "messageset": messageset["id"],
                        "sequence_number": number,
                        "lang": lang,
                        "text_content": text,
                    },
                )

    async def _described(self, sample: SampleSet) -> dict[str, Any]:
        return {
            "short_name": sample.short_name,
            "label": sample.label,
            "notes": sample.notes,
            "content_type": sample.content_type,
            "next_set": await self._id_of(sample.next_set),
            "default_schedule": await self._schedule(sample),
        }

    async def _id_of(self, short_name: str | None) -> int | None:
        if short_name is None:
            return None
        known = await self.caller.get("messageset/", short_name=short_name)
        return int(known["results"][0]["id"])

    async def _schedule(self, sample: SampleSet) -> int:
        """The id of the schedule with these cron fields; it is made if there is none."""
        wanted = {name: sample.schedule.get(name, "*") for name in CRON_FIELDS}
        for known in (await self.caller.get("schedule/"))["results"]:
            if wanted.items() <= known.items():
                return int(known["id"])
        return int((await self.caller.post("schedule/", wanted))["id"])

    async def _record(self, messageset_id: int, number: int, langs: Collection[str]) -> None:
        """Put a recording into the media folder, and messages that play it into the set."""
        file = self.media_root / sound_name(number)
        half = file.with_name(f".{file.name}.new")
        half.write_bytes(sound(number))
        os.replace(half, file)
        await self.database.transact(
            _add_recording,
            content=file.name,
            messageset_id=messageset_id,
            number=number,
            langs=langs,
        )


async def _add_recording(
    transaction: Transaction,
    *,
    content: str,
    messageset_id: int,
    number: int,
    langs: Collection[str],
) -> None:
    """Add a file and the messages with it in one transaction, so that neither is added twice."""
    file = await binary_contents.create(transaction, content=content)
    for lang in langs:
        await messages.create(
            transaction,
            messageset_id=messageset_id,
            sequence_number=number,
            lang=lang,
            metadata={},
            text_content=None,
            binary_content_id=file.id,
        )


@define(eq=False, kw_only=True)
class Hub:
    """Registers subscribers through ``POST /subscriptions/request``, as a project's Hub does.

    Each registration has a key, so that it can be repeated if its answer was lost.
    """

    caller: Caller
    identity_store: IdentityStore
    draw_key: Callable[[], UUID] = uuid4
    _place: int = field(default=COHORT, init=False)
    _unanswered: tuple[SampleSubscriber, str] | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    async def register_cohort(self) -> int:
        """Register the first subscribers, unless they are subscribed; returns how many it did."""
        self._introduce(unregistered_subscriber())
        registered = 0
        for place in range(1, COHORT + 1):
            one = sample_subscriber(place)
            self._introduce(one)
            found = await self.caller.get("subscriptions/", identity=one.identity, limit="1")
            if not found["count"]:
                registered += await self._register(one, str(self.draw_key()))
        return registered

    async def register_next(self) -> None:
        """Register the next subscriber, or repeat the registration that got no answer."""
        if self._unanswered is None:
            self._unanswered = self._next(), str(self.draw_key())
        one, key = self._unanswered
        try:
            is_registered = await self._register(one, key)
        except ApiError:
            self._unanswered = None
            raise
        self._unanswered = None
        if is_registered:
            line = Line.of(
                ("number", f"{one.msisdn:<12}"),
                ("new", f"  registers for {one.short_name}"),
                ("dim", f" in {one.lang}"),
            )
            self._log.info("{line}", line=line)

    def _next(self) -> SampleSubscriber:
        self._place += 1
        while self._knows(sample_subscriber(self._place)):
            self._place += 1
        one = sample_subscriber(self._place)
        self._introduce(one)
        return one

    async def _register(self, one: SampleSubscriber, key: str) -> bool:
        """Subscribe a person, unless the user has deleted the set; returns whether it did."""
        known = await self.caller.get("messageset/", short_name=one.short_name)
        for messageset in known["results"]:
            body = registration(one, messageset)
            await self.caller.post("subscriptions/request", body, key=key)
        return bool(known["results"])

    def _introduce(self, one: SampleSubscriber) -> None:
        if not self._knows(one):
            self.identity_store.add(one.msisdn, one.identity)

    def _knows(self, one: SampleSubscriber) -> bool:
        try:
            self.identity_store.msisdn(one.identity)
        except KeyError:
            return False
        return True


def registration(one: SampleSubscriber, messageset: dict[str, Any]) -> dict[str, Any]:
    """The body by which the Hub subscribes a person to a set; the set is as the API shows it."""
    return {
        "data": {
            "identity": one.identity,
            "messageset": messageset["id"],
            "schedule": messageset["default_schedule"],
            "next_sequence_number": one.first,
            "lang": one.lang,
        }
    }
