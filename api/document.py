"""What Litestar's OpenAPI document lacks, added to the finished document, so that a client made from it works.

Litestar forgets the limits of what may be null, does not know of the errors that come before a handler is asked, and has no examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, TypeVar

import msgspec

from api.body import RequestModel
from api.errors import ErrorEnvelope
from api.examples import REQUESTS, error_example, example_of

Json = dict[str, Any]
Kind = TypeVar("Kind")

REF = "#/components/schemas/"
LIMITED_PREFIX = "/api/"
_ENVELOPE = re.compile(r'\bEnvelope_(list_)?(?:\w+\.)*(\w+?)_"')
_HEADERS: Json = {
    "X-Request-ID": {"description": "names the request in our logs", "schema": {"type": "string"}},
    "X-RateLimit-Limit": {"description": "requests a minute", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "what is left of them", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {"description": "when they are whole again, in seconds of Unix time", "schema": {"type": "integer"}},
    "Retry-After": {"description": "seconds after which to ask again", "schema": {"type": "integer", "minimum": 1, "maximum": 120}},
    "WWW-Authenticate": {"description": "the scheme, RFC 6750", "schema": {"type": "string"}},
}
_RATE_HEADERS = tuple(name for name in _HEADERS if name.startswith("X-RateLimit"))
# Alike wherever they come from; the others say what is not there, or what is in the way.
_SHARED = (400, 401, 403, 413, 415, 429, 500, 503)
_ERROR_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def completed(document: bytes) -> Json:
    """Litestar's document with whole schemas, all errors, headers and examples."""
    # `Envelope_list_api.jobs.schemas.JobOut_` would be a class in a generated client.
    named = _ENVELOPE.sub(lambda found: f'{found[2]}{"List" if found[1] else ""}Envelope"', document.decode())
    whole: Json = msgspec.json.decode(named)
    whole["components"]["headers"] = _HEADERS
    whole["components"]["responses"] = {_name(status): _error(status) for status in _SHARED}
    _describe(whole["components"]["schemas"], named)
    for path, method, operation in operations(whole):
        _complete(operation, path, method, whole)
    return whole


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Every operation, as path, method in small letters, and what is said about it."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _describe(schemas: Json, text: str) -> None:
    for model in _kinds_of(RequestModel):
        # A body that a route reads by itself is referred to, and Litestar does not know it.
        if f'"{REF}{model.__name__}"' in text:
            found = model.model_json_schema(ref_template=f"{REF}{{model}}")
            for name, schema in {**found.pop("$defs", {}), model.__name__: found}.items():
                schemas[name] = _tidy(schema)
    for struct in _kinds_of(msgspec.Struct):
        if struct.__name__ in schemas and struct.__doc__:
            schemas[struct.__name__]["description"] = cleandoc(struct.__doc__)
    for schema in schemas.values():
        if (name := schema.get("title", "")).startswith("Envelope["):
            schema["title"] = name.removeprefix("Envelope[").removesuffix("]")
            schema["properties"]["success"] = {"type": "boolean", "const": True}
    schemas["ReadyEnvelope"]["properties"]["success"] = {"type": "boolean"}
    schemas[ErrorEnvelope.__name__]["properties"]["success"] = {"type": "boolean", "const": False}


def _kinds_of(base: type[Kind]) -> Iterator[type[Kind]]:
    """The kinds of `base` that this package has, however far below it."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("api."):
            yield kind
        yield from _kinds_of(kind)


def _tidy(schema: Any) -> Any:
    """Without the titles that repeat names, and without `null` as what is taken when nothing is sent: a client would send it."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(default := schema.get("default"), dict):
        schema = {**schema, "default": {key: value for key, value in default.items() if value is not None}}
    tidied = {key: _tidy(value) for key, value in schema.items() if not (key == "default" and value is None)}
    for part in tidied.get("properties", {}).values():
        part.pop("title", None)
    return tidied


def _complete(operation: Json, path: str, method: str, document: Json) -> None:
    schemas = document["components"]["schemas"]
    for parameter in operation.get("parameters", []):
        _complete_parameter(parameter)
    body = operation.get("requestBody")
    if body is not None:
        _complete_body(operation, body)
    answers = {int(status): answer for status, answer in operation["responses"].items()}
    for status in {*_errors(operation, path), *(status for status, answer in answers.items() if _is_error(answer))}:
        shared = {"$ref": f"#/components/responses/{_name(status)}"}
        answers[status] = shared if status in _SHARED else _error(status, path, operation["tags"][0])
    operation["responses"] = {str(status): answers[status] for status in sorted(answers)}
    for status, answer in answers.items():
        if "$ref" in answer:
            continue
        answer["description"] = _said(answer["description"], status)
        answer["headers"] = {**(answer.get("headers") or {}), **_headers(status, path)}
        if method == "head":
            answer.pop("content", None)
        for media_type, content in answer.get("content", {}).items():
            if media_type == "application/json" and "example" not in content:
                content["example"] = example_of(content["schema"], schemas)


def _complete_parameter(parameter: Json) -> None:
    schema = parameter["schema"]
    # What is left out is not sent as null: a query has no such thing.
    if "oneOf" in schema:
        (one,) = (one for one in schema.pop("oneOf") if one != {"type": "null"})
        parameter["schema"] = schema = {**one, **schema}
    if isinstance(schema.get("type"), list):
        (schema["type"],) = (kind for kind in schema["type"] if kind != "null")
        schema["enum"] = [value for value in schema["enum"] if value is not None]
    schema.pop("description", None)
    for noise in ("allowEmptyValue", "allowReserved", "deprecated"):
        if parameter.get(noise) is False:
            del parameter[noise]


def _complete_body(operation: Json, body: Json) -> None:
    for media_type, content in body["content"].items():
        optional = [one for one in content["schema"].get("oneOf", []) if one != {"type": "null"}]
        if optional:
            (content["schema"],) = optional
            body["required"] = False
        if (example := REQUESTS.get(operation["operationId"])) is not None and (
            media_type == "application/json" or len(body["content"]) == 1
        ):
            content["example"] = example


def _errors(operation: Json, path: str) -> set[int]:
    """What can go wrong with any such operation, before its handler is asked."""
    statuses = {HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR}
    if path.startswith(LIMITED_PREFIX):
        statuses.add(HTTPStatus.TOO_MANY_REQUESTS)
    if operation.get("security") != [{}]:
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if "requestBody" in operation:
        statuses |= {HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
    if "{" in path:
        statuses.add(HTTPStatus.NOT_FOUND)
    return {int(status) for status in statuses}


def _is_error(answer: Json) -> bool:
    content = answer.get("content", {}).get("application/json", {})
    return bool(content.get("schema", {}).get("$ref") == REF + ErrorEnvelope.__name__)


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _error(status: int, path: str = LIMITED_PREFIX, tag: str = "") -> Json:
    content = {"schema": {"$ref": REF + ErrorEnvelope.__name__}, "example": error_example(status, path, tag)}
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(status, path),
        "content": {"application/json": content},
    }


def _said(description: str | None, status: int) -> str:
    """Litestar has a sentence of the standard library for each status, such as `Document created, URL follows`."""
    unsaid = {None, "", "Additional response", HTTPStatus(status).description}
    return HTTPStatus(status).phrase if description in unsaid else str(description)


def _headers(status: int, path: str) -> Json:
    names = ["X-Request-ID", *(_RATE_HEADERS if path.startswith(LIMITED_PREFIX) else ())]
    if status in _ERROR_HEADERS:
        names.append(_ERROR_HEADERS[status])
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
