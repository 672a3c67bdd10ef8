"""``/api/v1/message-versions``: the contents that messages have had, so the texts as sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sbm.model.instants import instant
from sbm.model.ledger_entry import MessageVersion
from sbm.store import ledger
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.needs import FOR_EVERY_USER
from sbm.web.openapi.parts import Section
from sbm.web.openapi.schemas import nullable, one_object, said
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import MOMENT, ROW_ID, TEXT

_ROW = one_object(
    {
        "id": said(ROW_ID, "Newer versions have higher numbers."),
        "message": said(ROW_ID, "The message, which may be deleted."),
        "messageset": said(ROW_ID, "Its message set."),
        "sequence_number": said({"type": "integer"}, "Its number."),
        "lang": said(TEXT, "Its language."),
        "text_content": said(nullable(TEXT), "The text."),
        "file": said(nullable(TEXT), "The name of the file."),
        "metadata": said({}, "The metadata."),
        "made_at": said(MOMENT, "Since when the message had this content."),
        "made_by": said(nullable(TEXT), "The user or operator, if one is known."),
        "replaced_at": said(nullable(MOMENT), "Until when; null: it is the last one."),
    }
)


def shown(_request: ApiRequest, version: MessageVersion) -> Mapping[str, Any]:
    """A version as clients see it."""
    return {
        "id": version.id,
        "message": version.message_id,
        "messageset": version.messageset_id,
        "sequence_number": version.sequence_number,
        "lang": version.lang,
        "text_content": version.text_content,
        "file": version.file_name,
        "metadata": version.metadata,
        "made_at": instant(version.made_at),
        "made_by": version.made_by,
        "replaced_at": version.replaced_at and instant(version.replaced_at),
    }


RESOURCE = Resource[MessageVersion](
    path="/api/v1/message-versions/",
    title="Message Version",
    description="The contents that messages have had.",
    methods=("GET",),
    needs=FOR_EVERY_USER,
    shown=shown,
    filters=[
        Filter(
            name="message",
            parameter="message_id",
            read=filters.integer,
            note="Versions of this message.",
        ),
        Filter(
            name="messageset",
            parameter="messageset_id",
            read=filters.integer,
            note="Versions of the messages of this set.",
        ),
        Filter(name="lang", read=filters.text, note="Versions in this language."),
        Filter(name="sequence_number", read=filters.integer, note="Versions with this number."),
    ],
    key="version_id",
    list_page=ledger.list_versions,
    find=ledger.find_version,
    sentences=Sentences(
        tag="Messages",
        name="message_version",
        one="a version of a message",
        many="the versions of messages",
        schema_name="MessageVersion",
        row_schema=_ROW,
        key="The version.",
        answer="The version.",
        notes={"LIST": "The newest come first. Versions stay when their message is deleted."},
    ),
)


@frozen(eq=False, kw_only=True)
class MessageVersions(Collection):
    """The versions of messages."""

    app = collection_app()
    resource = RESOURCE


SECTION = Section(paths=RESOURCE.paths(), schemas=RESOURCE.schemas())
