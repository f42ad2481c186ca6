"""What auth routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.auth.account import Changes
from api.auth.passwords import MAX_LENGTH, MIN_LENGTH, SYMBOLS, shortcomings
from api.auth.principal import READ, WRITE, Scope
from api.body import RequestModel, without_null
from store.clock import utcnow
from store.models import ApiKey, User

MISSING_FIELDS: Literal["MISSING_FIELDS"] = "MISSING_FIELDS"
NAME_LENGTH = 100


def _filled(value: Any) -> Any:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise PydanticCustomError(MISSING_FIELDS, "is missing")
    return value


def normalized_email(value: str) -> str:
    """The address in the one form that is stored and compared: lower case, Unicode normalised.

    Whether mail arrives there is not asked. Names under ``.test`` (RFC 6761) are taken, so that test systems can have accounts.
    """
    try:
        checked = validate_email(value.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise PydanticCustomError("INVALID_EMAIL", "is not an e-mail address") from None
    if "." not in checked.domain:
        raise PydanticCustomError("INVALID_EMAIL", "is not an e-mail address")
    return checked.normalized.lower()


def _strong(value: str) -> str:
    if lacking := shortcomings(value):
        raise PydanticCustomError("WEAK_PASSWORD", "must have {lacking}", {"lacking": ", ".join(lacking)})
    return value


# Litestar repeats what `Field` itself is told as often as the type is used.
_EMAIL_SCHEMA: dict[str, Any] = {"format": "email", "examples": ["ada@example.com"]}
_PASSWORD_SCHEMA: dict[str, Any] = {
    "minLength": MIN_LENGTH,
    "maxLength": MAX_LENGTH,
    "description": "with a small letter, a capital, a digit and one of " + SYMBOLS,
    "examples": ["Correct-Horse-7!"],
}

Filled = Annotated[str, BeforeValidator(_filled)]
Email = Annotated[Filled, AfterValidator(normalized_email), Field(json_schema_extra=_EMAIL_SCHEMA)]
NewPassword = Annotated[Filled, AfterValidator(_strong), Field(json_schema_extra=_PASSWORD_SCHEMA)]
Password = Annotated[Filled, Field(examples=["Correct-Horse-7!"])]
CurrentPassword = Annotated[
    str | None, Field(description="asked for when the e-mail address or the password changes", examples=["Correct-Horse-7!"])
]
FirstName = Annotated[str | None, Field(max_length=NAME_LENGTH, examples=["Ada"])]
LastName = Annotated[str | None, Field(max_length=NAME_LENGTH, examples=["Lovelace"])]


def _later(value: datetime | None) -> datetime | None:
    if value is not None and value <= utcnow():
        raise PydanticCustomError("past", "is in the past")
    return value


class RegisterRequest(RequestModel):
    missing_code: ClassVar[str] = MISSING_FIELDS

    email: Email
    password: NewPassword
    first_name: FirstName = None
    last_name: LastName = None


class LoginRequest(RequestModel):
    """Not checked beyond being there: what is no address, or no password of ours, is simply wrong."""

    missing_code: ClassVar[str] = MISSING_FIELDS

    email: Annotated[Filled, Field(examples=["ada@example.com"])]
    password: Password


class RefreshRequest(RequestModel):
    refresh_token: str | None = None


class ReplaceProfileRequest(RequestModel):
    """The whole profile: a name that is left out is none. The password stays unless a new one is there."""

    missing_code: ClassVar[str] = MISSING_FIELDS

    email: Email
    first_name: FirstName = None
    last_name: LastName = None
    password: Annotated[NewPassword | None, Field(json_schema_extra=_PASSWORD_SCHEMA)] = None
    current_password: CurrentPassword = None

    def changes(self) -> Changes:
        values: dict[str, Any] = {"email": self.email, "first_name": self.first_name, "last_name": self.last_name}
        return Changes(values, self.password, self.current_password)


class ChangeProfileRequest(RequestModel):
    """What is there is changed; `null` takes a name away."""

    model_config = ConfigDict(json_schema_extra=without_null(["first_name", "last_name", "current_password"]))
    missing_code: ClassVar[str] = MISSING_FIELDS

    # Left out they stay; unlike the names they cannot be taken away, so `null` is as wrong as nothing.
    email: Annotated[Email | None, BeforeValidator(_filled), Field(json_schema_extra=_EMAIL_SCHEMA)] = None
    first_name: FirstName = None
    last_name: LastName = None
    password: Annotated[NewPassword | None, BeforeValidator(_filled), Field(json_schema_extra=_PASSWORD_SCHEMA)] = None
    current_password: CurrentPassword = None

    def changes(self) -> Changes:
        values: dict[str, Any] = {
            name: getattr(self, name) for name in ("email", "first_name", "last_name") if name in self.model_fields_set
        }
        return Changes(values, self.password, self.current_password)


class ForgotPasswordRequest(RequestModel):
    missing_code: ClassVar[str] = MISSING_FIELDS

    email: Email


class ResetPasswordRequest(RequestModel):
    """`token`: as it was mailed."""

    missing_code: ClassVar[str] = MISSING_FIELDS

    token: Annotated[Filled, Field(max_length=200, examples=["Zk3vF0mXyC1u2Q9n0m1dJd8pQw6hR4tB5sLxYaE7oGc"])]
    password: NewPassword


class ApiKeyRequest(RequestModel):
    """`scopes`: `read` for GET and HEAD, `write` for everything else; both unless given. Without `expires_at` the key never ends."""

    missing_code: ClassVar[str] = MISSING_FIELDS

    name: Annotated[Filled, StringConstraints(strip_whitespace=True, max_length=NAME_LENGTH), Field(examples=["podcast builder"])]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10, examples=[["read", "write"]])] = [READ, WRITE]  # noqa: RUF012
    expires_at: Annotated[AwareDatetime | None, AfterValidator(_later), Field(examples=["2030-01-01T00:00:00Z"])] = None


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    email: str
    first_name: str | None
    last_name: str | None
    role: str
    is_active: bool
    active_clone_id: str | None
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None

    @classmethod
    def of(cls, user: User) -> UserView:
        return cls(**{name: getattr(user, name) for name in cls.__struct_fields__})


class UserData(msgspec.Struct, frozen=True, kw_only=True):
    user: UserView


class SessionData(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_in`: seconds until the access token ends."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    user: UserView


class ApiKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix`: how the key begins. `last_used_at` is written at most once a minute."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: ApiKey) -> ApiKeyView:
        return cls(**{name: getattr(row, name) for name in ApiKeyView.__struct_fields__})


class NewApiKeyView(ApiKeyView, frozen=True, kw_only=True):
    """`key`: the only time that it is shown."""

    key: str

    @classmethod
    def made(cls, row: ApiKey, key: str) -> NewApiKeyView:
        return cls(key=key, **{name: getattr(row, name) for name in ApiKeyView.__struct_fields__})


class RevokedData(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    revoked: bool


class AcceptedData(msgspec.Struct, frozen=True, kw_only=True):
    accepted: bool


class ResetData(msgspec.Struct, frozen=True, kw_only=True):
    password_reset: bool


class LogoutData(msgspec.Struct, frozen=True, kw_only=True):
    logged_out: bool
