"""Settings about who may sign in: the first administrator, and an OpenID Connect provider."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from melagent.setting_kinds import Env, Group, HttpUrl, Secret


class SignInSettings(Group):
    """Part of the group `security`."""

    admin_email: Annotated[str | None, Env(("MEL_ADMIN_EMAIL",))] = Field(
        default=None,
        pattern=r"^[^\s@]+@[^\s@]+$",
        description="Email of the first administrator, who is made if there is none",
    )
    admin_password: Annotated[str | None, Secret(), Env(("MEL_ADMIN_PASSWORD",))] = Field(
        default=None,
        min_length=12,
        max_length=1000,
        repr=False,
        description="Password of the first administrator; means nothing once there is one",
    )
    oidc_issuer: Annotated[HttpUrl | None, Env(("MEL_OIDC_ISSUER",))] = Field(
        default=None, description="OpenID Connect provider that people may sign in with, such as https://id.example.com"
    )
    oidc_client_id: Annotated[str | None, Env(("MEL_OIDC_CLIENT_ID",))] = Field(
        default=None, description="What the OpenID Connect provider calls this server"
    )
    oidc_client_secret: Annotated[str | None, Secret(), Env(("MEL_OIDC_CLIENT_SECRET",))] = Field(
        default=None, repr=False, description="The secret that goes with it; none for a public client"
    )
    oidc_default_role: Annotated[Literal["viewer", "editor", "admin", "none"], Env(("MEL_OIDC_DEFAULT_ROLE",))] = Field(
        default="viewer", description="Role of whoever signs in for the first time; none lets in only users that exist"
    )

    @field_validator("admin_password")
    @classmethod
    def _of_somebody(cls, value: str | None, info: ValidationInfo) -> str | None:
        if (value is None) != (info.data.get("admin_email") is None):
            raise ValueError("expected both security.admin_email and security.admin_password, or none of them")
        return value

    @field_validator("oidc_client_id")
    @classmethod
    def _with_an_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if (value is None) != (info.data.get("oidc_issuer") is None):
            raise ValueError("expected both security.oidc_issuer and security.oidc_client_id, or none of them")
        return value
