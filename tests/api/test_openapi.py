from __future__ import annotations

import re
from typing import Any

import httpx

from tests.api.support import AUTH


async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    assert "json" in answer.headers["content-type"]
    found: dict[str, Any] = answer.json()
    return found


def operations(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{method} {path}": operation for path, item in found["paths"].items() for method, operation in item.items()}


def resolved(found: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    for key in part["$ref"].removeprefix("#/").split("/") if "$ref" in part else ():
        found = found[key]
    return found if "$ref" in part else part


async def test_operations_have_stable_ids_and_documented_errors(client: httpx.AsyncClient) -> None:
    found = await document(client)
    assert found["openapi"].startswith("3.1")
    known = operations(found)
    ids = [operation["operationId"] for operation in known.values()]
    assert len(set(ids)) == len(ids)
    assert known[f"post {AUTH}/login"]["operationId"] == "auth_login"
    for name, operation in known.items():
        if not name.split()[1].startswith("/api/"):
            continue
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"429", "500"} <= failures.keys(), name
        for answer in (resolved(found, answer) for answer in failures.values()):
            if not name.startswith("head "):
                assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    text = (await client.get("/openapi.json")).text
    found = await document(client)
    for kind, name in re.findall(r'"#/components/(\w+)/([^"]+)"', text):
        assert name in found["components"][kind]


async def test_the_document_tells_public_from_protected(client: httpx.AsyncClient) -> None:
    found = await document(client)
    assert found["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    key = found["components"]["securitySchemes"]["api_key"]
    assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "X-API-Key")
    assert found["security"] == [{"bearer": []}, {"api_key": []}]
    known = operations(found)
    assert known[f"post {AUTH}/login"]["security"] == [{}]
    assert known[f"get {AUTH}/profile"].get("security", found["security"]) == found["security"]
    for name in (f"patch {AUTH}/profile", f"post {AUTH}/logout-all", f"post {AUTH}/api-keys"):
        assert known[name]["security"] == [{"bearer": []}], "keys are not good for these"
    for name in (f"post {AUTH}/forgot-password", f"post {AUTH}/reset-password"):
        assert known[name]["security"] == [{}]
    for name, operation in known.items():
        method, path = name.split()
        if "{" in path or operation.get("security") == [{}]:
            continue
        assert (await client.request(method, path)).status_code == 401, name


async def test_no_document_or_page_asks_for_a_token_and_nothing_comes_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in page.text
    assert not re.findall(r"https?://|src=\"//|href=\"//|@import", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "innerHTML" not in page.text


async def test_bodies_of_accounts_come_with_examples(client: httpx.AsyncClient) -> None:
    schemas = (await document(client))["components"]["schemas"]
    for name, field in (
        ("RegisterRequest", "email"),
        ("LoginRequest", "password"),
        ("ApiKeyRequest", "scopes"),
        ("ChangeProfileRequest", "email"),
    ):
        assert len(schemas[name]["properties"][field]["examples"]) == 1, name
    assert "default" not in schemas["ChangeProfileRequest"]["properties"]["email"], "a generated client would send it"
