"""Another message set with the messages of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from sbm.model.signature import Signature
from sbm.operations.clone import (
    ChangedMeanwhile,
    CloneRequest,
    FilesNotCopied,
    NameTaken,
    Unsendable,
    clone,
    plan_clone,
)
from sbm.operations.selection import NoMessageSet
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.operations.told import ToldProgress

REQUEST = CloneRequest(
    source="pregnancy", short_name="again", text_limit=900, signature=Signature(actor="ann")
)


@pytest.fixture
def source(direct: Arranged, tmp_path: Path) -> int:
    """A set of two sounds."""
    source = direct.messageset("pregnancy", direct.schedule(), messages=0, content_type="audio")
    direct.rows("UPDATE messagesets SET on_missing_translation = 'wait'")
    for number in (1, 2):
        direct.message(source, number, "eng_ZA", None, file_name=f"{number}.mp3")
        (tmp_path / f"{number}.mp3").write_bytes(b"sound")
    return source


@ensureDeferred
async def test_files_are_copied_one_after_the_other(
    database: Database, source: int, tmp_path: Path
) -> None:
    request = evolve(REQUEST, folder=tmp_path)
    plan = await plan_clone(database, request=request)
    assert (plan.source.id, plan.languages, len(plan.files)) == (source, {"eng_ZA": 2}, 2)
    told = ToldProgress()
    made = await clone(database, request=request, plan=plan, progress=told)
    assert (made.short_name, made.content_type) == ("again", "audio")
    assert made.on_missing_translation == "wait"
    assert (told.what, told.count, told.done, told.is_over) == ("files", 2, [1, 1], True)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE messagesets SET notes = 'other'",
        "UPDATE messages SET binary_content_id = (SELECT min(id) FROM binary_contents)",
    ],
)
@ensureDeferred
async def test_what_is_changed_after_it_was_planned_is_not_cloned(
    database: Database, direct: Arranged, source: int, tmp_path: Path, change: str
) -> None:
    request = evolve(REQUEST, folder=tmp_path)
    plan = await plan_clone(database, request=request)
    direct.rows(change)
    with pytest.raises(ChangedMeanwhile):
        await clone(database, request=request, plan=plan)
    assert direct.value("SELECT count(*) FROM messagesets") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1.mp3", "2.mp3"}


@ensureDeferred
async def test_a_name_that_was_taken_after_the_plan_is_refused(
    database: Database, direct: Arranged, source: int
) -> None:
    plan = await plan_clone(database, request=REQUEST)
    direct.messageset("again", direct.schedule())
    with pytest.raises(NameTaken, match="there is a message set 'again' already"):
        await clone(database, request=REQUEST, plan=plan)
    with pytest.raises(NameTaken):
        await plan_clone(database, request=REQUEST)


@ensureDeferred
async def test_what_there_is_not_is_refused(
    database: Database, direct: Arranged, source: int, tmp_path: Path
) -> None:
    for request in (evolve(REQUEST, source="nope"), evolve(REQUEST, next_set="nope")):
        with pytest.raises(NoMessageSet):
            await plan_clone(database, request=request)
    (tmp_path / "1.mp3").unlink()
    with pytest.raises(FilesNotCopied, match=r"there is no file '1\.mp3'"):
        await plan_clone(database, request=evolve(REQUEST, folder=tmp_path))
    direct.message(source, 3, "eng_ZA", "no sound")
    with pytest.raises(Unsendable, match="such messages cannot be sent, and are not copied"):
        await plan_clone(database, request=REQUEST)


@ensureDeferred
async def test_a_file_that_cannot_be_copied_takes_the_others_with_it(
    database: Database, direct: Arranged, source: int, tmp_path: Path
) -> None:
    request = evolve(REQUEST, folder=tmp_path)
    plan = await plan_clone(database, request=request)
    (tmp_path / "2.mp3").unlink()
    with pytest.raises(FilesNotCopied, match="the files could not be copied"):
        await clone(database, request=request, plan=plan)
    assert [path.name for path in tmp_path.iterdir()] == ["1.mp3"]
    assert direct.value("SELECT count(*) FROM messagesets") == 1
