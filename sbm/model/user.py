"""The users of the API, and their permissions."""

from __future__ import annotations

from attrs import frozen

VIEW_BEHIND_SUBSCRIPTIONS = "view_behindsubscription"
FIND_BEHIND_SUBSCRIPTIONS = "can_find_behind_subscriptions"

# The permissions that can be granted. All other actions are allowed to every user.
PERMISSIONS = (VIEW_BEHIND_SUBSCRIPTIONS, FIND_BEHIND_SUBSCRIPTIONS)

# The permission of administrators, which cannot be granted.
ADMINISTER = "administer"

# The longest names and e-mail addresses, in characters.
MAX_USERNAME = 150
MAX_EMAIL = 254


@frozen(kw_only=True)
class User:
    """A user, known by a token or a password; the id is None if there is no row for the user."""

    id: int | None
    username: str
    is_admin: bool = False
    is_active: bool = True
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """Whether the user holds this permission; administrators hold all."""
        return self.is_admin or permission in self.permissions


# The Scheduler, which is known by the token that we gave it.
SCHEDULER = User(id=None, username="scheduler")

# The user of a request that needs no authentication.
NOBODY = User(id=None, username="")
