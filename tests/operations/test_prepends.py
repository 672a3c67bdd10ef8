"""Something goes out before the next message of many."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.content_limits import ContentLimits
from sbm.model.signature import Signature
from sbm.operations.prepends import NoFittingSet, PrependRequest, add_prepends, choose
from sbm.operations.selection import Repair
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.operations.told import ToldProgress

REPAIR = Repair(signature=Signature(actor="ann"))


@ensureDeferred
async def test_it_is_given_to_those_whose_set_it_suits(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    texts = direct.messageset("texts", schedule)
    sounds = direct.messageset("sounds", schedule, content_type="audio")
    for messageset in (texts, sounds):
        direct.subscriptions(2, messageset, schedule)
    direct.subscriptions(1, texts, schedule, metadata={"prepend_next_delivery": "Wait"})
    wanted = PrependRequest(repair=REPAIR, prepend="Hi", limits=ContentLimits(text_length=900))
    recipients = await database.transact(choose, wanted=wanted)
    assert recipients.messageset_ids == [texts]
    assert recipients.left_out == [
        "message set 'sounds' is an audio message set, and this is not the URL of a sound"
    ]
    told = ToldProgress()
    done = await add_prepends(database, wanted=wanted, recipients=recipients, progress=told)
    assert (done.given, done.locked) == (2, 0)
    assert dict(done.verdicts) == {"free": 2, "other": 1}
    assert (told.count, sum(told.done), told.is_over) == (5, 5, True)


@pytest.mark.parametrize(
    ("is_there", "why"), [(True, "this is the URL of a sound"), (False, "there is no message set")]
)
@ensureDeferred
async def test_what_suits_no_set_is_refused(
    database: Database, direct: Arranged, is_there: bool, why: str
) -> None:
    if is_there:
        direct.messageset("texts", direct.schedule())
    wanted = PrependRequest(
        repair=REPAIR, prepend="http://example.org/a.mp3", limits=ContentLimits(text_length=900)
    )
    with pytest.raises(NoFittingSet, match=why):
        await database.transact(choose, wanted=wanted)
