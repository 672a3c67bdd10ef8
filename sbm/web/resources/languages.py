"""``/api/v1/messageset_languages``: in which languages each message set can be had."""

from __future__ import annotations

from attrs import frozen
from twisted.web.server import Request

from sbm.store import messagesets
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app

_ABOUT = OptionsInfo(
    name="Messageset Languages", description="The languages of the messages of each message set."
)


@frozen(eq=False)
class Languages:
    """The languages of all message sets."""

    app = new_app()

    _front: Endpoint

    @app.route("/")
    async def languages(self, request: Request) -> bytes:
        return await self._front.answer(request, _ABOUT, {"GET": self._read})

    async def _read(self, _exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(messagesets.list_languages)
        return Reply(body={str(messageset_id): langs for messageset_id, langs in found.items()})
