"""Bodies, JSON and forms: read once, refused with a reason, checked against a pydantic model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Self, TypeVar

from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.exceptions import SerializationException, ValidationException
from litestar.params import BodyKwarg
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails

from api.errors import (
    BadRequestError,
    MalformedJsonError,
    MissingBodyError,
    RouteNotFoundError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
)
from api.queries import check_query

NUL = "\x00"
Form = TypeVar("Form", bound="RequestModel")
Document = TypeVar("Document", bound="RequestModel")


class RequestModel(BaseModel):
    """Base of everything that clients send. What a field may not hold is said under the name of that field.

    A validator that raises `PydanticCustomError` with a type in capitals gives its own code to the whole answer.
    `missing_code` is the code when a field is missing.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)
    missing_code: ClassVar[str] = "VALIDATION_ERROR"

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        # PostgreSQL cannot store it, and no name, text or address has it.
        if any(isinstance(each, str) and NUL in each for each in (value if isinstance(value, list) else [value])):
            raise ValueError("may not hold the character U+0000")
        return value

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As in pydantic, but raising :class:`~api.errors.ValidationFailedError`: Litestar would keep only the sentences."""
        # Litestar always says `strict=False`, which would overrule the fields that ask for strictness: `true` became a speed of 1.
        options.pop("strict", None)
        try:
            return super().model_validate(obj, **options)
        except ValidationError as invalid:
            raise _failed(invalid.errors(include_url=False, include_input=False), cls.missing_code) from None


def without_null(nullable: Collection[str] = ()) -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra`: that what may be left out may not be null, save the fields in `nullable`."""

    def say(schema: dict[str, Any]) -> None:
        for name, field in schema["properties"].items():
            if name not in nullable and "anyOf" in field:
                (kind,) = (one for one in field.pop("anyOf") if one != {"type": "null"})
                field.update({**kind, **field})

    return say


def names_one(*, but: Collection[str] = (), nullable: Collection[str] = ()) -> Callable[[dict[str, Any]], None]:
    """As :func:`without_null`, and that a body must name at least one of its fields, those in `but` aside."""

    def say(schema: dict[str, Any]) -> None:
        without_null(nullable)(schema)
        schema["anyOf"] = [{"required": [name]} for name in schema["properties"] if name not in but]

    return say


def _failed(problems: list[ErrorDetails], missing_code: str) -> ValidationFailedError:
    details = {".".join(map(str, problem["loc"])) or "body": _why(problem) for problem in problems}
    if any(problem["type"] in {"missing", missing_code} for problem in problems):
        code: str | None = missing_code
    else:
        code = next((problem["type"] for problem in problems if problem["type"].isupper()), None)
    sentence = "; ".join(f"{field}: {why}" for field, why in details.items())
    return ValidationFailedError(details, message=f"The request is not valid: {sentence}", code=code)


def _why(problem: Mapping[str, Any]) -> str:
    match problem["type"]:
        case "missing":
            return "is missing"
        case "model_type" if not problem["loc"]:
            return "must be a JSON object"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")


async def read_request(request: Request[Any, Any, Any]) -> None:
    """Refuse what no route can make sense of, before any of them is asked.

    Runs after authentication. The parsed body is kept by the request, so nothing is parsed twice.
    """
    _refuse_nul(request)
    check_query(request)
    field = request.route_handler.parsed_data_field
    if field is None:
        return
    if isinstance(field.kwarg_definition, BodyKwarg) and field.kwarg_definition.media_type == RequestEncodingType.MULTI_PART:
        await _read_form(request)
    else:
        await _read_json(request, optional=field.has_default)


async def read_either(request: Request[Any, Any, Any], form: type[Form], document: type[Document]) -> Form | Document:
    """The body of a route that takes a form or JSON, by its Content-Type; such a route has no `data`, and says so in its own operation."""
    if _media_type(request) == RequestEncodingType.MULTI_PART:
        await _read_form(request)
        return form.model_validate(dict(await request.form()))
    await _read_json(request, optional=False)
    return document.model_validate(await request.json())


def _refuse_nul(request: Request[Any, Any, Any]) -> None:
    # As in bodies: a database may break on it. No id and no address of ours has one.
    if NUL in request.scope["path"]:
        raise RouteNotFoundError("There is nothing at this address")
    holding = {name if NUL not in name else "query" for name, value in request.query_params.multi_items() if NUL in f"{name}{value}"}
    if holding:
        raise ValidationFailedError(dict.fromkeys(sorted(holding), "may not hold the character U+0000"))


async def _read_form(request: Request[Any, Any, Any]) -> None:
    if _media_type(request) != RequestEncodingType.MULTI_PART:
        raise UnsupportedMediaTypeError("The body must be multipart/form-data", headers={"Accept": "multipart/form-data"})
    try:
        await request.form()
    except ValidationException as broken:
        raise BadRequestError("The Content-Type of the form names no boundary", code="MALFORMED_FORM") from broken
    except (UnicodeError, LookupError) as broken:
        # A part that is no file is text, in the character set that it names. A file without a file name ends here too.
        message = "A part of the form is not text in the character set that it names; a file needs a file name"
        raise BadRequestError(message, code="MALFORMED_FORM") from broken


async def _read_json(request: Request[Any, Any, Any], *, optional: bool) -> None:
    if not await request.body():
        if optional:
            return
        raise MissingBodyError("The request needs a JSON body")
    media_type = _media_type(request) if "content-type" in request.headers else "application/json"
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaTypeError("The body must be application/json", headers={"Accept": "application/json"})
    try:
        await request.json()
    except (SerializationException, RecursionError, UnicodeDecodeError) as broken:
        raise MalformedJsonError("The body is not valid JSON") from broken


def _media_type(request: Request[Any, Any, Any]) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
