"""The OpenAPI description of the whole API: the sections of the resources, in this order."""

from __future__ import annotations

from functools import cache

from sbm.web.openapi import shared
from sbm.web.openapi.document import document
from sbm.web.openapi.published import StaticDocument, docs_page, openapi_json
from sbm.web.resources import (
    audit,
    background,
    behind_subscriptions,
    binary_contents,
    deliveries,
    exposition,
    failed_tasks,
    health,
    identities,
    intake,
    languages,
    ledger,
    media,
    message_versions,
    messages,
    messagesets,
    metrics,
    pauses,
    people,
    probes,
    root,
    schedules,
    silent_subscriptions,
    simulations,
    subscriptions,
    tasks,
    ticks,
    tokens,
    triggers,
    users,
)
from sbm.web.schema.json_schema import JsonSchema

SECTIONS = (
    schedules.SECTION,
    messagesets.SECTION,
    languages.SECTION,
    messages.SECTION,
    binary_contents.SECTION,
    media.SECTION,
    subscriptions.SECTION,
    triggers.SECTION,
    intake.SECTION,
    behind_subscriptions.SECTION,
    silent_subscriptions.SECTION,
    simulations.SECTION,
    background.ESTIMATES,
    ticks.SECTION,
    pauses.SECTION,
    failed_tasks.SECTION,
    people.SECTION,
    ledger.SECTION,
    message_versions.SECTION,
    deliveries.SECTION,
    tasks.SECTION,
    shared.SECTION,
    users.SECTION,
    tokens.SECTION,
    audit.SECTION,
    identities.SECTION,
    root.COLLECTIONS,
    metrics.SECTION,
    background.AUDIO,
    health.SECTION,
    probes.SECTION,
    exposition.SECTION,
    root.DESCRIPTION,
)


def describe(version: str) -> JsonSchema:
    """The description of the API of this version of sbm: OpenAPI 3.1, ready to be JSON."""
    return document(version, SECTIONS)


def paths() -> list[str]:
    """The paths of the API, as the description has them."""
    return [path.path for section in SECTIONS for path in section.paths]


@cache
def description(version: str) -> StaticDocument:
    """``/api/v1/openapi.json``."""
    return openapi_json(describe(version))


@cache
def docs(version: str) -> StaticDocument:
    """``/docs/``."""
    return docs_page(describe(version))
