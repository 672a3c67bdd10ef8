"""``sbm subscription add-prepend``, as an operator runs it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED
from sbm.operations.selection import CHUNK
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm

ADD = ("subscription", "add-prepend")
KEY = "prepend_next_delivery"


def metadata(direct: Arranged, ids: list[UUID]) -> list[Any]:
    return [direct.subscription(one)["metadata"] for one in ids]


@ensureDeferred
async def test_a_text_is_given_to_those_whom_it_suits_once_and_another_is_left_waiting(
    sbm: Sbm, direct: Arranged
) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule)
    sounds = direct.messageset("sounds", schedule, content_type="audio")
    whatsapp = direct.messageset("chat", schedule, channel="WhatsApp")
    kinds: list[Any] = [None, {}, {"k": [1], KEY: ""}, {KEY: None}, {KEY: "Wait"}, ["x"], "text"]
    ids = [one for kind in kinds for one in direct.subscriptions(1, pregnancy, 1, metadata=kind)]
    apart = [*direct.subscriptions(1, sounds, 1), *direct.subscriptions(1, whatsapp, 1)]
    ended = direct.subscriptions(2, pregnancy, 1)
    direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", ended[0])
    direct.rows("UPDATE subscriptions SET completed = true WHERE id = %s", ended[1])

    for options, given in ((("--dry-run",), "4 would be given"), (("--all",), "4 given")):
        outcome = await sbm(
            *ADD, " Good news in <LANG>", *options, "--by", "ann", "--reason", "new"
        )
        assert outcome.status == 0
        assert outcome.out.splitlines() == [
            "left out: message set 'sounds' is an audio message set, and this is not the URL of a"
            " sound",
            "left out: message set 'chat' is for WhatsApp, whose texts must not include the"
            " newline after it",
            f"{given} the prepend",
            "2 have metadata that is not an object: not changed",
            "1 have another prepend waiting: not changed",
        ]
        if "--dry-run" in options:
            assert metadata(direct, ids) == kinds
    news = {KEY: "Good news in eng_ZA"}
    wanted = [news, news, {"k": [1]} | news, news, {KEY: "Wait"}, ["x"], "text"]
    assert metadata(direct, ids) == wanted
    assert metadata(direct, apart + ended) == [None] * 4
    (entry,) = direct.rows(
        "SELECT actor, action, reason, details FROM audit WHERE operation IS NULL"
    )
    assert (entry["actor"], entry["reason"]) == ("ann", "new")
    assert entry["action"] == " ".join(("sbm", *ADD))
    assert set(entry["details"]["subscriptions"]) == set(map(str, ids[:4]))

    outcome = await sbm(*ADD, "Good news in <LANG>", "--message-set", "pregnancy", "--overwrite")
    assert outcome.out.splitlines()[:2] == ["1 given the prepend", "4 have it already"]
    assert metadata(direct, ids)[4] == news
    details = direct.value(
        "SELECT details FROM audit WHERE operation IS NULL ORDER BY id DESC LIMIT 1"
    )
    assert details["replaced"] == {str(ids[4]): "Wait"}


@ensureDeferred
async def test_a_url_goes_before_the_sounds_of_as_many_as_were_said_and_then_of_the_others(
    sbm: Sbm, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(CHUNK + 20, direct.messageset("texts", schedule), schedule)
    sounds = direct.messageset("sounds", schedule, content_type="audio")
    english = direct.subscriptions(CHUNK // 2, sounds, schedule)
    zulu = direct.subscriptions(3, sounds, schedule, lang="zul_ZA")
    options = (*ADD, "http://example.org/<LANG>.mp3")
    assert (await sbm(*options, "--lang", "zul_ZA", "--limit", "2")).out.endswith(
        "\n2 given the prepend\n"
    )
    assert (await sbm(*options, "--schedule", str(schedule))).out.splitlines()[1:] == [
        f"{CHUNK // 2 + 1} given the prepend",
        "2 have it already",
    ]
    assert metadata(direct, [english[0], *zulu]) == [
        {KEY: f"http://example.org/{lang}.mp3"} for lang in ("eng_ZA", *("zul_ZA",) * 3)
    ]
    given = direct.value("SELECT count(*) FROM subscriptions WHERE metadata ? %s", KEY)
    assert given == CHUNK // 2 + 3
    counts = [
        row["details"]["count"]
        for row in direct.rows("SELECT details FROM audit WHERE operation IS NULL")
    ]
    assert sum(counts) == given


@ensureDeferred
async def test_those_whose_next_message_would_become_too_long_are_left_alone(
    sbm: Sbm, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBM_MAX_TEXT_LENGTH", "30")
    schedule = direct.schedule()
    # Of 14 characters: "texts 1 eng_ZA".
    texts = direct.messageset("texts", schedule, langs=("eng_ZA", "zul_ZA"))
    direct.message(texts, 4, "eng_ZA", "x" * 20)
    direct.message(texts, 5, "eng_ZA", None, file_name="5.png")
    ids = [
        direct.subscriptions(1, texts, schedule, next_sequence_number=number)[0]
        for number in (1, 4, 5, 6)
    ]
    outcome = await sbm(*ADD, "y" * 15, "--all")
    assert outcome.out.splitlines() == [
        "3 given the prepend",
        "1 would have more than 30 characters with their next message: not changed",
    ]
    given = {KEY: "y" * 15}
    assert metadata(direct, ids) == [given, None, given, given]
    outcome = await sbm(*ADD, "z" * 16, "--all", "--overwrite")
    assert outcome.out.splitlines()[0] == "2 given the prepend"
    assert metadata(direct, ids)[:2] == [given, None]
    outcome = await sbm(*ADD, "y" * 31, "--all")
    assert outcome.status == FAILED
    assert (
        "'texts' is a text message set, and this has 31 characters, more than 30" in outcome.stderr
    )


@pytest.mark.parametrize("arguments", [("Hello",), ("", "--all"), ("“Hello”", "--all")])
def test_what_cannot_be_meant_is_misuse(arguments: tuple[str, ...]) -> None:
    assert misused(*ADD, *arguments)


@ensureDeferred
async def test_a_sound_that_suits_nobody_is_refused(sbm: Sbm, direct: Arranged) -> None:
    schedule = direct.schedule()
    ids = direct.subscriptions(1, direct.messageset("texts", schedule), schedule)
    outcome = await sbm(*ADD, "http://example.org/a.mp3", "--all")
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert metadata(direct, ids) == [None]


@ensureDeferred
async def test_those_whose_metadata_would_become_too_large_are_left_alone(
    sbm: Sbm, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBM_MAX_METADATA_BYTES", "100")
    schedule = direct.schedule()
    texts = direct.messageset("texts", schedule)
    given = {KEY: "Hello"}
    bare = len(json.dumps({"a": ""} | given))
    kinds: list[Any] = [{"a": "x" * (100 - bare)}, {"a": "x" * (101 - bare)}]
    large = {"a": "x" * 200, KEY: "Hello"}
    kinds.append(large)
    ids = [one for kind in kinds for one in direct.subscriptions(1, texts, 1, metadata=kind)]
    outcome = await sbm(*ADD, "Hello", "--all")
    assert outcome.out.splitlines() == [
        "1 given the prepend",
        "1 have it already",
        "1 would have metadata of more than 100 bytes or 1000 values: not changed",
    ]
    assert metadata(direct, ids) == [kinds[0] | given, kinds[1], large]


@ensureDeferred
async def test_those_whose_metadata_would_have_too_many_values_are_left_alone(
    sbm: Sbm, direct: Arranged
) -> None:
    schedule = direct.schedule()
    texts = direct.messageset("texts", schedule)
    kinds: list[Any] = [{"a": [[]] * 499, "b": {"c": [0] * 497}}, {"a": [[]] * 999}]
    ids = [one for kind in kinds for one in direct.subscriptions(1, texts, 1, metadata=kind)]
    outcome = await sbm(*ADD, "Hello", "--all")
    assert outcome.out.splitlines() == [
        "1 given the prepend",
        "1 would have metadata of more than 16384 bytes or 1000 values: not changed",
    ]
    assert metadata(direct, ids) == [kinds[0] | {KEY: "Hello"}, kinds[1]]
