"""``/api/v1/messageset_languages``: in which languages each message set can be had."""

from __future__ import annotations

from attrs import frozen
from twisted.web.server import Request

from sbm.store import messagesets
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.schema.json_schema import TEXT

_OPTIONS = OptionsInfo(
    name="Messageset Languages", description="The languages of the messages of each message set."
)


@frozen(eq=False, kw_only=True)
class Languages:
    """The languages of all message sets."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def languages(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, _OPTIONS, {"GET": self._read})

    async def _read(self, _request: ApiRequest) -> Reply:
        found = await self.endpoint.database.transact(messagesets.list_languages)
        return Reply(body={str(messageset_id): langs for messageset_id, langs in found.items()})


SECTION = Section(
    paths=[
        PathItem(
            path="/api/v1/messageset_languages/",
            tag="Message sets",
            operations={
                "GET": Operation(
                    name="read_messageset_languages",
                    summary="Read in which languages each message set can be had",
                    answers={
                        200: answer_of(
                            {
                                "type": "object",
                                "additionalProperties": {"type": "array", "items": TEXT},
                            },
                            "The languages, sorted, by the id of the set.",
                        )
                    },
                )
            },
        )
    ]
)
