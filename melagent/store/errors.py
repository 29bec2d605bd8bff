"""What a database error means to a user: the one place where constraint names and driver errors get their words.

The outermost door asks `domain_error` for whatever reached it. Nothing of the driver's own text is passed on.
"""

from __future__ import annotations

import asyncpg

from melagent.errors import Conflict, MelError, NotFound, Unavailable, Unprocessable
from melagent.store.pool import BAD_DATA, CONNECTION_LOST

CONSTRAINTS: dict[str, tuple[type[MelError], str]] = {
    "workflows_name_not_blank": (Unprocessable, "A workflow needs a name."),
    "drafts_workflow": (NotFound, "There is no such workflow."),
    "versions_workflow": (NotFound, "There is no such workflow."),
    "versions_number": (Conflict, "Another version was made at the same moment; try again."),
    "triggers_workflow": (NotFound, "There is no such workflow."),
    "triggers_version": (NotFound, "There is no such version."),
    "triggers_node": (Conflict, "This node already has a trigger."),
    "triggers_token": (Conflict, "This webhook token is taken."),
    "triggers_token_hash": (Conflict, "This webhook token is taken."),
    "webhook_tests_trigger": (NotFound, "There is no such trigger."),
    "webhook_tests_token": (Conflict, "This test address is taken."),
    "tokens_hash": (Conflict, "This key exists already."),
    "tokens_kind": (Unprocessable, "A key is for the API or for a worker."),
    "users_email": (Conflict, "There is a user with this email already."),
    "connections_name": (Conflict, "There is a connection with this name already."),
    "connection_uses_workflow": (NotFound, "There is no such workflow."),
    "oauth_states_connection": (NotFound, "There is no such connection."),
    "oauth_states_state": (Conflict, "This sign-in was begun before."),
    "connection_uses_connection": (
        Conflict,
        "A deployed version uses this connection, or it was deleted at this moment.",
    ),
    "trigger_uses_trigger": (NotFound, "There is no such trigger."),
    "trigger_uses_connection": (Conflict, "A trigger uses this connection, or it was deleted at this moment."),
    "users_oidc": (Conflict, "This OpenID account belongs to another user."),
    "users_role": (Unprocessable, "A user needs one of the roles admin, editor, viewer."),
    "tokens_role": (Unprocessable, "An API key needs one of the roles admin, editor, viewer."),
}

UNREACHABLE = (
    *CONNECTION_LOST,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""Errors after which the same call may succeed later; a pool without a free connection in time raises TimeoutError."""


def domain_error(error: BaseException) -> MelError | None:
    """The meaning of a database error, or null when it has none (a defect in our own code)."""
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        kind, message = CONSTRAINTS.get(error.constraint_name or "", (Conflict, ""))
        return kind(message)
    if isinstance(error, BAD_DATA):
        return Unprocessable("A value in this call cannot be stored.")
    if isinstance(error, UNREACHABLE):
        return Unavailable("The database cannot answer right now; try again.")
    return None
