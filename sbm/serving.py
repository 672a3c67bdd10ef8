"""The part of the daemon that answers requests: the API and the console."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version

from twisted.application.service import IService

from sbm.clients.identity_store import IdentityStore
from sbm.clients.service_client import ServiceClient
from sbm.console import console
from sbm.console.console import Console
from sbm.model.durations import RequestTimeout
from sbm.model.role import Role
from sbm.model.timeline import PlanClock
from sbm.operations.undoing import UndoRules
from sbm.runtime.token_uses import TokenUses
from sbm.sending import SharedParts
from sbm.store.postgres.database import Database
from sbm.web import api
from sbm.web.http.origin import Proxies
from sbm.web.http.passwords import Passwords
from sbm.web.http.request import BoundedSite
from sbm.web.resources import probes

# Somebody waits for the page of a person.
PERSON_TIMEOUT = RequestTimeout(timedelta(seconds=5))


def probes_alone(shared: SharedParts) -> BoundedSite:
    """What a daemon without the API answers."""
    return probes.build(
        database=shared.database, telemetry=shared.telemetry, version=version("sbm")
    )


def asking_for_people(shared: SharedParts) -> ServiceClient:
    """The client with which the console finds people: it shares no connections with the sends."""
    config = shared.config
    return ServiceClient(
        reactor=shared.reactor,
        address=config.identity_store,
        timeout=min(config.request_timeout, PERSON_TIMEOUT),
        connections=2,
        refused=shared.refused("Identity Store"),
    )


def _console(
    shared: SharedParts, database: Database, passwords: Passwords, people: ServiceClient
) -> Console:
    """The pages for people, on the connections of the API."""
    config = shared.config
    return console.build(
        database=database,
        passwords=passwords,
        proxies=Proxies(config.trusted_proxies),
        telemetry=shared.telemetry,
        timezone=config.timezone,
        version=version("sbm"),
        media_url=config.media_url,
        by=config.expectations,
        zones=config.time_zones,
        simulation=config.simulation,
        wakeups=shared.wakeups,
        undo_rules=UndoRules(
            max_text_length=config.simulation.rules.max_text_length,
            ticking_zone=config.scheduling.ticking_zone,
        ),
        max_tokens=config.max_tokens,
        clock=PlanClock(mode=config.scheduling.mode, zones=config.time_zones),
        limits=config.content_limits,
        can_store=config.media_root is not None,
        identity_store=IdentityStore(client=people),
        signs=lambda: shared.wakeups.calls + shared.telemetry.counts.total(),
    )


def site(
    shared: SharedParts,
    database: Database,
    prompt: Database,
    role: Role,
    token_uses: TokenUses,
    people: ServiceClient,
) -> tuple[BoundedSite, Sequence[IService]]:
    """The API and the console, on connections of their own; and what stops with the requests.

    ``people`` asks the Identity Store.
    """
    config = shared.config
    passwords = Passwords(database=database, reactor=shared.reactor)
    pages = _console(shared, database, passwords, people)
    made = api.build(
        passwords=passwords,
        console=pages.resource(),
        upload_places=pages.upload_places,
        database=database,
        scheduling=config.scheduling,
        version=version("sbm"),
        role=role,
        wakeups=shared.wakeups,
        media_root=config.media_root,
        max_upload_bytes=config.max_upload_bytes,
        duplicate_window=config.duplicate_window,
        trusted_proxies=config.trusted_proxies,
        telemetry=shared.telemetry,
        timezone=config.timezone,
        simulation=config.simulation,
        content_limits=config.content_limits,
        max_tokens=config.max_tokens,
        token_uses=token_uses,
        prompt=prompt,
    )
    return made, [pages.live]
