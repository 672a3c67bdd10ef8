"""A message set as a grid: what each number has in each language, and who stands there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from attrs import field, frozen

from sbm.model.content import ListedMessage, MessageSet
from sbm.model.content_summary import StandingPeople
from sbm.model.short_messages import SmsCount, counted
from sbm.store import binary_contents, messages, messagesets
from sbm.store.postgres.transaction import Transaction

# A page has so many cells, but at least so many rows.
CELLS = 400
FEWEST_ROWS = 10

ShownNumbers = Literal["all", "missing", "long"]


@frozen(kw_only=True)
class GridFilter:
    """Which numbers are shown, and from where: those after or before a number.

    ``missing``: at least one language has no message; ``long``: at least one takes more than one
    SMS. ``text`` stands in at least one of their messages, in any case.
    """

    shown: ShownNumbers = "all"
    text: str = ""
    after: int | None = None
    before: int | None = None


@frozen(kw_only=True)
class GridCell:
    """A message; ``sms`` is its size, None if it does not go out by SMS."""

    message: ListedMessage
    file_name: str | None
    sms: SmsCount | None

    @property
    def is_long(self) -> bool:
        """Whether it takes more than one SMS."""
        return self.sms is not None and self.sms.parts > 1


@frozen(kw_only=True)
class GridRow:
    """A number. ``people`` stand there; ``missed`` are those whose language has no message here."""

    number: int
    cells: Mapping[str, GridCell]
    people: int
    missed: Sequence[StandingPeople] = ()


@frozen(kw_only=True)
class LanguageTotal:
    """How many messages a language has, and how many SMS they take together."""

    messages: int = 0
    parts: int = 0


@frozen(kw_only=True)
class ContentGrid:
    """A page of the grid. ``matching`` numbers of ``numbers`` match the filter.

    ``elsewhere`` are those who stand at a number that has no message in any language. ``previous``
    and ``following`` say whether there are rows before and after these.
    """

    languages: Sequence[str]
    rows: Sequence[GridRow]
    numbers: int
    matching: int
    totals: Mapping[str, LanguageTotal]
    elsewhere: Sequence[StandingPeople]
    previous: bool = False
    following: bool = False


@frozen(kw_only=True)
class _Cells:
    """All messages of a set by number and language."""

    languages: Sequence[str]
    by_number: Mapping[int, Mapping[str, GridCell]]
    standing: Mapping[int, Sequence[StandingPeople]] = field(factory=dict)

    def row(self, number: int) -> GridRow:
        cells, here = self.by_number[number], self.standing.get(number, ())
        return GridRow(
            number=number,
            cells=cells,
            people=sum(one.count for one in here),
            missed=[one for one in here if one.lang not in cells],
        )

    def matches(self, number: int, wanted: GridFilter) -> bool:
        cells = self.by_number[number]
        if wanted.shown == "missing" and len(cells) == len(self.languages):
            return False
        if wanted.shown == "long" and not any(cell.is_long for cell in cells.values()):
            return False
        text = wanted.text.casefold()
        return not text or any(
            text in (cell.message.text_content or "").casefold() for cell in cells.values()
        )


async def read_grid(
    transaction: Transaction, *, messageset: MessageSet, wanted: GridFilter
) -> ContentGrid:
    """A page of the grid of a set."""
    found = await _read(transaction, messageset)
    slices, matching = transaction.slices(), []
    for number in sorted(found.by_number):
        if found.matches(number, wanted):
            matching.append(number)
        if slices.is_over:
            await slices.next_turn()
    page = _page(matching, wanted, max(FEWEST_ROWS, CELLS // max(1, len(found.languages))))
    return ContentGrid(
        languages=found.languages,
        rows=[found.row(number) for number in page],
        numbers=len(found.by_number),
        matching=len(matching),
        totals={
            lang: _total(cells[lang] for cells in found.by_number.values() if lang in cells)
            for lang in found.languages
        },
        elsewhere=[
            one
            for number, people in sorted(found.standing.items())
            if number not in found.by_number
            for one in people
        ],
        previous=bool(page) and page[0] != matching[0],
        following=bool(page) and page[-1] != matching[-1],
    )


def sms_of(messageset: MessageSet, text: str | None) -> SmsCount | None:
    """The size of a text of the set by SMS; None if the set does not go out by SMS."""
    medium = messageset.medium
    if medium.is_audio or medium.is_whatsapp or not text:
        return None
    return counted(text)


async def _read(transaction: Transaction, messageset: MessageSet) -> _Cells:
    listed = await messages.list_of_set(transaction, messageset_id=messageset.id)
    ids = {one.binary_content_id for one in listed if one.binary_content_id is not None}
    files = await binary_contents.find(transaction, ids=ids)
    by_number: defaultdict[int, dict[str, GridCell]] = defaultdict(dict)
    slices = transaction.slices()
    for one in listed:
        file = files.get(one.binary_content_id or 0)
        by_number[one.sequence_number][one.lang] = GridCell(
            message=one,
            file_name=None if file is None else file.content,
            sms=sms_of(messageset, one.text_content),
        )
        if slices.is_over:
            await slices.next_turn()
    standing: defaultdict[int, list[StandingPeople]] = defaultdict(list)
    for group in await messagesets.list_standing(transaction, messageset_id=messageset.id):
        standing[group.next_sequence_number].append(group)
    return _Cells(
        languages=sorted({one.lang for one in listed}), by_number=by_number, standing=standing
    )


def _page(matching: Sequence[int], wanted: GridFilter, rows: int) -> Sequence[int]:
    if wanted.before is not None:
        return [number for number in matching if number < wanted.before][-rows:]
    after = wanted.after
    return [number for number in matching if after is None or number > after][:rows]


def _total(cells: Iterable[GridCell]) -> LanguageTotal:
    count = parts = 0
    for cell in cells:
        count, parts = count + 1, parts + (0 if cell.sms is None else cell.sms.parts)
    return LanguageTotal(messages=count, parts=parts)
