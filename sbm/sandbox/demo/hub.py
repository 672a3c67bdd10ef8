"""A stand-in of a project's Hub: it brings the content, and registers mothers by the webhook."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from attrs import define, field, frozen
from twisted.logger import Logger

from sbm.sandbox.demo.api_caller import Caller, Refused
from sbm.sandbox.demo.sample_content import (
    COHORT,
    LANGUAGES,
    SETS,
    SampleSet,
    SampleSubscriber,
    mother,
    neighbour,
    sound,
    sound_name,
)
from sbm.sandbox.demo.terminal import Line
from sbm.sandbox.stand_ins.identity_store import IdentityStore
from sbm.store import binary_contents, messages
from sbm.store.postgres.database import Database, Transaction

CRON_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


@frozen(eq=False, kw_only=True)
class Library:
    """Loads the sample content through the API, and the files beside it.

    What is there already is left as it is, so that a load which was interrupted can be completed.
    Once anybody is subscribed it was complete, and the content is the user's to change.
    """

    caller: Caller
    database: Database
    media_root: Path

    async def load(self) -> bool:
        """Load what is missing; whether that was anything."""
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
        """The id of the schedule with these cron fields, which is made unless there is one."""
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
    """A file and the messages that carry it: both or neither, so that none is made twice."""
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
    """Registers mothers through ``POST /subscriptions/request``, as a project's Hub does.

    Each registration has a key, so that one whose answer was lost can be made again.
    """

    caller: Caller
    identity_store: IdentityStore
    draw_key: Callable[[], UUID] = uuid4
    _place: int = field(default=COHORT, init=False)
    _unanswered: tuple[SampleSubscriber, str] | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    async def register_cohort(self) -> int:
        """Register those of the first mothers who are not subscribed yet; how many they were."""
        self._introduce(neighbour())
        registered = 0
        for place in range(1, COHORT + 1):
            one = mother(place)
            self._introduce(one)
            found = await self.caller.get("subscriptions/", identity=one.identity, limit="1")
            if not found["count"]:
                registered += await self._register(one, str(self.draw_key()))
        return registered

    async def register_next(self) -> None:
        """Register the next mother in the queue, or once more the one of whom no answer came."""
        if self._unanswered is None:
            self._unanswered = self._next(), str(self.draw_key())
        one, key = self._unanswered
        try:
            is_registered = await self._register(one, key)
        except Refused:
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
        while self._knows(mother(self._place)):
            self._place += 1
        one = mother(self._place)
        self._introduce(one)
        return one

    async def _register(self, one: SampleSubscriber, key: str) -> bool:
        """Subscribe her, unless somebody has removed the set that she wants."""
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
    """What the Hub POSTs to subscribe a mother to a set, as the API described it."""
    return {
        "data": {
            "identity": one.identity,
            "messageset": messageset["id"],
            "schedule": messageset["default_schedule"],
            "next_sequence_number": one.first,
            "lang": one.lang,
        }
    }
