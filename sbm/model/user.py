"""Who may speak to the API, and what each may do."""

from __future__ import annotations

from attrs import frozen

VIEW_BEHIND_SUBSCRIPTIONS = "view_behindsubscription"
FIND_BEHIND_SUBSCRIPTIONS = "can_find_behind_subscriptions"

# What can be granted. Everything that is not named here, every user may.
PERMISSIONS = (VIEW_BEHIND_SUBSCRIPTIONS, FIND_BEHIND_SUBSCRIPTIONS)

# What only administrators may: it cannot be granted.
ADMINISTER = "administer"

# The longest names and e-mail addresses, in characters.
MAX_USERNAME = 150
MAX_EMAIL = 254


@frozen(kw_only=True)
class User:
    """Somebody who is known by a token or a password; without a row, the id is None."""

    id: int | None
    username: str
    is_admin: bool = False
    is_active: bool = True
    permissions: frozenset[str] = frozenset()

    def may(self, permission: str) -> bool:
        """Whether the user holds this permission; administrators hold all."""
        return self.is_admin or permission in self.permissions


# The Scheduler is known by the token that it was given.
SCHEDULER = User(id=None, username="scheduler")

# Who asks where nobody has to say who she is.
NOBODY = User(id=None, username="")
