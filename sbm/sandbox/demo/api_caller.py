"""Calls to an HTTP API with JSON and a token, as the Hub of a project makes them."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

# Short, because only this machine is called.
PATIENCE_SECONDS = 10.0


class ApiError(Exception):
    """An answer that is not a success; the message has the request and the answer."""


@frozen(eq=False, kw_only=True)
class Caller:
    """Calls to the API at ``url``, which ends in ``/api/v1``; ``treq`` is treq's client or a stub.

    Each call returns the JSON of the answer. It raises ``ApiError``, or an error of treq.
    """

    url: str
    token: str = field(repr=False)
    treq: Any

    async def get(self, path: str, **query: str) -> Any:
        """GET a path below the URL."""
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: Any, *, key: str = "") -> Any:
        """POST JSON to a path below the URL; with a key, the call can be repeated safely."""
        return await self._call("POST", path, key, json=body)

    async def _call(self, method: str, path: str, key: str = "", **said: Any) -> Any:
        headers = {"Authorization": f"Token {self.token}"}
        if key:
            headers["Idempotency-Key"] = f'"{key}"'
        url = f"{self.url}/{path}"
        response = await self.treq.request(
            method, url, headers=headers, timeout=PATIENCE_SECONDS, **said
        )
        if not 200 <= response.code < 300:
            answer = await response.text()
            raise ApiError(f"{method} {url} answered {response.code}: {answer}")
        return await response.json()
