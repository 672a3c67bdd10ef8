"""``/api/v1/binarycontent``: files for messages to carry, and their uploading.

A file keeps its name and its bytes for good: another file gets another name. Those that no row
refers to any more stay in the folder, because messages that were sent name them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from sbm.model.content import BinaryContent
from sbm.model.content_rules import Content, Problem, new_problems
from sbm.operations.media_files import new_name
from sbm.runtime.threads import shielded
from sbm.store import binary_contents, messages
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.errors import CommitUnknown
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import Invalid, NotFound, NotStored
from sbm.web.http.uploads import StoredFile
from sbm.web.http.wire import row_id
from sbm.web.schema.fields import Field, FieldError, ReadOnly
from sbm.web.schema.pages import Listing
from sbm.web.schema.schema import ParsedBody, Schema

# Where files are uploaded to, and the part of the form that has the file.
PATH = re.compile(r"/api/v1/binarycontent(/[^/]*)?/?")
PART = "content"

# How many messages are named that a file does not suit.
_NAMED = 3

_NO_FILE = "The submitted data was not a file. Check the encoding type on the form."


@frozen(kw_only=True)
class FileField(Field):
    """A file in a multipart form."""

    kind: ClassVar[str] = "file upload"
    missing: ClassVar[str] = "No file was submitted."

    max_length: int

    def parse(self, given: Any) -> StoredFile:
        if not isinstance(given, StoredFile):
            raise FieldError(_NO_FILE)
        if not given.name:
            raise FieldError("No filename could be determined.")
        if not given.size:
            raise FieldError("The submitted file is empty.")
        if len(given.name) > self.max_length:
            raise FieldError(
                f"Ensure this filename has at most {self.max_length} characters"
                f" (it has {len(given.name)})."
            )
        return given

    def limits(self) -> dict[str, Any]:
        return {"max_length": self.max_length}


SHAPE = Schema([ReadOnly(name="id", shown_as="integer"), FileField(name=PART, max_length=100)])

_DESCRIPTION = "API endpoint that allows BinaryContent models to be viewed or edited."
_LIST = OptionsInfo(
    name="Binary Content List", description=_DESCRIPTION, actions={"POST": SHAPE.description()}
)
_INSTANCE = OptionsInfo(
    name="Binary Content Instance", description=_DESCRIPTION, actions={"PUT": SHAPE.description()}
)


@frozen(eq=False)
class BinaryContents:
    """The files of messages; without a folder for them, none ``can_store``."""

    app = new_app()

    _front: Endpoint
    _can_store: bool
    _max_text_length: int

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._create}
        return await self._front.answer(request, _LIST, methods)

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        change = partial(self._change, number)
        methods = {
            "GET": partial(self._read, number),
            "PUT": change,
            "PATCH": change,
            "DELETE": partial(self._delete, number),
        }
        return await self._front.answer(request, _INSTANCE, methods)

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _create(self, exchange: ApiRequest) -> Reply:
        reading = await self._reading(exchange)
        made = await self._store(reading.values[PART], binary_contents.create)
        return Reply(status=201, body=shown(exchange, made))

    async def _read(self, number: str, exchange: ApiRequest) -> Reply:
        return Reply(body=shown(exchange, await self._found(row_id(number))))

    async def _change(self, number: str, exchange: ApiRequest) -> Reply:
        found = await self._found(row_id(number))
        reading = await self._reading(exchange)
        if PART in reading.values:
            replace = partial(_replace, file=found, limit=self._max_text_length)
            found = await self._store(reading.values[PART], replace)
        return Reply(body=shown(exchange, found))

    async def _delete(self, number: str, _exchange: ApiRequest) -> Reply:
        deleted = await self._front.database.transact(
            binary_contents.delete, file_id=row_id(number)
        )
        if not deleted:
            raise NotFound
        return Reply(status=204)

    async def _found(self, file_id: int) -> BinaryContent:
        found = await self._front.database.transact(binary_contents.find, ids=[file_id])
        if file_id not in found:
            raise NotFound
        return found[file_id]

    async def _reading(self, exchange: ApiRequest) -> ParsedBody:
        if not self._can_store:
            raise NotStored("Files cannot be stored here: no folder is set for them.")
        reading = SHAPE.read(await exchange.body_with_file(), method=exchange.method)
        reading.check()
        return reading

    async def _store(
        self, file: StoredFile, record: Callable[..., Awaitable[BinaryContent]]
    ) -> BinaryContent:
        """Give the file a name and record it; to the end, even if the client hangs up now."""
        name = new_name(file.name, datetime.now(timezone.utc))
        return await shielded(Deferred.fromCoroutine(self._publish(file, name, record)))

    async def _publish(
        self, file: StoredFile, name: str, record: Callable[..., Awaitable[BinaryContent]]
    ) -> BinaryContent:
        await file.temporary.publish(name)
        try:
            return await self._front.database.transact(record, content=name)
        except CommitUnknown:
            raise  # the row may be there, and then its file has to be
        except Exception:
            await file.temporary.unpublish(name)
            raise


def shown(exchange: ApiRequest, file: BinaryContent) -> dict[str, Any]:
    """A file as clients see it."""
    return {"id": file.id, "content": exchange.url(f"/media/{quote(file.content)}")}


_LISTING = Listing(name="binarycontent", list_page=binary_contents.list_page, shown=shown)


async def _replace(
    transaction: Transaction, *, file: BinaryContent, limit: int, content: str
) -> BinaryContent:
    """Have another file in its place; raises Invalid if messages could not be sent with that."""

    def problems(found: Content) -> list[Problem]:
        before = evolve(found, file_name=file.content)
        return new_problems(before, evolve(found, file_name=content), limit=limit)

    changed = await binary_contents.replace(transaction, file_id=file.id, content=content)
    if changed is None:
        raise NotFound
    offenders = await messages.find_offenders_of_file(
        transaction, file_id=file.id, problems=problems, most=_NAMED
    )
    if offenders:
        raise Invalid({PART: [one.told(problem) for one, problem in offenders]})
    return changed
