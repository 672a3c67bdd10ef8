"""The whole import: all of it, or nothing.

An operator runs it, into a database that nothing else uses yet, so it is synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from attrs import frozen

from sbm.model.content_rules import PlacedContent
from sbm.model.signature import Signature
from sbm.operations.progress import Progress
from sbm.store.django import sendable, source, target
from sbm.store.django.report import ImportFailed, Note, OldFile, OldService, TableCounts
from sbm.store.django.sendable import EndedSubscription, LargeMetadata, WaitingPrepend
from sbm.store.django.target import NOUNS, STATEMENTS
from sbm.store.schedules import ToldSchedule


@frozen(kw_only=True)
class ImportedData:
    """What was imported; each iterator reads from the database when it is used.

    ``called`` is the number of schedules that the Scheduler calls; ``schedules`` are all of them.
    ``contents`` are those of all messages, ``waiting`` the prepends of all active subscriptions,
    ``ended`` the subscriptions that are beyond the end of their content, and ``large`` finds the
    metadata that are beyond the limits.
    """

    origin: OldService
    counts_by_table: list[TableCounts]
    merged: tuple[str, ...]
    called: int
    schedules: list[ToldSchedule]
    notes: Iterator[Note]
    files: Iterator[OldFile]
    contents: Iterator[PlacedContent]
    waiting: Iterator[WaitingPrepend]
    ended: Iterator[EndedSubscription]
    large: Callable[..., Iterator[LargeMetadata]]


def transfer(
    source_uri: str,
    target_uri: str,
    *,
    progress: Progress,
    conclude: Callable[[ImportedData], bool],
    signature: Signature,
    go_on: bool = False,
) -> None:
    """Copy the old service's data into an empty database; both are given as libpq URIs.

    With ``go_on``, subscriptions that are beyond the end of their content are completed, and go
    on to the next set.

    After all data was copied and checked, ``conclude`` gets it, and returns whether to keep it.
    Raises ImportFailed. After any exception, also one of ``conclude``, nothing is kept.
    """
    with target.opened(target_uri) as ours:
        taken = _filled(source_uri, ours, progress, signature=signature, go_on=go_on)
        if conclude(taken):
            ours.commit()


def _filled(
    source_uri: str,
    ours: target.TargetDatabase,
    progress: Progress,
    *,
    signature: Signature,
    go_on: bool,
) -> ImportedData:
    columns = ours.prepare()
    with source.opened(source_uri) as theirs:
        origin = theirs.look(columns)
        for odd in theirs.list_odd_times():
            ours.note_odd_time(*odd)
        for relation in columns:
            _copy(theirs, ours, relation, progress)
        sums = {}
        with progress("adding up", len(NOUNS)) as advance:
            for noun in NOUNS:
                sums[noun] = theirs.sums(STATEMENTS[noun].read.sql)
                advance(1)
    # From here on, the old database is not needed: its snapshot has ended.
    ours.set_aside()
    with progress("taking over", len(NOUNS)) as advance:
        for noun in NOUNS:
            ours.take(noun)
            advance(1)
    counts_by_table = []
    with progress("checking", len(NOUNS)) as advance:
        for noun in NOUNS:
            counts_by_table.append(ours.counts(noun, sums[noun]))
            advance(1)
    merged = ours.finish()
    # Not earlier: before this point, every row is compared with the old one.
    ended, gone_on = sendable.find_ended(ours.connection, go_on=go_on)
    ours.sign(signature, counts_by_table=counts_by_table, ended=ended, gone_on=gone_on)
    return ImportedData(
        origin=origin,
        counts_by_table=counts_by_table,
        merged=merged,
        called=ours.count_called(),
        schedules=ours.list_told(),
        notes=ours.notes(),
        files=ours.files(),
        contents=sendable.list_contents(ours.connection),
        waiting=sendable.list_waiting(ours.connection),
        ended=sendable.list_ended(ours.connection),
        large=partial(sendable.list_large, ours.connection),
    )


def _copy(
    theirs: source.SourceDatabase, ours: target.TargetDatabase, relation: str, progress: Progress
) -> None:
    """Copy one table, and check that no row is lost."""
    count = theirs.count(relation)
    with progress(relation, count) as advance:
        copied = ours.copy(theirs, relation, advance)
    if copied != count:
        raise ImportFailed(f"{relation} has {count} rows, but {copied} were copied")
