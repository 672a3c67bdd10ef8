"""The users of the API, and their permissions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from attrs import frozen

CONTENT_EDIT = "content.edit"
CONTENT_PUBLISH = "content.publish"
PEOPLE_READ = "people.read"
PEOPLE_ACT = "people.act"
OPERATE = "operate"
ADMINISTER = "administer"
VIEW_BEHIND_SUBSCRIPTIONS = "view_behindsubscription"
FIND_BEHIND_SUBSCRIPTIONS = "can_find_behind_subscriptions"

# All permissions, and what each allows. The manual, the commands and the description of the API are
# made from this table.
PERMISSIONS: Mapping[str, str] = {
    CONTENT_EDIT: "Make, change and delete schedules, message sets, messages and files.",
    CONTENT_PUBLISH: "Besides content.edit: change what people who are under way get.",
    PEOPLE_READ: "Read subscriptions, the ledger, intake, failed tasks, and who is behind or"
    " silent; simulate ticks.",
    PEOPLE_ACT: "Make, change and delete subscriptions.",
    OPERATE: "Start, stop, repeat and repair sending, and read tasks.",
    ADMINISTER: "Make and change users and tokens, read the audit and undo changes, export and"
    " forget people; an administrator holds all permissions.",
    VIEW_BEHIND_SUBSCRIPTIONS: "Read the subscriptions that are behind.",
    FIND_BEHIND_SUBSCRIPTIONS: "Search for the subscriptions that are behind.",
}

# What a user holds who is not limited. All other permissions have to be granted.
USUAL = frozenset({CONTENT_EDIT, CONTENT_PUBLISH, PEOPLE_READ, PEOPLE_ACT, OPERATE})

# Those that are granted one by one. To grant the other one is to make an administrator.
STORED_PERMISSIONS = tuple(name for name in PERMISSIONS if name != ADMINISTER)

# The longest names and e-mail addresses of users, and names of tokens, in characters.
MAX_USERNAME = 150
MAX_EMAIL = 254
MAX_TOKEN_NAME = 100

# How many live tokens a user may have, and for how long one must be unused to make room for a new
# one.
MAX_TOKENS = 100
UNUSED = timedelta(days=30)


@frozen(kw_only=True)
class User:
    """A user, known by a token or a password; the id is None if there is no row for the user.

    A user who ``is_limited`` holds only what was granted; all others hold the USUAL permissions,
    too.
    """

    id: int | None
    username: str
    is_admin: bool = False
    is_active: bool = True
    is_limited: bool = False
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """Whether the user holds this permission; administrators hold all."""
        if self.is_admin or permission in self.permissions:
            return True
        return not self.is_limited and permission in USUAL


# The Scheduler, which is known by the token that we gave it.
SCHEDULER = User(id=None, username="scheduler", is_limited=True, permissions=frozenset({OPERATE}))

# The user of a request that needs no authentication.
NOBODY = User(id=None, username="", is_limited=True)
