"""The credential types: what each is made of, which of it is secret, where that may be sent, and how HTTP carries it.

The model of a type gives the validation, the JSON schema for the editor's form and the meaning of its fields. A field
made by `hidden` is stored encrypted and never shown.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from yarl import URL

from melagent.domain.origins import Origin, allowed_origin, covered, origin_of

HIDDEN = "x-secret"
VISIBLE = r"^[^\x00-\x1f\x7f]+$"
"""What can stand in a header: a line break in it would begin another one."""


def hidden(description: str, default: Any = ..., *, pattern: str | None = VISIBLE) -> Any:
    """A field that is secret."""
    extra: dict[str, Any] = {HIDDEN: True, "format": "password"}
    return Field(
        default, description=description, min_length=1, max_length=20_000, pattern=pattern, repr=False,
        json_schema_extra=extra,
    )  # fmt: skip  # one line of facts


def _written(url: str) -> str:
    origin_of(url)
    if URL(url).user is not None:
        raise ValueError("an address is shown, so it cannot hold a user name or a password")
    return url.rstrip("/")


def _hosts(entries: list[str]) -> list[str]:
    for entry in entries:
        allowed_origin(entry)
    return entries


Text = Annotated[str, Field(min_length=1, max_length=2_000, pattern=VISIBLE)]
Url = Annotated[str, Field(max_length=2_000, pattern=VISIBLE), AfterValidator(_written)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Credential(BaseModel):
    """Base of the models. The defaults are those of a credential that is never sent over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where HTTP may carry the secret."""
        return ()

    @property
    def bound_to(self) -> frozenset[str]:
        """All that the secret is sent to. Whoever adds something here has to know the secret."""
        return frozenset(map(str, self.origins))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry the secret."""
        return {}

    @property
    def query(self) -> dict[str, str]:
        """The parameters of an address that carry the secret."""
        return {}


class AnyHttp(Credential):
    """Of whatever service speaks HTTP: the user says where the secret may be sent."""

    allowed_hosts: Annotated[list[str], AfterValidator(_hosts)] = Field(
        min_length=1,
        max_length=50,
        description="Where the secret may be sent: api.example.com, *.example.com, or http://10.0.0.5:8080 without TLS",
    )
    test_url: Url | None = Field(default=None, description="An address to try it at, which answers 2xx to a good one")

    @property
    def origins(self) -> tuple[Origin, ...]:
        return tuple(map(allowed_origin, self.allowed_hosts))

    @model_validator(mode="after")
    def _tried_where_allowed(self) -> Self:
        if self.test_url is not None and not covered(origin_of(self.test_url), self.origins):
            raise ValueError("test_url is not at one of the allowed_hosts")
        return self


class ApiKey(AnyHttp):
    api_key: str = hidden("The key")
    placement: Literal["header", "query"] = Field(default="header", description="Where it goes")
    name: str = Field(
        default="X-API-Key", pattern=r"^[A-Za-z0-9._~-]{1,100}$", description="Name of the header or the parameter"
    )

    @property
    def headers(self) -> dict[str, str]:
        return {self.name: self.api_key} if self.placement == "header" else {}

    @property
    def query(self) -> dict[str, str]:
        return {self.name: self.api_key} if self.placement == "query" else {}


class Bearer(AnyHttp):
    token: str = hidden("The token")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Basic(AnyHttp):
    username: str = Field(max_length=2_000, pattern=r"^[^\x00-\x1f\x7f:]*$", description="Without a colon")
    password: str = hidden("The password")

    @property
    def headers(self) -> dict[str, str]:
        pair = f"{self.username}:{self.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


class OAuth2(AnyHttp):
    """Tokens come from the token endpoint, and are renewed there by themselves."""

    grant: Literal["authorization_code", "client_credentials"] = Field(
        default="authorization_code", description="authorization_code: somebody signs in; client_credentials: nobody"
    )
    authorization_url: Url | None = Field(default=None, description="Where people sign in; with authorization_code")
    token_url: Url = Field(description="Where tokens come from")
    client_id: Text = Field(description="What the service calls this client")
    client_secret: str | None = hidden("The client's secret; none for a public client", None)
    client_auth: Literal["basic", "post"] = Field(
        default="basic", description="How the client's secret is sent to the token endpoint"
    )
    scopes: list[Text] = Field(default_factory=list, max_length=100, description="What is asked for")

    @property
    def bound_to(self) -> frozenset[str]:
        """The client's secret goes to the token endpoint."""
        return frozenset({*map(str, self.origins), f"token {origin_of(self.token_url)}"})

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.grant == "authorization_code" and self.authorization_url is None:
            raise ValueError("authorization_url is needed with authorization_code")
        if self.grant == "client_credentials" and self.client_secret is None:
            raise ValueError("client_secret is needed with client_credentials")
        return self


class OneService(Credential):
    """Of a service at one address."""

    base_url: Url

    @property
    def origins(self) -> tuple[Origin, ...]:
        return (origin_of(self.base_url),)


class OpenAi(OneService):
    base_url: Url = Field(default="https://api.openai.com/v1", description="Where the API is, with its version")
    api_key: str = hidden("An API key")
    organization: Text | None = Field(default=None, description="Of those whose key belongs to several")

    @property
    def headers(self) -> dict[str, str]:
        named = {"OpenAI-Organization": self.organization} if self.organization else {}
        return {"Authorization": f"Bearer {self.api_key}", **named}


class Anthropic(OneService):
    base_url: Url = Field(default="https://api.anthropic.com", description="Where the API is")
    api_key: str = hidden("An API key")

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.api_key, "anthropic-version": "2023-06-01"}


class OpenAiCompatible(OneService):
    base_url: Url = Field(description="Where the API is: https://llm.example.com/v1, http://localhost:11434/v1")
    api_key: str | None = hidden("A key, if the service wants one", None)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


class Slack(OneService):
    base_url: Url = Field(default="https://slack.com/api", description="Where the API is")
    bot_token: str = hidden("The bot's token, xoxb-…")
    signing_secret: str | None = hidden("Proves that a call is Slack's; for slash commands", None)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.bot_token}"}


class BaserowToken(OneService):
    base_url: Url = Field(default="https://api.baserow.io", description="Where Baserow is")
    token: str = hidden("A database token")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"}


class BaserowJwt(OneService):
    """Is exchanged for a token of some minutes by whoever uses it."""

    base_url: Url = Field(default="https://api.baserow.io", description="Where Baserow is")
    email: Text = Field(description="Of the account")
    password: str = hidden("Of the account", pattern=None)


class Airtable(OneService):
    base_url: Url = Field(default="https://api.airtable.com", description="Where the API is")
    token: str = hidden("A personal access token, pat…")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Smtp(Credential):
    host: Host = Field(description="The mail server")
    port: Port = Field(default=587, description="587 with starttls, 465 with tls")
    security: Literal["starttls", "tls", "none"] = Field(default="starttls", description="none sends in the clear")
    username: Text | None = Field(default=None, description="For servers that want one")
    password: str | None = hidden("The password", None, pattern=None)
    from_address: Text | None = Field(default=None, description="Whom mail comes from, unless a node says otherwise")

    @property
    def bound_to(self) -> frozenset[str]:
        return frozenset({f"{self.host.lower()}:{self.port} {self.security}"})

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.username is None) is not (self.password is None):
            raise ValueError("username and password belong together")
        return self


class Postgres(Credential):
    host: Host = Field(description="The database server")
    port: Port = 5432
    database: Text = Field(description="The database")
    user: Text = Field(description="The role")
    password: str = hidden("Of the role", pattern=None)
    security: Literal["verify", "tls", "none"] = Field(
        default="verify", description="verify: TLS with a valid certificate; tls: with any; none: in the clear"
    )

    @property
    def bound_to(self) -> frozenset[str]:
        return frozenset({f"{self.host.lower()}:{self.port} {self.security}"})


class WebhookSecret(Credential):
    """Compared with what callers send; it is never sent to anybody."""

    secret: str = hidden("What callers prove that they know", pattern=None)


@dataclass(frozen=True, slots=True)
class CredentialType:
    """A type by its id, with the third party that it is for; `integration` is `http` for any."""

    id: str
    name: str
    integration: str
    model: type[Credential]

    @property
    def hidden(self) -> frozenset[str]:
        """The fields that are secret."""
        fields = self.model.model_fields.items()
        return frozenset(
            name for name, field in fields
            if isinstance(field.json_schema_extra, dict) and HIDDEN in field.json_schema_extra
        )  # fmt: skip  # a comprehension of two parts

    @property
    def schema(self) -> dict[str, Any]:
        return {**self.model.model_json_schema(), "title": self.name}


TYPES = {
    kind.id: kind
    for kind in (
        CredentialType("api_key", "API key", "http", ApiKey),
        CredentialType("bearer", "Bearer token", "http", Bearer),
        CredentialType("basic", "User name and password", "http", Basic),
        CredentialType("oauth2", "OAuth 2", "http", OAuth2),
        CredentialType("openai", "OpenAI", "openai", OpenAi),
        CredentialType("anthropic", "Anthropic", "anthropic", Anthropic),
        CredentialType("openai_compatible", "OpenAI-compatible", "openai_compatible", OpenAiCompatible),
        CredentialType("smtp", "Mail server (SMTP)", "smtp", Smtp),
        CredentialType("postgres", "PostgreSQL", "postgres", Postgres),
        CredentialType("slack", "Slack", "slack", Slack),
        CredentialType("baserow_jwt", "Baserow account", "baserow", BaserowJwt),
        CredentialType("baserow_token", "Baserow database token", "baserow", BaserowToken),
        CredentialType("airtable", "Airtable", "airtable", Airtable),
        CredentialType("webhook_secret", "Webhook secret", "http", WebhookSecret),
    )
}

INTEGRATIONS = {
    "http": "Any service over HTTP",
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "openai_compatible": "OpenAI-compatible models: vLLM, Ollama, LM Studio and others",
    "smtp": "Mail",
    "postgres": "PostgreSQL",
    "slack": "Slack",
    "baserow": "Baserow",
    "airtable": "Airtable",
}
