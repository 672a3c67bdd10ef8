"""Words for ticks: their states, how their sends ended, and why messages were not sent."""

from __future__ import annotations

from collections.abc import Mapping

from sbm.console.texts import marked
from sbm.model.hold import HoldReason
from sbm.model.scheduler_call import Scheduling
from sbm.model.silence import SilenceCause

HOLD_WORDS: Mapping[HoldReason, str] = {
    "paused": marked("It is paused."),
    "hours": marked("It waits for its hours."),
    "braked": marked("Its brake has stopped it: too many messages failed. It waits for a person."),
    "canary": marked("It waits for a person after its first messages."),
    "stopped": marked("It was stopped for good. What is left of it is being skipped."),
}

STATE_WORDS: Mapping[str, str] = {
    "expanding": marked("in progress"),
    "expanded": marked("in progress"),
    "missed": marked("missed: nothing is sent for it"),
    "ended": marked("ended"),
    "stopped": marked("stopped"),
}

OUTCOME_WORDS: Mapping[str, str] = {
    "sent": marked("sent"),
    "adopted": marked("sent, as the Message Sender says"),
    "dry-run": marked("dry run"),
    "skipped": marked("skipped"),
    "refused": marked("refused"),
    "failed": marked("failed"),
    "moved": marked("moved"),
}

STAGE_WORDS: Mapping[str, str] = {
    "trigger": marked("before the message was chosen"),
    "content": marked("when the message was chosen"),
    "address": marked("when the address was looked up"),
    "post": marked("when it was handed to the Message Sender"),
}

REASON_WORDS: Mapping[str, str] = {
    "paused": marked("it was paused when the tick came"),
    "too-old": marked("it was too late for the message"),
    "stopped": marked("a person stopped the tick"),
    "already-owed": marked("another message was still being sent to the person"),
    "completed": marked("the subscription was completed"),
    "inactive": marked("the subscription was not active"),
    "in-error": marked("the subscription was in error"),
    "deleted": marked("the subscription was deleted"),
    "no-language": marked("the message set has no message in the language"),
    "no-translation": marked("the message is not translated, and the person waits for it"),
    "at-end": marked("there is no further message in the set"),
    "content": marked("the message cannot be sent"),
    "no-address": marked("the person has no address"),
    "refused": marked("the Message Sender refused the message"),
    "failed": marked("the calls to another service failed"),
    "moved": marked("an operator or a repair moved the subscription"),
    "other": marked("another reason"),
}

CAUSE_WORDS: Mapping[SilenceCause, str] = {
    "error": marked("The subscription is in error."),
    "empty-set": marked("The message set has no messages."),
    "language": marked("The message set has no message in the language of the person."),
    "translation": marked("The person waits for the translation of a message."),
    "schedule": marked("The schedule is never due."),
    "scheduler": marked("The Scheduler does not call for the person."),
    "paused": marked("It is paused."),
}

CLOCK_WORDS: Mapping[Scheduling, str] = {
    "builtin": marked("sbm itself ticks, by the clock of its database."),
    "schedule": marked("The Seed Scheduler ticks: it calls sbm for each schedule."),
    "subscription": marked("The Seed Scheduler ticks: it calls sbm for each person."),
}

INTAKE_WORDS: Mapping[str, str] = {
    "created": marked("new subscriptions"),
    "replayed": marked("repeated requests, which got their first answer"),
    "twin": marked("requests for a subscription that was there"),
    "refused": marked("refused"),
}
