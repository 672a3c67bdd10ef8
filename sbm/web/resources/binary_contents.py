"""``/api/v1/binarycontent``: files for messages, and their upload.

The name and the content of a file never change: another file gets another name. A file stays in the
folder even if no row refers to it any more, because messages that were sent link to it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from attrs import frozen

from sbm.model.content import BinaryContent
from sbm.model.user import CONTENT_EDIT
from sbm.operations.content import delete_file, replace_file
from sbm.operations.media_files import new_name
from sbm.operations.refusals import WrongValues
from sbm.store import binary_contents
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.authors import by_author
from sbm.web.http.bodies import MULTIPART
from sbm.web.http.endpoint import Method
from sbm.web.http.http_errors import NotFound, NotStored
from sbm.web.http.needs import writing
from sbm.web.http.reply import Reply
from sbm.web.http.uploads import StoredFile, publish_with
from sbm.web.http.wire import row_id
from sbm.web.openapi.parts import Section
from sbm.web.openapi.schemas import shown_of, taken_by
from sbm.web.schema.fields import ID, Field, FieldError, ReadOnly
from sbm.web.schema.json_schema import TEXT, URL, JsonSchema
from sbm.web.schema.schema import ParsedBody, Schema

# The path for uploads, and the part of the form that has the file.
PATH = re.compile(r"/api/v1/binarycontent(/[^/]*)?/?")
PART = "content"

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

    def show(self, value: Any, request: ApiRequest) -> str:
        return request.url(f"/media/{quote(value)}")

    def limits(self) -> dict[str, Any]:
        return {"max_length": self.max_length}


@taken_by.register
def _(field: FileField) -> JsonSchema:  # noqa: ARG001
    return TEXT | {"format": "binary", "contentMediaType": "application/octet-stream"}


@shown_of.register
def _(field: FileField) -> JsonSchema:  # noqa: ARG001
    return URL


SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        FileField(
            name=PART,
            max_length=100,
            note="The file; shown as the URL of the file.",
        ),
    ]
)


async def _find(transaction: Transaction, *, file_id: int) -> BinaryContent | None:
    return (await binary_contents.find(transaction, ids=[file_id])).get(file_id)


RESOURCE = Resource[BinaryContent](
    path="/api/v1/binarycontent/",
    title="Binary Content",
    description="API endpoint that allows BinaryContent models to be viewed or edited.",
    needs=writing(CONTENT_EDIT, publishes=True),
    is_under_way=binary_contents.is_under_way,
    schema=SCHEMA,
    key="file_id",
    list_page=binary_contents.list_page,
    find=_find,
    delete=delete_file,
    sentences=Sentences(
        tag="Files",
        name="binarycontent",
        one="a file",
        many="files",
        schema_name="BinaryContent",
        key="The file.",
        media_types=(MULTIPART,),
        notes={
            "POST": "The file is stored under a name that cannot be guessed: the time, 128 random"
            " bits, and the extension of the uploaded name. The uploaded name has at most 100"
            " characters.",
            "PUT": "The new file gets a new name.",
            "DELETE": "The messages that use the file are deleted, too. The file itself stays at"
            " its URL, because messages that were sent link to it.",
        },
    ),
)


@frozen(eq=False, kw_only=True)
class BinaryContents(Collection):
    """The files of messages; if no folder is set for them, files cannot be stored."""

    app = collection_app()
    resource = RESOURCE

    can_store: bool

    def list_methods(self) -> dict[str, Method]:
        """The methods of the list. An upload is no work for a transaction: it may take minutes."""
        return super().list_methods() | {"POST": self._upload}

    def row_methods(self, key: str) -> dict[str, Method]:
        """The methods of one row."""
        replace = partial(self._replace, key)
        return super().row_methods(key) | {"PUT": replace, "PATCH": replace}

    async def _upload(self, request: ApiRequest) -> Reply:
        """Store a file, and make its row."""
        parsed = await self._parsed(request)
        made = await self._store(request, parsed.values[PART], binary_contents.create)
        return Reply(status=201, body=RESOURCE.shown(request, made))

    async def _replace(self, key: str, request: ApiRequest) -> Reply:
        """Store another file, and replace the row's file by it."""
        file = await self.endpoint.database.transact(self._find, key, request)
        if file is None:
            raise NotFound
        found = file
        parsed = await self._parsed(request)
        if PART in parsed.values:

            async def replace(transaction: Transaction, *, content: str) -> BinaryContent:
                await self.check_publishing(transaction, request, file.id)
                return await replace_file(
                    transaction, file=file, content=content, max_text_length=self.limits.text_length
                )

            try:
                found = await self._store(request, parsed.values[PART], replace)
            except WrongValues as refusal:
                raise SCHEMA.told(refusal) from None
        return Reply(body=RESOURCE.shown(request, found))

    async def _find(
        self, transaction: Transaction, key: str, request: ApiRequest
    ) -> BinaryContent | None:
        file_id = row_id(key)
        await self.check_publishing(transaction, request, file_id)
        return await _find(transaction, file_id=file_id)

    async def _parsed(self, request: ApiRequest) -> ParsedBody:
        if not self.can_store:
            raise NotStored("Files cannot be stored here: no folder is set for them.")
        parsed = SCHEMA.read(await request.body_with_file(), method=request.method)
        parsed.check()
        return parsed

    async def _store(
        self,
        request: ApiRequest,
        file: StoredFile,
        record: Callable[..., Awaitable[BinaryContent]],
    ) -> BinaryContent:
        """Give the file a name and record it; goes on even if the client closes the connection."""
        name = new_name(file.name, datetime.now(timezone.utc))
        recorded = partial(by_author, author=request.author(), work=record, content=name)
        return await publish_with(file, name, partial(self.endpoint.database.transact, recorded))


SECTION = Section(
    tags=[("Files", "Images and sound for messages.")],
    paths=RESOURCE.paths(),
    schemas=RESOURCE.schemas(),
)
