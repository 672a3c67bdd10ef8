"""Problems of single rows that were imported unchanged."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from sbm.model.content_rules import PREPEND, PlacedContent, content_problems, prepend_problems
from sbm.operations.django_import.old_files import FileCopier
from sbm.operations.django_import.transfer import ImportedData
from sbm.operations.progress import Progress
from sbm.store.django.sendable import EndedSubscription, LargeMetadata, WaitingPrepend


@frozen(kw_only=True)
class Finding:
    """A remark about a row of a table: what happens to the row, and why."""

    table: str
    id: str
    fate: str
    reason: str


def find_unsendable(taken: ImportedData, *, limit: int) -> Iterator[Finding]:
    """Each message and prepend that cannot be sent; ``limit``: how many characters a text has."""
    for one in taken.contents:
        yield from _unsendable_content(one, limit)
    for waiting in taken.waiting:
        yield from _unsendable_prepend(waiting, limit)


def _unsendable_content(one: PlacedContent, limit: int) -> Iterator[Finding]:
    for problem in content_problems(one.content, limit=limit):
        name = f"message {one.sequence_number} of {one.messageset} in {one.lang}"
        yield Finding(
            table="messages",
            id=str(one.id),
            fate="cannot be sent",
            reason=f"{name} {problem.clause}",
        )
        return


def _unsendable_prepend(waiting: WaitingPrepend, limit: int) -> Iterator[Finding]:
    for problem in prepend_problems(
        waiting.prepend, waiting.medium, text=waiting.text, limit=limit
    ):
        yield Finding(
            table="subscriptions",
            id=str(waiting.id),
            fate="cannot be sent",
            reason=f"{PREPEND} {problem.clause}",
        )
        return


def tell_large(one: LargeMetadata) -> Finding:
    """That the metadata of a row are beyond the limits."""
    values = f" and {one.value_count} values" if one.value_count else ""
    return Finding(
        table=one.table_name,
        id=one.id,
        fate="large metadata",
        reason=f"its metadata have {one.bytes} bytes{values}: they are kept, and can be written"
        " back unchanged only",
    )


def tell_ended(one: EndedSubscription) -> Finding:
    """What happens to a subscription that is beyond the end of its content."""
    where = f"it is at {one.next_sequence_number}, beyond the end of {one.messageset} in {one.lang}"
    if one.successor is not None:
        fate = f"it is completed, and goes on to {one.following} as {one.successor}"
    elif one.is_in_error:
        fate = "it is in error, and is left as it is"
    else:
        fate = "it completes at a tick"
        fate += f", and does not go on to {one.following}" if one.following else ""
    return Finding(
        table="subscriptions", id=str(one.id), fate="beyond the end", reason=f"{where}: {fate}"
    )


def copy_files(taken: ImportedData, copies: FileCopier, *, progress: Progress) -> Iterator[Finding]:
    """Copy the files of the messages; yields a finding for each one that cannot be copied."""
    counts = {one.table: one.taken for one in taken.counts_by_table}
    with progress("files", counts["binary_contents"]) as advance:
        for one in taken.files:
            if problem := copies.bring(one):
                yield Finding(
                    table="binary_contents",
                    id=str(one.id),
                    fate="without its file",
                    reason=problem,
                )
            advance(1)
