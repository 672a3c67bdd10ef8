"""Tells twistd of `twistd sbm`."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

sbm = ServiceMaker(
    "sbm",
    "sbm.tap",
    "The Seed Stage-Based Messaging store: its API and its deliveries.",
    "sbm",
)
