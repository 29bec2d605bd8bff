"""Real tests of credentials: whether the third party takes them.

What the other side answers is never passed on, only its status: an address that should not be seen from outside would
otherwise be read through this. Every way out is guarded (`melagent.net`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from yarl import URL

from melagent.errors import BadRequest, Problem
from melagent.net import AddressRefused, pinned_address, pinned_socket, read_at_most
from melagent.services import credential_types as types
from melagent.store.probe import probe

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from melagent.domain.secrets import Secret
    from melagent.services.credential_types import Credential

SECONDS = 10.0
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    success: bool
    message: str


@dataclass(frozen=True, slots=True)
class Checker:
    """`http` is a guarded client, `allow` the private addresses that it may reach."""

    http: aiohttp.ClientSession
    allow: Sequence[str]

    async def check(self, credential: Credential) -> Finding:
        """What came of it. Raises BadRequest when there is nowhere to try the credential at."""
        return await self._found(self._outcome(credential))

    async def check_token(self, secret: Secret) -> Finding:
        """What comes of a token that OAuth 2 has given."""
        url = secret.fields.get("test_url")
        if url is None:
            return _good("The service has given a token. Without a test_url it is not tried.")
        return await self._found(self._call("GET", url, secret.headers))

    async def _found(self, outcome: Coroutine[Any, Any, Finding | None]) -> Finding:
        try:
            async with asyncio.timeout(2 * SECONDS):
                return await outcome or _good("It was accepted.")
        except AddressRefused as error:
            return _failed(str(error))
        except TimeoutError:
            return _failed(f"There was no answer within {2 * SECONDS:g} s.")
        except (aiohttp.ClientError, OSError, ValueError):
            return _failed("It cannot be reached, or does not speak HTTP as it should.")

    async def _outcome(self, credential: Credential) -> Finding | None:
        """Null when it was accepted."""
        match credential:
            case types.Smtp():
                return await self._mail(credential)
            case types.Postgres():
                return await self._database(credential)
            case types.WebhookSecret():
                return _good("There is nobody to ask: it is compared with what callers send.")
            case types.Slack():
                return await self._slack(credential)
            case types.BaserowJwt():
                login = {"email": credential.email, "password": credential.password}
                return await self._call("POST", f"{credential.base_url}/api/user/token-auth/", {}, json=login)
        return await self._call("GET", str(URL(_where(credential)).update_query(credential.query)), credential.headers)

    async def _call(self, method: str, url: str, headers: Mapping[str, str], **options: Any) -> Finding | None:
        """Redirects are not followed: what the secret proves, it proves at this very address."""
        limit = aiohttp.ClientTimeout(total=SECONDS)
        async with self.http.request(
            method, url, headers=headers, timeout=limit, allow_redirects=False, **options
        ) as response:
            return None if response.status < 300 else _refused(response.status)

    async def _slack(self, credential: types.Slack) -> Finding | None:
        """Slack answers 200 whatever it says; `ok` tells."""
        limit = aiohttp.ClientTimeout(total=SECONDS)
        url = f"{credential.base_url}/auth.test"
        async with self.http.post(url, headers=credential.headers, timeout=limit, allow_redirects=False) as response:
            if response.status >= 300:
                return _refused(response.status)
            answer = orjson.loads(await read_at_most(response, MAX_BYTES))
        good = isinstance(answer, dict) and answer.get("ok") is True
        return None if good else _failed("It was refused: Slack does not take the token.")

    async def _mail(self, credential: types.Smtp) -> Finding | None:
        import aiosmtplib  # noqa: PLC0415  # for those who need it

        client = aiosmtplib.SMTP(
            hostname=credential.host,
            sock=await pinned_socket(credential.host, credential.port, self.allow),
            port=None,
            use_tls=credential.security == "tls",
            start_tls=credential.security == "starttls",
            timeout=SECONDS,
        )
        try:
            async with client:
                if credential.username is not None and credential.password is not None:
                    await client.login(credential.username, credential.password)
                await client.noop()
        except aiosmtplib.SMTPAuthenticationError:
            return _failed("The mail server refused the user name or the password.")
        except aiosmtplib.SMTPException:
            return _failed("The mail server does not speak SMTP as it should, or refused the connection.")
        return None

    async def _database(self, credential: types.Postgres) -> Finding | None:
        address = await pinned_address(credential.host, credential.port, self.allow)
        fault = await probe(
            address,
            credential.host,
            credential.port,
            database=credential.database,
            user=credential.user,
            password=credential.password,
            security=credential.security,
        )
        return None if fault is None else _failed(fault)


def _where(credential: Credential) -> str:
    """The address that answers 2xx to a good credential."""
    match credential:
        case types.OpenAi() | types.OpenAiCompatible():
            return f"{credential.base_url}/models"
        case types.Anthropic():
            return f"{credential.base_url}/v1/models"
        case types.BaserowToken():
            return f"{credential.base_url}/api/database/tokens/check/"
        case types.Airtable():
            return f"{credential.base_url}/v0/meta/whoami"
        case types.OAuth2():
            raise BadRequest("Store the connection first: only then are there tokens to try.")
        case types.AnyHttp(test_url=str(url)):
            return url
    raise BadRequest(details=[Problem("config.test_url", "Give an address that answers 2xx to a good credential.")])


def _good(message: str) -> Finding:
    return Finding(success=True, message=message)


def _failed(message: str) -> Finding:
    return Finding(success=False, message=message)


def _refused(status: int) -> Finding:
    if status in (401, 403):
        return _failed(f"It was refused (status {status}).")
    return _failed(f"The answer had the status {status}, which says neither yes nor no.")
