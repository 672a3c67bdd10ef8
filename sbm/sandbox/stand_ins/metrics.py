"""A stand-in of the Metrics API, which shows the values that it was sent."""

from __future__ import annotations

from attrs import define, field, frozen
from twisted.web.resource import Resource
from twisted.web.server import Request

from sbm.sandbox.stand_ins.rest import Refused, Response, json_object, new_app, route


@define(eq=False, kw_only=True)
class Metrics:
    """The sum of every metric whose name ends in ``.sum``, the last value of every other."""

    values: dict[str, float] = field(init=False, factory=dict)

    def fire(self, name: str, value: float) -> None:
        """Add one value."""
        before = self.values.get(name, 0.0) if name.endswith(".sum") else 0.0
        self.values[name] = before + value


@frozen(eq=False, kw_only=True)
class MetricsApp:
    """The Metrics API over HTTP; it accepts Bearer, Basic and Token authorization."""

    metrics: Metrics

    app = new_app()

    def resource(self) -> Resource:
        """The resource for a site; it can be mounted at any path."""
        return self.app.resource()

    @route(app, "POST", "/metrics/")
    def fire(self, request: Request) -> Response:
        """Add ``{"<name>": <float>, …}``; if a value is wrong, nothing is added (400)."""
        fired = json_object(request)
        wrong = [n for n, v in fired.items() if isinstance(v, bool) or not _is_number(v)]
        if wrong:
            raise Refused(400, {name: ["A valid number is required."] for name in wrong})
        for name, value in fired.items():
            self.metrics.fire(name, float(value))
        return Response(status=201, body=fired)

    @route(app, "GET", "/metrics/")
    def read(self, _request: Request) -> Response:
        """Every metric with its value, by name."""
        return Response(body=dict(sorted(self.metrics.values.items())))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))
