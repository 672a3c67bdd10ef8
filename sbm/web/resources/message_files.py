"""Messages with their files, for the answers with one message and with a whole set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from sbm.model.content import BinaryContent, ListedMessage
from sbm.model.instants import instant
from sbm.store import binary_contents
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest

Files = Mapping[int, BinaryContent]


async def files_of(transaction: Transaction, found: Sequence[ListedMessage]) -> Files:
    """The files of these messages, by id."""
    ids = {one.binary_content_id for one in found if one.binary_content_id is not None}
    return await binary_contents.find(transaction, ids=ids)


def shown_with_file(request: ApiRequest, message: ListedMessage, files: Files) -> dict[str, Any]:
    """A message with its file, as clients see it."""
    file = files.get(message.binary_content_id) if message.binary_content_id else None
    return {
        "id": message.id,
        "messageset": message.messageset_id,
        "sequence_number": message.sequence_number,
        "lang": message.lang,
        "text_content": message.text_content,
        "binary_content": file
        and {"id": file.id, "content": request.url(f"/media/{quote(file.content)}")},
        "created_at": instant(message.created_at),
        "updated_at": instant(message.updated_at),
    }
