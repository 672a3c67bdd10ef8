"""Words for ticks: their states, and how their sends ended."""

from __future__ import annotations

from collections.abc import Mapping

from sbm.console.texts import marked
from sbm.model.hold import HoldReason
from sbm.model.scheduler_call import Scheduling

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
