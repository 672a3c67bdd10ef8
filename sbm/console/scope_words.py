"""What a pause of sends concerns, in words."""

from __future__ import annotations

from sbm.console.texts import Gettext
from sbm.model.send_pause import PauseScope


def concerned(_: Gettext, scope: PauseScope, *, short_name: str | None = None) -> str:
    """What a pause concerns; ``short_name`` is that of its message set, if it is known."""
    parts = []
    if scope.messageset_id is not None:
        name = short_name or str(scope.messageset_id)
        parts.append(_("the message set “%(name)s”") % {"name": name})
    if scope.schedule_id is not None:
        parts.append(_("the schedule %(number)s") % {"number": scope.schedule_id})
    if scope.lane == "single":
        parts.append(_("messages to single people"))
    elif scope.lane == "tick":
        parts.append(_("messages of ticks"))
    if scope.tick_id is not None:
        parts.append(_("tick %(id)s") % {"id": scope.tick_id})
    return ", ".join(parts) or _("all messages of the programme")
