"""Changes of a subscription: its language, its schedule, and its place."""

from __future__ import annotations

from sbm.console.actions import Proposal
from sbm.console.screens.deeds import Case, SubscriptionDeed, on_its_way, undo
from sbm.store import messagesets, schedules
from sbm.store.postgres.transaction import Transaction

_TICKS = 3


class ChangeLanguage(SubscriptionDeed):
    """Another language for the messages from the next one on."""

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        visit, one = case.visit, case.subscription
        lang = str(case.chosen.get("lang", ""))
        known = (await messagesets.list_languages(transaction)).get(one.messageset_id, [])
        objection, sentences = "", []
        if lang == one.lang:
            objection = visit._("This is the language that the subscription has.")
        elif lang not in known:
            objection = visit._("%(set)s has no message in this language.") % {
                "set": case.messageset.short_name
            }
        else:
            told = {"before": one.lang, "after": lang}
            sentences = [
                visit._("The language changes from %(before)s to %(after)s.") % told,
                await case.coming(transaction, lang=lang),
                *on_its_way(case),
            ]
        return case.proposal(
            title=visit._("Change the language"),
            button=visit._("Change the language"),
            sentences=sentences,
            fields={"lang": lang},
            undo=undo(visit),
            objection=objection,
        )

    async def do(self, transaction: Transaction, case: Case) -> str:
        lang = case.chosen["lang"]
        await case.change(transaction, lang=lang)
        return case.visit._("The language is %(lang)s now.") % {"lang": lang}


class ChangeSchedule(SubscriptionDeed):
    """Other times for the messages from the next one on."""

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        visit, one = case.visit, case.subscription
        schedule_id = case.number("schedule")
        told = {schedule.id: schedule for schedule in await schedules.list_told(transaction)}
        found = told.get(schedule_id or 0)
        objection, sentences = "", []
        if found is None:
            objection = visit._("There is no such schedule.")
        elif found.id == one.schedule_id:
            objection = visit._("This is the schedule that the subscription has.")
        else:
            numbers = {"before": one.schedule_id, "after": found.id}
            sentences = [
                visit._("The schedule changes from number %(before)s to number %(after)s.")
                % numbers,
                await case.coming(transaction),
            ]
            zone = case.clock.zones.of(found.time_zone)
            ticks = []
            if found.cron is not None and zone is not None:
                ticks = found.cron.upcoming(found.now, zone, count=_TICKS)
            moments = "; ".join(case.moment(tick) for tick in ticks)
            sentences.append(
                visit._("The new schedule is next due on: %(moments)s.") % {"moments": moments}
                if moments
                else visit._("The new schedule is never due: nothing would be sent.")
            )
        return case.proposal(
            title=visit._("Change the schedule"),
            button=visit._("Change the schedule"),
            sentences=sentences,
            fields={"schedule": str(schedule_id or "")},
            undo=undo(visit),
            objection=objection,
        )

    async def do(self, transaction: Transaction, case: Case) -> str:
        schedule_id = case.number("schedule")
        await case.change(transaction, schedule_id=schedule_id)
        return case.visit._("The schedule is number %(number)s now.") % {"number": schedule_id}


class ChangePlace(SubscriptionDeed):
    """Another message set, or another number in it."""

    async def propose(self, transaction: Transaction, case: Case) -> Proposal:
        visit, one = case.visit, case.subscription
        set_id, number = case.number("messageset"), case.number("number")
        messageset = None
        if set_id is not None:
            messageset = await messagesets.find(transaction, messageset_id=set_id)
        objection, sentences = "", []
        if messageset is None:
            objection = visit._("There is no such message set.")
        elif number is None:
            objection = visit._("The next number must be a number from 1 on.")
        elif (messageset.id, number) == (one.messageset_id, one.next_sequence_number):
            objection = visit._("This is the place that the subscription has.")
        else:
            sentences = [
                visit._("The place changes from %(set)s %(number)s to %(new_set)s %(new_number)s.")
                % {
                    "set": case.messageset.short_name,
                    "number": one.next_sequence_number,
                    "new_set": messageset.short_name,
                    "new_number": number,
                },
                await case.coming(transaction, messageset=messageset, number=number),
                *on_its_way(case),
            ]
            if one.completed:
                sentences.append(
                    visit._("The subscription stays completed until you start it again.")
                )
            if messageset.default_schedule_id != one.schedule_id:
                sentences.append(
                    visit._(
                        "The schedule stays number %(own)s. The usual one of %(set)s is number"
                        " %(usual)s."
                    )
                    % {
                        "own": one.schedule_id,
                        "set": messageset.short_name,
                        "usual": messageset.default_schedule_id,
                    }
                )
        return case.proposal(
            title=visit._("Change the place"),
            button=visit._("Change the place"),
            sentences=sentences,
            fields={"messageset": str(set_id or ""), "number": str(number or "")},
            undo=undo(visit),
            objection=objection,
        )

    async def do(self, transaction: Transaction, case: Case) -> str:
        number = case.number("number")
        await case.change(
            transaction, messageset_id=case.number("messageset"), next_sequence_number=number
        )
        return case.visit._("The next number is %(number)s now.") % {"number": number}
