"""What the words of the database mean, in plain texts; they are translated when they are shown."""

from __future__ import annotations

from collections.abc import Mapping

from sbm.console.texts import marked

# How far a message came that was not sent.
STAGES: Mapping[str, str] = {
    "trigger": marked("before it began"),
    "content": marked("finding the message"),
    "address": marked("asking the Identity Store for the number"),
    "post": marked("handing it to the Message Sender"),
}

# Why a message was not sent, by the kind of the reason.
REASONS: Mapping[str, str] = {
    "paused": marked("sending was paused when the tick came"),
    "too-old": marked("it was too late for the message"),
    "stopped": marked("a person stopped the tick"),
    "already-owed": marked("another message was still being sent to the person"),
    "completed": marked("the subscription was completed"),
    "inactive": marked("the subscription was stopped"),
    "in-error": marked("the subscription was in error"),
    "deleted": marked("the subscription was deleted"),
    "no-language": marked("the message set has no message in the language"),
    "no-translation": marked("the message is not translated, and the subscription waits for it"),
    "at-end": marked("the subscription is beyond the last message"),
    "content": marked("the message, or the text before it, cannot be sent"),
    "no-address": marked("the person has no number"),
    "refused": marked("the Message Sender refused the message"),
    "failed": marked("another service did not do its part"),
    "moved": marked("somebody moved the subscription"),
    "other": marked("another reason"),
}

# Why a failed task is not owed again, as the statements say it.
SKIPS: Mapping[str, str] = {
    "the subscription was deleted": marked("the subscription was deleted"),
    "the subscription is completed": marked("the subscription is completed"),
    "the subscription is not active": marked("the subscription is stopped"),
    "the subscription is in error": marked("the subscription is in error"),
    "the subscription has moved on": marked("the subscription has moved on"),
    "a message is already owed to the subscription": marked(
        "a message is on its way to the subscription already"
    ),
    "a resend is already owed to the subscription": marked(
        "a message is being sent again to the subscription already"
    ),
    "no message of its set is left to send": marked("no message of its set is left to send"),
    "the next set was begun already": marked("the next set was begun already"),
}

# Why a subscription gets nothing, and what helps.
CAUSES: Mapping[str, tuple[str, str]] = {
    "error": (
        marked("It is in error"),
        marked(
            "Most often the person has no number, or does not want messages any more. Open the"
            " person, and start the subscription again when that is settled."
        ),
    ),
    "empty-set": (
        marked("Its message set is empty"),
        marked("Add messages to the set, or move these people to another set."),
    ),
    "language": (
        marked("Its message set has no message in its language"),
        marked("Translate the set, or change the language of these people."),
    ),
    "translation": (
        marked("It waits for a translation"),
        marked("Translate the message at which these people stand."),
    ),
    "schedule": (
        marked("Its schedule is never due"),
        marked("Correct the schedule, or put these people on another one."),
    ),
    "scheduler": (
        marked("The Scheduler does not call for it"),
        marked("Let the Scheduler be told again: see the manual about “sbm scheduler”."),
    ),
    "paused": (
        marked("It is paused"),
        marked("End the pause on the page Operations."),
    ),
}

# The columns of subscriptions that say nothing about the person.
FIELDS: Mapping[str, str] = {
    "messageset_id": marked("message set"),
    "next_sequence_number": marked("next number"),
    "initial_sequence_number": marked("first number"),
    "lang": marked("language"),
    "active": marked("active"),
    "completed": marked("completed"),
    "schedule_id": marked("schedule"),
    "process_status": marked("state"),
    "version": marked("version"),
}
