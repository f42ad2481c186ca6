"""Every error, whoever raises it, has the one form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Router, get, post
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from pydantic import Field

from api import errors
from api.body import RequestModel
from api.openapi import PUBLIC_OPT
from audio.errors import AudioTooShort
from settings import Settings
from tests.api.support import AUTH, Logs, error_of, make_app, running

RAISED: dict[str, Exception] = {
    "secret": RuntimeError("the inside: hunter2"),
    "audio": AudioTooShort("The recording is shorter than 3 s"),
    "unauthorized": NotAuthorizedException("inside"),
    "forbidden": PermissionDeniedException("not for you"),
    "many": TooManyRequestsException("slow down", headers={"Retry-After": "7"}),
    "teapot": HTTPException("short and stout", status_code=418),
    "bad_gateway": HTTPException("the inside: hunter2", status_code=502),
    "unavailable": errors.UnavailableError("The voices are away", retry_after=1000),
    "conflict": errors.ConflictError("Already there"),
    "missing": errors.NotFoundError("voice model"),
}


class Inner(RequestModel):
    speed: float = Field(ge=0.5, le=3)


class Order(RequestModel):
    text: str
    config: Inner


@get("/raise/{name:str}")
async def fail(name: FromPath[str]) -> None:
    raise RAISED[name]


@get("/number/{number:int}")
async def number(number: FromPath[int], size: FromQuery[int], share: Annotated[float, QueryParameter(ge=0, le=1)] = 0) -> None:
    return None


@post("/order")
async def order(data: JSONBody[Order]) -> None:
    return None


@get("/breaks")
async def breaks() -> Stream:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("midway")

    return Stream(body())


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(make_app(settings, Router("/x", route_handlers=[fail, number, order, breaks], opt=PUBLIC_OPT))) as made:
        yield made


X = "/api/v1/x"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("audio", 400, "AUDIO_TOO_SHORT"),
        ("unauthorized", 401, "UNAUTHORIZED"),
        ("forbidden", 403, "FORBIDDEN"),
        ("many", 429, "RATE_LIMITED"),
        ("teapot", 418, "IM_A_TEAPOT"),
        ("bad_gateway", 500, "INTERNAL_ERROR"),
        ("unavailable", 503, "INFERENCE_UNAVAILABLE"),
        ("conflict", 409, "CONFLICT"),
        ("missing", 404, "VOICE_MODEL_NOT_FOUND"),
    ],
)
async def test_what_handlers_raise(client: httpx.AsyncClient, name: str, status: int, code: str) -> None:
    error = error_of(await client.get(f"{X}/raise/{name}"), status, code)
    assert "inside" not in error["message"]


async def test_retry_after_is_kept_and_never_over_two_minutes(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{X}/raise/many")).headers["retry-after"] == "7"
    assert (await client.get(f"{X}/raise/unavailable")).headers["retry-after"] == "120"


async def test_a_500_names_the_request_and_hides_the_inside(client: httpx.AsyncClient, logs: Logs) -> None:
    answer = await client.get(f"{X}/raise/secret", headers={"X-Request-ID": "mine-1"})
    error = error_of(answer, 500, "INTERNAL_ERROR")
    assert error["details"] == {"request_id": "mine-1"}
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    (line,) = [line for line in logs.lines if line["level"] == "error"]
    assert line["request_id"] == "mine-1"
    assert "Traceback" in line["exception"]
    assert "RuntimeError: the inside: hunter2" in line["exception"]


async def test_expected_errors_leave_no_traceback(client: httpx.AsyncClient, logs: Logs) -> None:
    for name in ("audio", "unavailable", "conflict", "teapot"):
        await client.get(f"{X}/raise/{name}")
    assert not [line for line in logs.lines if line["level"] == "error"]


async def test_unknown_addresses(client: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", "/api", "/api/v1", "/api/v1/nope", "/api/v1/auth", "/%00", "/%ff", "/a/../b", "/schema"):
        for method in ("GET", "POST", "OPTIONS", "BREW"):
            error_of(await client.request(method, path), 404, "ROUTE_NOT_FOUND")
    error_of(await client.get("/openapi.json/x"), 404, "ROUTE_NOT_FOUND")


async def test_an_unknown_address_is_404_also_for_head_and_with_a_bad_token(client: httpx.AsyncClient) -> None:
    assert (await client.head("/nope")).status_code == 404
    error_of(await client.get("/nope", headers={"Authorization": "Bearer x"}), 404, "ROUTE_NOT_FOUND")


async def test_a_path_parameter_of_another_type_is_no_address(client: httpx.AsyncClient) -> None:
    error_of(await client.get(f"{X}/number/seven?size=1"), 404, "ROUTE_NOT_FOUND")


async def test_unknown_methods(client: httpx.AsyncClient) -> None:
    for method in ("PUT", "DELETE", "PATCH", "POST", "TRACE", "BREW"):
        answer = await client.request(method, "/health/live")
        error_of(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET, OPTIONS"


async def test_a_strange_host_is_a_bad_request(client: httpx.AsyncClient) -> None:
    error_of(await client.get("/health/live", headers={"Host": "not a host"}), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("query", "fields"),
    [("", {"size"}), ("size=many", {"size"}), ("size=1&share=2", {"share"}), ("size=x&share=y", {"size", "share"})],
)
async def test_query_parameters(client: httpx.AsyncClient, query: str, fields: set[str]) -> None:
    error = error_of(await client.get(f"{X}/number/7?{query}"), 400, "VALIDATION_ERROR")
    assert error["details"].keys() == fields
    assert "many" not in str(error)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"text": "a", "config": {"speed": 9}}, {"config.speed": "Input should be less than or equal to 3"}),
        ({"config": {}}, {"text": "is missing", "config.speed": "is missing"}),
        ([], {"body": "must be a JSON object"}),
        (None, {"body": "must be a JSON object"}),
        ({"text": "\x00", "config": {"speed": 1}}, {"text": "may not hold the character U+0000"}),
    ],
)
async def test_bodies_of_the_wrong_shape(client: httpx.AsyncClient, body: Any, details: dict[str, str]) -> None:
    answer = await client.post(f"{X}/order", content=httpx.Request("POST", "http://x", json=body).content if body is not None else b"null")
    assert error_of(answer, 400, "VALIDATION_ERROR")["details"] == details


async def test_malformed_json(client: httpx.AsyncClient) -> None:
    broken = (b"{", b"{'a': 1}", b'{"a": NaN}', b"\xff", b'"\xff"', b'"\\ud800"', b"[" * 100_000, b"{} {}", b"\xef\xbb\xbf{}", b"\x00")
    for content in broken:
        answer = await client.post(f"{X}/order", content=content, headers={"Content-Type": "application/json"})
        error_of(answer, 400, "MALFORMED_JSON")


async def test_an_empty_body(client: httpx.AsyncClient) -> None:
    error_of(await client.post(f"{X}/order"), 400, "MISSING_BODY")
    error_of(await client.post(f"{X}/order", headers={"Content-Type": "application/json"}), 400, "MISSING_BODY")


async def test_media_types(client: httpx.AsyncClient) -> None:
    for other in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/msgpack"):
        answer = await client.post(f"{X}/order", content=b"{}", headers={"Content-Type": other})
        error_of(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    for json_type in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"):
        answer = await client.post(f"{X}/order", content=b"{}", headers={"Content-Type": json_type})
        error_of(answer, 400, "VALIDATION_ERROR")


async def test_a_body_over_the_limit_announced_or_not(client: httpx.AsyncClient) -> None:
    error_of(await client.post(f"{X}/order", content=b" " * (1024 * 1024 + 1)), 413, "PAYLOAD_TOO_LARGE")

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    error_of(await client.post(f"{X}/order", content=unannounced()), 413, "PAYLOAD_TOO_LARGE")


async def test_a_client_that_leaves_midway_is_not_our_failure(settings: Settings, logs: Logs) -> None:
    app = make_app(settings, Router("/x", route_handlers=[order], opt=PUBLIC_OPT))
    sent: list[Any] = []
    events = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": f"{X}/order",
        "raw_path": f"{X}/order".encode(), "root_path": "", "query_string": b"", "headers": [], "client": None, "server": None,
    }  # fmt: skip

    async def receive() -> Any:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message)

    async with running(app):
        await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 400
    assert not [line for line in logs.lines if line["level"] == "error"]


async def test_an_answer_that_breaks_off_is_logged_once_begun(client: httpx.AsyncClient, logs: Logs) -> None:
    answer = await client.get(f"{X}/breaks")
    assert answer.status_code == 200
    assert [line["event"] for line in logs.lines if line["level"] == "error"] == ["request broke off"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "config", "speed"]), inner),
)


@given(VALUES)
def test_any_value_is_taken_or_refused_with_the_fields_at_fault(value: Any) -> None:
    try:
        taken = Order.model_validate(value)
    except errors.ValidationFailedError as error:
        refused = error
    else:
        assert 0.5 <= taken.config.speed <= 3
        assert "\x00" not in taken.text
        return
    assert refused.details
    assert refused.details.keys() <= {"body", "text", "config", "config.speed"}


@given(st.floats(min_value=-10, max_value=1e9))
def test_retry_after_is_between_1_and_120(seconds: float) -> None:
    assert 1 <= int(errors.ApiError("x", retry_after=seconds).headers["Retry-After"]) <= 120


async def test_an_error_of_the_handler_itself_is_still_an_envelope(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("in the handler")

    monkeypatch.setattr("api.error_handling.translate", broken)
    error_of(await client.get("/nope"), 500, "INTERNAL_ERROR")


async def test_errors_in_middleware_have_the_form(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("in the middleware")

    monkeypatch.setattr("api.auth.service.AuthService.authenticate", broken)
    error_of(await client.get(f"{AUTH}/profile", headers={"Authorization": "Bearer x"}), 500, "INTERNAL_ERROR")
