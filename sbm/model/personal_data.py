"""The tables and columns with personal data: the one list of them.

``sbm forget`` and ``sbm export`` follow it, and so does the table in the manual. A test compares it
with the schema, so that no table and no column is forgotten.
"""

from __future__ import annotations

from attrs import frozen

# What stands for a person who was forgotten begins with this. The triggers of the database know it.
MARK_PREFIX = "forgotten-"


@frozen(kw_only=True)
class PersonalTable:
    """A table with personal data, and the columns that have them.

    ``subscriber`` are the columns about a subscriber, and ``user`` those about a user of the API or
    an operator; ``other`` are about neither. ``key`` says how a person is found in it, and
    ``forgotten`` what `sbm forget` does with the rows of a subscriber.
    """

    name: str
    key: str
    purpose: str
    retention: str
    forgotten: str = ""
    subscriber: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


_A_DAY = "24 hours"
_LEDGER = "``SBM_LEDGER_MONTHS``"
_AUDIT = "``SBM_AUDIT_MONTHS``"
_UNTIL_DELETED = "until it is deleted"
_FOREVER = "as long as the user"
_BY_SUBSCRIPTION = "subscription_id"
_BY_TARGET = "target, of the kind subscription"

# In the order in which they are exported.
SUBSCRIBER_TABLES = (
    PersonalTable(
        name="subscriptions",
        key="identity",
        purpose="who gets which messages",
        retention=_UNTIL_DELETED,
        forgotten="deleted",
        subscriber=(
            *("id", "identity", "messageset_id", "next_sequence_number", "lang", "metadata"),
            *("initial_sequence_number", "active", "completed", "schedule_id", "process_status"),
            *("chained_from", "created_at", "updated_at", "joined_at"),
        ),
        user=("created_by", "updated_by"),
        other=("version", "joined_xid"),
    ),
    PersonalTable(
        name="behind_subscriptions",
        key=_BY_SUBSCRIPTION,
        purpose="who has had too few messages",
        retention="until the next search",
        forgotten="deleted",
        subscriber=(
            *("subscription_id", "messages_behind", "current_messageset_id"),
            *("current_sequence_number", "expected_messageset_id", "expected_sequence_number"),
        ),
        other=("id", "created_at"),
    ),
    PersonalTable(
        name="silent_subscriptions",
        key=_BY_SUBSCRIPTION,
        purpose="whom no tick reaches, and why",
        retention="until the next search",
        forgotten="deleted",
        subscriber=("subscription_id", "cause", "found_at"),
        other=("id",),
    ),
    PersonalTable(
        name="sends",
        key="identity, or asked_identity",
        purpose="the messages that are being sent",
        retention="until the send is settled",
        forgotten="skipped; what may have been sent is marked, and is asked about before",
        subscriber=(
            *("id", "subscription_id", "identity", "asked_identity", "messageset_id", "lang"),
            *("next_sequence_number", "sequence_number", "message_id", "prepend", "reason"),
            *("answers", "first_attempt_at"),
        ),
        user=("actor",),
        other=(
            *("kind", "lane", "state", "tick_id", "owed_at", "due_at", "attempt", "owner"),
            *("lease_until", "faults", "unknown_since", "is_fault", "dated_at", "queue_tick_id"),
            *("queue_schedule_id", "queue_messageset_id", "wanted_at", "message_version_id"),
        ),
    ),
    PersonalTable(
        name="ledger",
        key="identity",
        purpose="who got which message, or why not; the balance",
        retention=_LEDGER,
        forgotten="stays, with a mark in place of the identity and other ids",
        subscriber=(
            *("send_id", "subscription_id", "identity", "outbound_id", "reason", "prepend"),
        ),
        user=("actor",),
        other=(
            *("id", "tick_id", "kind", "outcome", "stage", "messageset_id", "sequence_number"),
            *("lang", "attempts", "owed_at", "first_attempt_at", "settled_at", "is_assumed"),
            "message_version_id",
        ),
    ),
    PersonalTable(
        name="deliveries",
        key="the row of the ledger",
        purpose="whether a message was delivered",
        retention=_LEDGER,
        forgotten="deleted",
        subscriber=("delivered", "attempts", "nack_reason", "looked_at"),
        other=("settled_at", "ledger_id", "messageset_id", "lang", "is_final"),
    ),
    PersonalTable(
        name="undelivered_people",
        key="identity",
        purpose="whose last messages were not delivered",
        retention="until a message is delivered",
        forgotten="deleted",
        subscriber=("identity", "in_row", "since", "last_at"),
        other=("id",),
    ),
    PersonalTable(
        name="failed_tasks",
        key="identity",
        purpose="sends that failed, to send them again",
        retention=_UNTIL_DELETED,
        forgotten="deleted",
        subscriber=(
            *("send_id", "reason", "subscription_id", "identity", "first_attempt_at"),
            *("initiated_at", "failed_at", "messageset_id", "next_sequence_number"),
            *("sequence_number", "lang", "message_id"),
        ),
        other=("id", "kind", "stage", "attempt"),
    ),
    PersonalTable(
        name="resend_requests",
        key=_BY_SUBSCRIPTION,
        purpose="who asked for the last message again",
        retention="for ever",
        forgotten="deleted",
        subscriber=("received_at", "subscription_id", "message_id", "send_id", "outbound_id"),
        other=("id",),
    ),
    PersonalTable(
        name="doubles",
        key=_BY_SUBSCRIPTION,
        purpose="messages that somebody got twice",
        retention="for ever",
        forgotten="stays, with other ids",
        subscriber=("send_id", "outbound_id", "subscription_id"),
        other=("id", "noticed_at"),
    ),
    PersonalTable(
        name="recent_registrations",
        key=_BY_SUBSCRIPTION,
        purpose="to refuse registrations that come twice",
        retention=_A_DAY,
        forgotten="deleted",
        subscriber=("fingerprint", "subscription_id"),
        other=("created_at", "received_at"),
    ),
    PersonalTable(
        name="intake",
        key="identity",
        purpose="what became of each request for a subscription",
        retention="``SBM_INTAKE_MONTHS``",
        forgotten="stays, with a mark in place of the identity and another id",
        subscriber=("request_id", "idempotency_key", "identity", "subscription_id", "payload"),
        user=("caller", "user_id"),
        other=("id", "received_at", "outcome", "reason", "fields", "action"),
    ),
    PersonalTable(
        name="idempotency_keys",
        key="body or path, which have the identity or a subscription",
        purpose="to answer a repeated request as the first time",
        retention=_A_DAY,
        forgotten="deleted",
        subscriber=("request", "path", "fingerprint", "body"),
        user=("user_id",),
        other=("created_at", "key", "status", "headers", "received_at"),
    ),
    PersonalTable(
        name="audit",
        key="identity, row_id, or the texts in details",
        purpose="who changed what, and undoing it",
        retention=_AUDIT,
        forgotten="stays, without values; who did it and when stay",
        subscriber=("reason", "request_id", "row_id", "before", "after", "details", "identity"),
        user=("actor", "user_id", "action"),
        other=("id", "done_at", "table_name", "operation", "undoes", "transaction_id"),
    ),
    PersonalTable(
        name="tasks",
        key="wanted, which may have the identity or a subscription",
        purpose="longer work that a client asked for",
        retention="90 days",
        forgotten="stays, without the identity",
        subscriber=("wanted",),
        user=("requested_by",),
        other=(
            *("id", "kind", "state", "requested_at", "up_to", "owner", "lease_until"),
            *("finished_at", "reason", "progress", "result", "dated_at"),
        ),
    ),
    PersonalTable(
        name="scheduler_calls",
        key=_BY_TARGET,
        purpose="calls that are owed to the Scheduler",
        retention="until the call is done",
        forgotten="done first, because the schedule must be disabled",
        subscriber=("target",),
        other=(
            *("id", "kind", "state", "revision", "owed_at", "due_at", "attempt", "lease_until"),
            *("unknown_since", "faults", "reason", "up_to", "waits_for", "fault", "dated_at"),
        ),
    ),
    PersonalTable(
        name="scheduler_schedules",
        key=_BY_TARGET,
        purpose="the schedules at the Scheduler",
        retention="as long as the subscription",
        forgotten="deleted when it is disabled",
        subscriber=("target", "remote_id"),
        other=(
            *("kind", "cron_definition", "enabled", "told_at", "made_with", "is_addressed"),
            "silent_since",
        ),
    ),
    PersonalTable(
        name="scheduler_callbacks",
        key=_BY_TARGET,
        purpose="to answer a repeated call of the Scheduler as the first time",
        retention="minutes",
        forgotten="deleted",
        subscriber=("target", "body"),
        other=("kind", "moment", "created_at", "status", "received_at"),
    ),
    PersonalTable(
        name="scheduler_listing",
        key=_BY_TARGET,
        purpose="to compare the schedules at the Scheduler",
        retention="until they are compared",
        forgotten="deleted",
        subscriber=("target", "remote_id"),
        other=(
            *("listing_id", "kind", "cron_definition", "enabled", "created_at", "listed_at"),
            *("made_with", "is_addressed"),
        ),
    ),
)

# People who use the API, and operators. Nobody is forgotten here by `sbm forget`.
USER_TABLES = (
    PersonalTable(
        name="users",
        key="username, or email",
        purpose="who may use the API",
        retention=_FOREVER,
        user=(
            *("id", "username", "email", "password", "is_admin", "is_active", "is_limited"),
            "created_at",
        ),
    ),
    PersonalTable(
        name="tokens",
        key="user_id",
        purpose="to authenticate requests",
        retention=_FOREVER,
        user=(
            *("user_id", "digest", "name", "created_at", "expires_at", "last_used_at"),
            *("revoked_at", "uses_recorded_since"),
        ),
        other=("id",),
    ),
    PersonalTable(
        name="console_sessions",
        key="user_id",
        purpose="who is logged in to the console, from where",
        retention="12 hours at most",
        user=("user_id", "digest", "began_at", "used_at", "address", "browser"),
        other=("id",),
    ),
    PersonalTable(
        name="console_links",
        key="user_id",
        purpose="to log in to the console once, with a link",
        retention="until it is used, or has expired",
        user=("user_id", "digest", "expires_at"),
    ),
    PersonalTable(
        name="user_permissions",
        key="user_id",
        purpose="what a user may do",
        retention=_FOREVER,
        user=("user_id", "permission"),
    ),
    PersonalTable(
        name="messages",
        key="updated_by",
        purpose="who changed a message",
        retention="as long as the message",
        user=("updated_by",),
        other=(
            *("id", "messageset_id", "sequence_number", "lang", "text_content"),
            *("binary_content_id", "metadata", "created_at", "updated_at", "version_id"),
        ),
    ),
    PersonalTable(
        name="simulations",
        key="made_by",
        purpose="what a tick would have done, for whoever opens it",
        retention=_A_DAY,
        user=("made_by",),
        other=("token", "schedule_id", "made_at", "allowed_change", "counts"),
    ),
    PersonalTable(
        name="message_versions",
        key="made_by",
        purpose="who wrote a message that was sent",
        retention="for ever",
        user=("made_by",),
        other=(
            *("id", "message_id", "messageset_id", "sequence_number", "lang", "text_content"),
            *("file_name", "metadata", "made_at"),
        ),
    ),
    PersonalTable(
        name="messagesets",
        key="updated_by",
        purpose="who changed a set",
        retention="as long as the set",
        user=("updated_by",),
        other=(
            *("id", "short_name", "label", "content_type", "channel", "notes", "next_set_id"),
            *("default_schedule_id", "created_at", "updated_at", "send_hours", "max_age"),
            "on_missing_translation",
        ),
    ),
    PersonalTable(
        name="pauses",
        key="paused_by, or ended_by",
        purpose="who paused the sends, and why",
        retention="for ever",
        user=("paused_by", "ended_by", "reason"),
        other=(
            *("id", "kind", "daemon", "since", "ended_at", "repaired_at", "seen_at", "formerly"),
            *("outbounds_until", "lane", "schedule_id", "messageset_id", "on_ticks", "until"),
            "paused_at",
        ),
    ),
    PersonalTable(
        name="ticks",
        key="opened_by, stopped_by; expanded_up_to: the id of a subscription",
        purpose="who sent a schedule by a request or stopped it, and how far it is expanded",
        retention=_LEDGER,
        forgotten="the place before takes its place",
        subscriber=("expanded_up_to",),
        user=("opened_by", "stopped_by"),
        other=(
            *("id", "source", "state", "schedule_id", "due_at", "shard"),
            *("triggers", "created_at", "expanded_at", "checked_at", "is_checked_off", "missing"),
            *("snapshot", "follows", "follows_beyond", "outcomes", "counted_at"),
            *("after_ledger_id", "repetition", "skipped_by", "stopped_at", "skipped_again"),
            "skipped_again_since",
        ),
    ),
    PersonalTable(
        name="watched_ticks",
        key="released_by",
        purpose="who let a tick go on",
        retention=_LEDGER,
        user=("released_by",),
        other=(
            *("tick_id", "canary", "brake_percent", "brake_after", "posted", "failed", "hold"),
            *("held_at", "released_at"),
        ),
    ),
)

# The others: content, times, counts, machines.
IMPERSONAL_TABLES = (
    *("audio_copies", "binary_contents", "clock_jumps", "clock_readings", "content_changes"),
    *("daemons", "delivery_counts", "delivery_places", "estimated_sends", "forgotten_sends"),
    *("installation", "paces", "schedule_runs", "scheduler_crons", "schedules", "scheduling"),
    *("schema_migrations", "searches", "silent_counts", "timelines"),
)
