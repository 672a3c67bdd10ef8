"""Files for messages: uploaded, replaced, deleted, and what is left of them on disk."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.content import BinaryContent
from sbm.operations import users
from sbm.operations.media_files import delete_abandoned, new_name
from sbm.store import binary_contents
from sbm.store.postgres.errors import CommitUnknown
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.temporary_files import BATCH_BYTES, TemporaryFile
from tests.web.conftest import SCHEDULER_TOKEN, Answer, Api, reactor, served
from tests.web.sockets import BOUNDARY, MULTIPART, asked, comes_true, form, head, text_part

PATH = "/api/v1/binarycontent/"
NOT_A_FILE = "The submitted data was not a file. Check the encoding type on the form."


async def upload(
    api: Api, body: bytes, path: str = PATH, method: str = "POST", **options: Any
) -> Answer:
    return await api.call(method, path, body, Content_Type=MULTIPART, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def emptied(folder: Path) -> None:
    """Wait until the folder is; a thread empties it."""
    await comes_true(lambda: not names(folder))


@pytest_twisted.ensureDeferred
async def test_an_upload_is_stored_under_a_name_that_nobody_can_guess(api: Api) -> None:
    answer = await upload(api, form(b"\x89PNG", "../../etc/a.b.png"))
    assert answer.status == 201
    assert list(answer.json) == ["id", "content"]
    match = re.fullmatch(
        rf"{api.base}/media/(\d{{20}}-[0-9a-f]{{32}}\.png)", answer.json["content"]
    )
    assert match
    assert names(api.media_root) == [match[1]]
    assert (api.media_root / match[1]).read_bytes() == b"\x89PNG"
    assert (api.media_root / match[1]).stat().st_mode & 0o777 == 0o644


@pytest_twisted.ensureDeferred
async def test_a_large_upload_arrives_whole(api: Api) -> None:
    content = os.urandom(5 * BATCH_BYTES + 17)
    answer = await upload(api, form(content, "a.mp3"))
    stored = api.media_root / answer.json["content"].rpartition("/")[2]
    assert stored.read_bytes() == content
    fetched = await api.call("GET", f"/media/{stored.name}", token="")
    assert fetched.text.encode("utf-8", "surrogateescape") == content


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("noext", ""),
        (".png", ""),
        ("☃.pég", ".p%C3%A9g"),
        ("a.PNG", ".PNG"),
        ("a." + "e" * 17, ""),
        ("a.x y", ""),
        ("C:\\folder\\b.jpg", ".jpg"),
        ("a.png\\..\\..\\x", ""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_extension_is_kept_if_it_is_one(api: Api, name: str, extension: str) -> None:
    made = (await upload(api, form(b"x", name))).json
    assert re.fullmatch(r"\d{20}-[0-9a-f]{32}(.*)", made["content"].rpartition("/")[2])[1] == (  # type: ignore[index]
        extension
    )


def test_a_name_tells_the_time_and_is_never_the_same() -> None:
    now = datetime(2026, 11, 23, 4, 24, 11, 666432, tzinfo=timezone.utc)
    made = {new_name("a.png", now) for _ in range(100)}
    assert len(made) == 100
    assert {name[:21] for name in made} == {"20261123042411666432-"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (form(b""), "The submitted file is empty."),
        (form(b"x", ""), NOT_A_FILE),
        (form(b"x", "a" * 97 + ".png"), "Ensure this filename has at most 100 characters"),
        (form(b"x", part="other"), "No file was submitted."),
        (text_part("content", "x") + f"--{BOUNDARY}--".encode(), NOT_A_FILE),
        (text_part("content", "") + f"--{BOUNDARY}--".encode(), NOT_A_FILE),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_form_without_a_proper_file_is_refused_and_leaves_nothing(
    api: Api, body: bytes, told: str
) -> None:
    answer = await upload(api, body)
    assert (answer.status, list(answer.json)) == (400, ["content"])
    assert answer.json["content"][0].startswith(told)
    await emptied(api.media_root)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "No file was submitted."),
        ({"content": "x"}, NOT_A_FILE),
        ("", "No file was submitted."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_json_brings_no_file(api: Api, body: Any, told: str) -> None:
    answer = await api.post(PATH, body)
    assert (answer.status, answer.json) == (400, {"content": [told]})


@pytest_twisted.ensureDeferred
async def test_what_is_no_form_is_malformed_and_leaves_nothing(api: Api) -> None:
    whole = form(b"x" * 3 * BATCH_BYTES)
    many = b"".join(text_part(f"f{number}", "") for number in range(101))
    for body in (b"junk", whole[:-10], many, b"--BOUND\nx"):
        answer = await upload(api, body)
        assert (answer.status, list(answer.json)) == (400, ["detail"])
        assert answer.json["detail"].startswith("Multipart form parse error - ")
    await emptied(api.media_root)


@pytest_twisted.ensureDeferred
async def test_other_fields_are_ignored_and_of_two_files_the_last_counts(api: Api) -> None:
    first = form(b"first" * BATCH_BYTES).removesuffix(f"--{BOUNDARY}--\r\n".encode())
    answer = await upload(api, form(b"last", before=text_part("id", "500") + first))
    assert answer.json["id"] != 500
    (stored,) = api.media_root.iterdir()
    assert stored.read_bytes() == b"last"


@pytest_twisted.ensureDeferred
async def test_files_are_listed_by_id_with_urls_of_the_host_that_was_asked(api: Api) -> None:
    made = [(await upload(api, form(b"x"))).json for _ in range(3)]
    assert (await api.get(PATH)).json == {
        "count": 3,
        "next": None,
        "previous": None,
        "results": made,
    }
    first = (await api.get(f"{PATH}?limit=2")).json
    second = (await api.get(first["next"].removeprefix(api.base))).json
    assert first["results"] + second["results"] == made
    other = await asked(api, head(api, f"GET {PATH}{made[0]['id']}/", "Connection: close"))
    assert made[0]["content"].replace(api.base, "http://h").encode() in await other.rest()


@pytest_twisted.ensureDeferred
async def test_a_file_is_replaced_by_put_and_patch_and_the_old_one_stays(api: Api) -> None:
    made = (await upload(api, form(b"old"))).json
    path = f"{PATH}{made['id']}/"
    put = (await upload(api, form(b"new", "b.jpg"), path, "PUT")).json
    assert (await api.call("PATCH", path, {})).json == put
    patched = (await upload(api, form(b"newer", "c.jpg"), path, "PATCH")).json
    assert {made["id"]} == {put["id"], patched["id"]}
    assert (await api.get(path)).json == patched
    assert len({made["content"], put["content"], patched["content"]}) == 3
    for answer, content in ((made, "old"), (put, "new"), (patched, "newer")):
        assert (await api.get(answer["content"].removeprefix(api.base))).text == content
    assert (await api.call("PUT", path, {})).json == {"content": ["No file was submitted."]}


@pytest_twisted.ensureDeferred
async def test_a_row_that_is_missing_is_not_found_whatever_is_sent(api: Api) -> None:
    for path in (f"{PATH}1/", f"{PATH}x/", f"{PATH}1"):
        for method in ("PUT", "PATCH"):
            assert (await upload(api, form(b"x" * 2 * BATCH_BYTES), path, method)).status == 404
        assert (await api.call("DELETE", path)).status == 404
        assert (await api.call("PATCH", path, "{nope")).status == 404
    await emptied(api.media_root)


@pytest_twisted.ensureDeferred
async def test_deleting_a_file_deletes_the_messages_that_carry_it(
    api: Api, database_uri: str
) -> None:
    made = (await upload(api, form(b"x"))).json
    schedule = (await api.made("schedule"))["id"]
    messageset = await api.made("messageset", short_name="s", default_schedule=schedule)
    fields = {"messageset": messageset["id"], "lang": "eng"}
    await api.made("message", sequence_number=1, binary_content=made["id"], **fields)
    kept = await api.made("message", sequence_number=2, text_content="x", **fields)
    answer = await api.call("DELETE", f"{PATH}{made['id']}/")
    assert (answer.status, answer.text) == (204, "")
    messages = (await api.get("/api/v1/message/")).json["results"]
    assert [message["id"] for message in messages] == [kept["id"]]
    assert (await api.get(f"{PATH}{made['id']}/")).status == 404


@pytest_twisted.ensureDeferred
async def test_options_tells_of_the_file(api: Api) -> None:
    answer = await api.call("OPTIONS", PATH)
    assert answer.header("Allow") == "GET, POST, HEAD, OPTIONS"
    assert answer.json["actions"]["POST"]["content"] == {
        "type": "file upload",
        "required": True,
        "read_only": False,
        "label": "Content",
        "max_length": 100,
    }


@pytest_twisted.ensureDeferred
async def test_the_file_of_a_user_who_may_not_upload_is_not_kept(api: Api) -> None:
    await api.database.transact(users.create, username="reader", limited=True)
    reader = await api.database.transact(users.create_token, email="reader")
    for token in (SCHEDULER_TOKEN, reader):
        answer = await upload(api, form(b"x" * 3 * BATCH_BYTES), token=token)
        assert answer.status == 403
    await emptied(api.media_root)


# What is left when it fails


@pytest_twisted.ensureDeferred
async def test_nothing_is_kept_of_an_upload_by_nobody(api: Api) -> None:
    answer = await upload(api, form(b"x" * 10 * BATCH_BYTES), token="wrong")
    assert (answer.status, answer.json) == (401, {"detail": "Invalid token."})
    assert names(api.media_root) == []


@pytest_twisted.ensureDeferred
async def test_an_upload_by_nobody_is_answered_before_it_has_come(api: Api) -> None:
    start = head(
        api,
        f"POST {PATH}",
        f"Content-Type: {MULTIPART}",
        "Content-Length: 1000000",
        token="wrong",
    )
    conversation = await asked(api, start + form(b"x" * 2 * BATCH_BYTES)[:-20])
    assert await conversation.answer() == (401, {"detail": "Invalid token."})
    assert names(api.media_root) == []


@pytest_twisted.ensureDeferred
async def test_a_file_may_be_as_large_as_the_limit_and_no_larger(
    database_uri: str, tmp_path: Path
) -> None:
    limit = 2 * BATCH_BYTES
    async with served(database_uri, tmp_path, max_upload_bytes=limit) as api:
        assert (await upload(api, form(b"x" * limit))).status == 201
        for extra in (1, 2**21):  # beyond the limit of the file, and of the body
            answer = await upload(api, form(b"x" * (limit + extra)))
            assert (answer.status, list(answer.json)) == (413, ["detail"])
        chunk = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
        start = head(
            api, f"POST {PATH}", f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked"
        )
        opening = form(b"").removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
        said = start + b"%x\r\n%s\r\n" % (len(opening), opening) + 3 * chunk
        status, _ = await (await asked(api, said)).answer()
        assert status == 413
        await comes_true(lambda: len(names(tmp_path)) == 1)


@pytest_twisted.ensureDeferred
async def test_texts_beside_the_file_have_their_own_limit(api: Api) -> None:
    answer = await upload(api, form(b"x", before=text_part("a", "y" * (2**20 + 1))))
    assert answer.status == 413
    assert names(api.media_root) == []


@pytest_twisted.ensureDeferred
async def test_a_client_that_hangs_up_leaves_nothing(api: Api) -> None:
    body = form(b"x" * 8 * BATCH_BYTES)
    start = head(api, f"POST {PATH}", f"Content-Type: {MULTIPART}", f"Content-Length: {len(body)}")
    conversation = await asked(api, start + body[:-100])
    await comes_true(lambda: bool(names(api.media_root)))  # it has begun to arrive
    conversation.hang_up()
    await emptied(api.media_root)


@pytest_twisted.ensureDeferred
async def test_a_client_that_hangs_up_while_its_file_is_recorded_leaves_both_or_neither(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Deferred[None] = Deferred()
    go_on: Deferred[None] = Deferred()
    create = binary_contents.create
    made: list[str] = []

    async def slow(transaction: Transaction, *, content: str) -> BinaryContent:
        begun.callback(None)
        await go_on
        made.append("made")
        return await create(transaction, content=content)

    monkeypatch.setattr(binary_contents, "create", slow)
    body = form(b"x")
    start = head(api, f"POST {PATH}", f"Content-Type: {MULTIPART}", f"Content-Length: {len(body)}")
    conversation = await asked(api, start + body)
    await begun
    conversation.hang_up()
    await conversation.rest()
    for _ in range(10):  # until it is noticed
        await deferLater(reactor, 0)
    go_on.callback(None)
    await comes_true(lambda: made == ["made"])
    for _ in range(100):  # the commit is on its way
        found = (await api.get(PATH)).json["results"]
        if found:
            break
    assert len(found) == 1
    assert [one["content"].rpartition("/")[2] for one in found] == names(api.media_root)


@pytest_twisted.ensureDeferred
async def test_a_transaction_that_fails_leaves_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_args: Any, **_options: Any) -> None:
        assert len(names(api.media_root)) == 1  # it has its name before its row
        raise ValueError("no")

    monkeypatch.setattr(binary_contents, "create", fail)
    assert (await upload(api, form(b"x"))).status == 500
    assert names(api.media_root) == []


@pytest_twisted.ensureDeferred
async def test_a_file_whose_row_may_be_there_stays(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_args: Any, **_options: Any) -> None:
        raise CommitUnknown("gone")

    monkeypatch.setattr(binary_contents, "create", lose)
    assert (await upload(api, form(b"x"))).status == 503
    assert len(names(api.media_root)) == 1


@pytest_twisted.ensureDeferred
async def test_a_folder_that_takes_nothing_is_told(api: Api) -> None:
    api.media_root.rmdir()
    answer = await upload(api, form(b"x" * 3 * BATCH_BYTES))
    assert (answer.status, list(answer.json)) == (503, ["detail"])
    assert (await api.get(PATH)).json["count"] == 0
    api.media_root.mkdir()


@pytest_twisted.ensureDeferred
async def test_without_a_folder_nothing_can_be_stored_but_all_be_read(
    database_uri: str,
) -> None:
    async with served(database_uri, None) as api:  # type: ignore[arg-type]
        answer = await upload(api, form(b"x"))
        assert (answer.status, list(answer.json)) == (503, ["detail"])
        assert (await api.get(PATH)).status == 200
        assert (await api.get("/media/a.png")).status == 404


@pytest_twisted.ensureDeferred
async def test_only_the_temporary_files_of_a_crash_are_deleted(tmp_path: Path) -> None:
    for name in (".upload-left", ".upload-folder/x", "a.png", ".other"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    writing = TemporaryFile(reactor=reactor, folder=tmp_path)
    writing.write(b"x")
    await writing.settle()
    delete_abandoned(tmp_path)
    (living,) = set(names(tmp_path)) - {".upload-folder", "a.png", ".other"}
    assert living != ".upload-left"
    writing.discard()
    await comes_true(lambda: living not in names(tmp_path))


@pytest_twisted.ensureDeferred
async def test_the_temporary_files_of_a_crash_are_deleted_at_the_start(
    database_uri: str, tmp_path: Path
) -> None:
    (tmp_path / ".upload-left").write_bytes(b"x")
    async with served(database_uri, tmp_path):
        await emptied(tmp_path)


@pytest_twisted.ensureDeferred
async def test_the_client_is_not_read_while_the_disk_is_behind(tmp_path: Path) -> None:
    told: list[str] = []
    file = TemporaryFile(reactor=reactor, folder=tmp_path)
    file.hold = lambda: told.append("hold")
    file.release = lambda: told.append("release")
    for _ in range(6):  # the first batch is on its way, the others wait
        file.write(b"x" * BATCH_BYTES)
    assert told == ["hold"] * told.count("hold")
    assert told
    await file.settle()
    assert told[-1] == "release"
    file.discard()
    await emptied(tmp_path)
