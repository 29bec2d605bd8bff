"""The way in with email and password, and a change of one's own password.

Whoever is refused does not learn why: an unknown email, a wrong password, an account without a password and a disabled
one are answered alike and take the same time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

from melagent.errors import BadRequest, Conflict, Problem, Unauthenticated
from melagent.services import first_run
from melagent.services.passwords import Hashing, is_text
from melagent.services.sessions import Sessions
from melagent.services.throttle import Throttle
from melagent.services.workflows import found
from melagent.store import users

if TYPE_CHECKING:
    from melagent.services.sessions import Session
    from melagent.store.pool import Pool
    from melagent.store.rows import Account

REFUSED = "The email or the password is wrong."


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`device_token` is for the browser to keep, so that it is known the next time."""

    session: Session
    device_token: str


class WrongPassword(Unauthenticated):
    """`account` is for the audit log, and must not be told to whoever asked."""

    def __init__(self, account: Account | None) -> None:
        super().__init__(REFUSED)
        self.account = account


class SignIn:
    """Begins sessions for those who show who they are."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.hashing = Hashing()
        self.sessions = Sessions(pool)
        self._throttle = Throttle(pool)

    async def with_password(self, email: str, password: str, address: str, device_token: str | None) -> SignedIn:
        """Sign in from an address. Raises Unauthenticated, or RateLimited after too many attempts."""
        name = email.strip().lower()
        taken = await self._throttle.take(name, address, device_token)
        account = None
        if is_text(name):  # else no account has this email
            async with self._pool.acquire() as conn:
                account = await users.account(conn, name)
        matches = await self.hashing.matches(password, account.password_hash if account else None)
        if account is None or not matches or account.disabled_at is not None:
            raise WrongPassword(account)
        await self._throttle.succeeded(taken)
        return await self.as_account(account)

    async def as_account(self, account: Account) -> SignedIn:
        """Begin a session for somebody who has shown to be this account, as it was then."""
        token = await self.sessions.begin(account)
        session = await self.sessions.find(token) if token else None
        if session is None:
            raise WrongPassword(account)
        return SignedIn(session, await self._throttle.device_token(account.email))

    async def set_up(self, token: str, email: str, name: str, password: str) -> SignedIn:
        """Make the first administrator with the token of a set-up link, and sign in. Raises as `first_run.set_up`."""
        return await self.as_account(await first_run.set_up(self._pool, self.hashing, token, email, name, password))

    async def change_password(self, session: Session, old: str, new: str) -> SignedIn:
        """Replace one's own password. All sessions of the user end; the answer has a new one."""
        taken = await self._throttle.take_again(session.token)
        user_id = UUID(session.principal.id)
        async with self._pool.acquire() as conn:
            account = found(await users.account_of(conn, user_id), "user")
        if account.password_hash is None:
            raise Conflict("This account has no password; it signs in with OpenID Connect.")
        if not await self.hashing.matches(old, account.password_hash):
            raise BadRequest("The old password is wrong.", [Problem("old_password", "This is not your password.")])
        await self._throttle.succeeded(taken)
        password_hash = await self.hashing.hashed(new, "new_password")
        async with self._pool.acquire() as conn:
            epoch = await users.replace_own_password(conn, account, password_hash)
        if epoch is None:
            raise Conflict("This account was changed at the same moment; sign in again.")
        return await self.as_account(replace(account, epoch=epoch))
