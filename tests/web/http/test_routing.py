"""Routes of the API."""

from __future__ import annotations

import pytest

from sbm.web.http.endpoint import new_app
from sbm.web.http.http_errors import NoSuchPath
from sbm.web.http.routing import RoutedResource


def test_what_clients_ask_for_makes_the_remembered_routes_no_more() -> None:
    """A path may begin with any number of slashes, and have any variable."""
    app = new_app()
    app.route("/livez")(lambda _: b"")
    app.route("/rows/<key>")(lambda _, key: bytes(key))
    resource = RoutedResource(app)
    for number in range(1, 40):
        resource._route("/" * number + "livez")
        assert resource._route(f"/rows/{number}")[1] == {"key": str(number)}
        with pytest.raises(NoSuchPath):
            resource._route(f"/nowhere/{number}")
    assert list(resource._literal) == ["/livez"]
