"""The import as a whole: all of it, or nothing.

It is an operator's doing, into a database that nobody else uses yet, and so it is synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from sbm.model.content_rules import Placed
from sbm.model.signature import Signature
from sbm.operations.progress import Progress
from sbm.store.django import sendable, source, target
from sbm.store.django.report import ImportFailed, Note, OldFile, Origin, Tally
from sbm.store.django.sendable import Ended, Waiting
from sbm.store.django.target import NOUNS, STATEMENTS
from sbm.store.schedules import Told


@frozen(kw_only=True)
class Taken:
    """What was taken over; what is an iterator is read as it is looked at.

    ``called`` are the schedules that the Scheduler calls; ``schedules`` are all of them.
    ``contents`` are those of all messages, ``waiting`` all prepends of those under way, and
    ``ended`` those who stand beyond the end of their content.
    """

    origin: Origin
    tallies: list[Tally]
    merged: tuple[str, ...]
    called: int
    schedules: list[Told]
    notes: Iterator[Note]
    files: Iterator[OldFile]
    contents: Iterator[Placed]
    waiting: Iterator[Waiting]
    ended: Iterator[Ended]


def transfer(
    source_uri: str,
    target_uri: str,
    *,
    progress: Progress,
    conclude: Callable[[Taken], bool],
    signature: Signature,
    go_on: bool = False,
) -> None:
    """Take the old service's data over into an empty database; both are named by libpq URIs.

    Those who stand beyond the end of their content are completed and ``go_on`` to the next set, if
    that is wanted.

    When all is there and checked, ``conclude`` is shown it, and says whether it is to stay. Raises
    ImportFailed; whatever is raised, and by whomever, nothing stays.
    """
    with target.opened(target_uri) as ours:
        taken = _filled(source_uri, ours, progress, signature=signature, go_on=go_on)
        if conclude(taken):
            ours.commit()


def _filled(
    source_uri: str,
    ours: target.Target,
    progress: Progress,
    *,
    signature: Signature,
    go_on: bool,
) -> Taken:
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
    # From here on the old database is not needed: its snapshot is given up.
    ours.set_aside()
    with progress("taking over", len(NOUNS)) as advance:
        for noun in NOUNS:
            ours.take(noun)
            advance(1)
    tallies = []
    with progress("checking", len(NOUNS)) as advance:
        for noun in NOUNS:
            tallies.append(ours.tally(noun, sums[noun]))
            advance(1)
    merged = ours.finish()
    # Only now: until here, every row was compared with what it was.
    ended, gone_on = sendable.find_ended(ours.connection, go_on=go_on)
    ours.sign(signature, tallies=tallies, ended=ended, gone_on=gone_on)
    return Taken(
        origin=origin,
        tallies=tallies,
        merged=merged,
        called=ours.count_called(),
        schedules=ours.list_told(),
        notes=ours.notes(),
        files=ours.files(),
        contents=sendable.list_contents(ours.connection),
        waiting=sendable.list_waiting(ours.connection),
        ended=sendable.list_ended(ours.connection),
    )


def _copy(theirs: source.Source, ours: target.Target, relation: str, progress: Progress) -> None:
    """Copy one table, and see that no row is lost on the way."""
    count = theirs.count(relation)
    with progress(relation, count) as advance:
        copied = ours.copy(theirs, relation, advance)
    if copied != count:
        raise ImportFailed(f"{relation} has {count} rows, but {copied} came")
