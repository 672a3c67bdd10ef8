"""The fields of message sets in forms, and what they say in words."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from attrs import frozen

from sbm.console.actions import MAX_KEY, seen_as
from sbm.console.cron_words import words
from sbm.console.form_fields import FormField, FormState
from sbm.console.language_tags import spoken
from sbm.console.visit import Visit
from sbm.model.content import FALLBACK, NEXT, WAIT, MessageSet, Schedule
from sbm.model.cron import CRON_FIELDS, Cron
from sbm.operations.refusals import NoSuchRow
from sbm.store import messagesets, schedules
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedules import ToldSchedule
from sbm.web.http.http_errors import Forbidden
from sbm.web.http.publishing import IsUnderWay, check_publishing
from sbm.web.http.wire import row_id


@frozen(kw_only=True)
class SetOptions:
    """What the fields of a set can name: other sets, schedules, and languages."""

    sets: Sequence[MessageSet]
    schedules: Sequence[ToldSchedule]
    languages: Sequence[str]


async def find_set(transaction: Transaction, *, key: str) -> MessageSet:
    """The message set of this id in a path; raises NoSuchRow or NotFound."""
    found = await messagesets.find(transaction, messageset_id=row_id(key))
    if found is None:
        raise NoSuchRow
    return found


async def read_options(transaction: Transaction) -> SetOptions:
    """All sets, schedules and languages."""
    languages = await messagesets.list_languages(transaction)
    return SetOptions(
        sets=await messagesets.list_all(transaction),
        schedules=await schedules.list_told(transaction),
        languages=sorted({lang for langs in languages.values() for lang in langs}),
    )


async def why_blocked(
    transaction: Transaction, *, visit: Visit, is_under_way: IsUnderWay, row_id: int
) -> str:
    """Why the user may not change a row, in a sentence; empty: nothing prevents it."""
    try:
        await check_publishing(
            transaction, user=visit.user, is_under_way=is_under_way, row_id=row_id
        )
    except Forbidden:
        return visit._(
            "People who are under way get what this changes. To change it, you need the permission"
            " content.publish."
        )
    return ""


def form_state(
    visit: Visit,
    values: Mapping[str, str],
    version: str,
    *,
    problems: Mapping[str, Sequence[str]] | None = None,
) -> FormState:
    """A form with new keys; or, if it was sent and refused, with those that it had."""
    once, seen = visit.form.get("once", ""), visit.form.get("seen", "")
    is_kept = once.isascii() and once.isalnum() and len(once) <= MAX_KEY
    return FormState(
        values={"reason": visit.form.get("reason", ""), **values},
        once=once if is_kept else uuid.uuid4().hex,
        seen=seen or seen_as(version),
        problems={
            name: [visit.retold(one) for one in sentences]
            for name, sentences in (problems or {}).items()
        },
    )


def set_fields(visit: Visit, state: FormState, options: SetOptions) -> Sequence[FormField]:
    """The fields of a message set."""
    _ = visit._
    nothing = ("", _("none"))
    return [
        state.of(
            "short_name",
            _("Short name"),
            hint=_("A unique name. Other programs use it."),
            is_required=True,
            longest=100,
        ),
        state.of("label", _("Name for people"), longest=100),
        state.of(
            "content_type",
            _("Content type"),
            kind="choice",
            options=[("text", _("texts")), ("audio", _("sound"))],
        ),
        state.of(
            "default_schedule",
            _("Default schedule"),
            kind="choice",
            hint=_("For people who come from another set."),
            options=[(str(one.id), schedule_words(visit, one)) for one in options.schedules],
            is_required=True,
        ),
        state.of(
            "next_set",
            _("Next set"),
            kind="choice",
            hint=_("It begins when this one is completed."),
            options=[nothing, *((str(one.id), one.short_name) for one in options.sets)],
        ),
        state.of(
            "on_missing_translation",
            _("If a message is missing in a language"),
            kind="choice",
            options=[
                (policy, policy_in_words(visit, policy))
                for policy in dict.fromkeys(
                    [
                        NEXT,
                        WAIT,
                        *(f"{FALLBACK}{lang}" for lang in options.languages),
                        *filter(None, [state.values.get("on_missing_translation")]),
                    ]
                )
            ],
        ),
        state.of(
            "channel",
            _("Channel"),
            hint=_("The channel of the Message Sender. Empty: its default."),
            longest=64,
        ),
        *limit_fields(visit, state),
        state.of("notes", _("Notes"), kind="area"),
    ]


def limit_fields(visit: Visit, state: FormState) -> Sequence[FormField]:
    """The hours and the longest age, which sets and schedules have."""
    _ = visit._
    return [
        state.of(
            "send_hours",
            _("Hours"),
            hint=_("When messages may leave, such as 08:00-20:00. Empty: always."),
            longest=11,
        ),
        state.of(
            "max_age",
            _("Longest age, in seconds"),
            kind="number",
            hint=_(
                "A message that could not leave for so long is skipped. A day has 86400 seconds."
                " Empty: it is never skipped."
            ),
        ),
    ]


def schedule_words(visit: Visit, schedule: Schedule | ToldSchedule) -> str:
    """When a schedule is due, in words; with its time zone if it has its own."""
    cron = Cron.read(**{name: getattr(schedule, name) for name in CRON_FIELDS})
    if cron is None:
        told = visit._("schedule %(id)s, which cannot be read") % {"id": schedule.id}
    else:
        told = words(cron, visit.texts, visit.language)
    return told if schedule.time_zone is None else f"{told} ({schedule.time_zone})"


def policy_in_words(visit: Visit, policy: str) -> str:
    """What happens at a number that has no message in the language of a reader."""
    if policy == NEXT:
        return visit._("send the next message in the own language")
    if policy == WAIT:
        return visit._("send nothing until it is translated")
    lang = policy.removeprefix(FALLBACK)
    return visit._("send the message in %(language)s") % {"language": named(visit, lang)}


def named(visit: Visit, lang: str) -> str:
    """The name of a language for the reader, with its code."""
    name = spoken(lang, visit.language)
    return name if name == lang else f"{name}, {lang}"
