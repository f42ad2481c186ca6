"""Whether somebody who has only the OpenAPI document can use every operation in it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import SecretStr

from api.document import completed, operations
from settings import Settings
from tests.api.support import make_app
from tests.api.test_openapi import document, resolved


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The document, which needs nothing to be running."""
    return asyncio.run(_asked_for())


async def _asked_for() -> dict[str, Any]:
    settings = Settings(env="dev", jwt_secret=SecretStr("s" * 32), data_dir=Path("unused"), _env_file=None)  # type: ignore[call-arg]
    transport = httpx.ASGITransport(app=make_app(settings))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://voxify.test") as client:
        return await document(client)


def examples(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Where each JSON body is, its schema, and the example of it."""
    for path, method, operation in operations(found):
        bodies = {"request": operation.get("requestBody", {})}
        bodies |= {status: resolved(found, answer) for status, answer in operation["responses"].items()}
        for where, body in bodies.items():
            content = body.get("content", {}).get("application/json")
            if content is not None:
                yield f"{method} {path} {where}", content["schema"], content.get("example")


def test_every_body_has_an_example_that_is_valid(found: dict[str, Any]) -> None:
    seen = 0
    for where, schema, example in examples(found):
        assert example is not None, f"{where}: add an example of the request to REQUESTS in api/examples.py"
        whole = {**schema, "components": found["components"]}
        problems = list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(example))
        assert not problems, f"{where}: {problems[0].json_path} {problems[0].message}"
        seen += 1
    assert seen > 300


def test_every_operation_says_what_it_is_and_which_errors_it_has(found: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in found["tags"]}
    assert len(tags) == len(found["tags"])
    for path, method, operation in operations(found):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert not re.match(r"[A-Z][a-z]+[A-Z]", operation["summary"]), f"{name}: give it a summary"
        assert re.fullmatch(r"[a-z]+_[a-z_]+", operation["operationId"]), name
        assert set(operation["tags"]) <= tags, name
        expected = {"400", "500"}
        if path.startswith("/api/"):
            expected |= {"429"}
        if operation.get("security") != [{}]:
            expected |= {"401", "403"}
        if "requestBody" in operation:
            expected |= {"413", "415"}
        if "{" in path:
            expected |= {"404"}
        assert expected <= operation["responses"].keys(), name
        for status, answer in operation["responses"].items():
            headers = resolved(found, answer)["headers"]
            assert "X-Request-ID" in headers, name
            assert ("Retry-After" in headers) == (status in {"429", "503"}), name
            assert ("WWW-Authenticate" in headers) == (status == "401"), name


def test_what_is_not_json_has_its_own_media_type(found: dict[str, Any]) -> None:
    def answers(path: str, method: str = "get", status: str = "200") -> set[str]:
        return set(found["paths"][f"/api/v1{path}"][method]["responses"][status].get("content", {}))

    for path in ("/file/synthesis/{job_id}", "/file/voice-clone/{job_id}", "/files/audio/{file_id}", "/voice/samples/{sample_id}/audio"):
        assert {"audio/wav", "audio/mpeg", "audio/flac", "audio/ogg"} <= answers(path) == answers(path, status="206")
        assert "application/json" not in answers(path)
        assert answers(path, "head") == answers(path, status="304") == set()
    assert answers("/voice/samples/{sample_id}/spectrogram.png") == {"image/png"}
    assert answers("/job/{job_id}/progress") == {"text/event-stream"}
    assert answers("/job/{job_id}/timestamps") == {"application/json", "application/x-subrip", "text/vtt"}
    assert {"application/json", "audio/wav", "audio/mpeg"} <= answers("/voice/clones/{clone_id}/synthesize", "post")


def test_a_repeated_request_for_a_job_is_answered_with_the_job_too(found: dict[str, Any]) -> None:
    answers = found["paths"]["/api/v1/job"]["post"]["responses"]
    assert answers["200"]["content"]["application/json"]["schema"] == answers["201"]["content"]["application/json"]["schema"]


def test_limits_of_what_may_be_left_out_are_told(found: dict[str, Any]) -> None:
    schemas = found["components"]["schemas"]
    assert schemas["JobCreate"]["properties"]["speed"]["anyOf"][0] == {"type": "number", "minimum": 0.5, "maximum": 3}
    assert schemas["JobUpdate"]["properties"]["speed"] == {"type": "number", "minimum": 0.5, "maximum": 3}, "null is refused"
    assert {"required": ["speed"]} in schemas["JobUpdate"]["anyOf"], "nothing at all is refused"
    assert {"required": ["lease"]} not in schemas["JobPatch"]["anyOf"]
    (limit,) = (one for one in found["paths"]["/api/v1/job"]["get"]["parameters"] if one["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100}
    form = found["paths"]["/api/v1/voice/clones/similar"]["post"]["requestBody"]["content"]
    assert form["multipart/form-data"]["schema"] == {"$ref": "#/components/schemas/SimilarToFile"}
    assert schemas["SimilarToFile"]["properties"]["file"] == {"type": "string", "format": "binary"}
    for name, schema in schemas.items():
        assert all(part.get("default", ...) is not None for part in schema.get("properties", {}).values()), name


def test_a_body_that_may_be_left_out_is_not_required(found: dict[str, Any]) -> None:
    for path in ("/auth/refresh", "/files/{file_id}/link"):
        body = found["paths"][f"/api/v1{path}"]["post"]["requestBody"]
        assert body["required"] is False
        assert "$ref" in body["content"]["application/json"]["schema"]
    assert found["paths"]["/api/v1/job"]["post"]["requestBody"]["required"] is True


def test_classes_of_a_generated_client_have_names(found: dict[str, Any]) -> None:
    names = found["components"]["schemas"].keys()
    assert {"JobOutEnvelope", "JobOutListEnvelope", "CloneListEnvelope", "ErrorEnvelope"} <= names
    assert all(re.fullmatch(r"[A-Z]\w+", name) and "_" not in name for name in names)


def test_what_is_documented_already_stays() -> None:
    own = {"description": "Somebody else's", "content": {"application/json": {"schema": {"type": "string"}}}}
    envelope = {"properties": {"success": {"type": "boolean"}}, "type": "object", "title": "ErrorEnvelope"}
    bare = {
        "paths": {"/health/ready": {"get": {"operationId": "x", "tags": ["health"], "security": [{}], "responses": {"503": own}}}},
        "components": {"schemas": {"ErrorEnvelope": envelope, "ReadyEnvelope": envelope}},
    }
    answers = completed(json.dumps(bare).encode())["paths"]["/health/ready"]["get"]["responses"]
    assert answers["503"]["description"] == "Somebody else's"
    assert answers.keys() == {"400", "500", "503"}
