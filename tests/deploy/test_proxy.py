"""Voxify behind the proxies of deploy/proxy: TLS, streams, uploads, whose address counts, and what is not for everybody."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from litestar import Litestar, get
from litestar.response import Stream
from pydantic import SecretStr

from api.jobs.events import PING_S
from api.samples.routes import FORM_OVERHEAD
from settings import Settings
from store.clock import utcnow
from store.ids import new_id
from store.models import Job
from tests.api.inference import FakeInference
from tests.api.rooms import Caller
from tests.api.serving import serving
from tests.api.support import AUTH, SignedIn, make_app, sign_up
from tests.proxies import CADDYFILE, NGINX, Proxy, caddy, nginx
from tests.servers import free_port

T = TypeVar("T")
ANONYMOUS = 50  # requests a minute of one address
PROFILE = f"{AUTH}/profile"
DRIP = "/api/v1/drip"
# Each is sent as it is here; clients would tidy some of them up.
CLOSED = (
    "/metrics",
    "/metrics/",
    "//metrics",
    "/%6detrics",
    "/api/../metrics",
    "/api/v1/..%2f..%2fmetrics",
    "/health/ready",
    "/",
    "/nothing",
)


class Tap:
    """An answer whose second part comes when it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def route(self) -> Any:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            await asyncio.to_thread(self.open.wait, 30)
            yield b"two"

        @get("/drip", opt={"exclude_from_auth": True})
        async def drip() -> Stream:
            return Stream(parts(), media_type="audio/mpeg")

        return drip


@dataclass(frozen=True)
class Served:
    """The app on a port, in a thread, and somebody signed in."""

    port: int
    app: Litestar
    loop: asyncio.AbstractEventLoop
    who: SignedIn
    tap: Tap

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of `work` in the app's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    @property
    def owner(self) -> Caller:
        """To make rows and objects with; it has no client."""
        return Caller(None, self.who, self.app, FakeInference())  # type: ignore[arg-type]


@contextmanager
def served(settings: Settings) -> Iterator[Served]:
    tap = Tap()
    app = make_app(settings, tap.route(), inference_transport=FakeInference().transport)
    made: list[tuple[asyncio.AbstractEventLoop, SignedIn]] = []

    async def prepare(client: httpx.AsyncClient) -> None:
        made.append((asyncio.get_running_loop(), await sign_up(client, "somebody@example.com")))

    with serving(app, prepare, proxy_headers=False, server_header=False) as port:
        try:
            yield Served(port, app, *made[0], tap)
        finally:
            tap.open.set()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(  # type: ignore[call-arg]
        env="dev",
        data_dir=tmp_path_factory.mktemp("api"),
        jwt_secret=SecretStr("s" * 32),
        trusted_proxies="127.0.0.1",
        anonymous_requests_per_minute=ANONYMOUS,
        _env_file=None,
    )
    with served(settings) as found:
        yield found


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, api: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with started(request.param, tmp_path_factory.mktemp(request.param), api.port) as found:
        yield found


def started(kind: str, folder: Path, port: int) -> Any:
    return (nginx if kind == "nginx" else caddy)(folder, f"127.0.0.1:{port}")


@contextmanager
def client_of(proxy: Proxy, address: str = "127.0.0.2") -> Iterator[httpx.Client]:
    """Somebody at another address than the proxy's."""
    transport = httpx.HTTPTransport(verify=proxy.trust, local_address=address)
    with httpx.Client(transport=transport, base_url=proxy.url, timeout=30) as client:
        yield client


def error_of(answer: httpx.Response, status: int, code: str) -> None:
    """The form that all errors have, whoever gives them."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert (body["success"], body["error"]["code"]) == (False, code)
    assert body["error"]["message"]
    for said in (body["timestamp"], body["error"]["timestamp"]):
        assert said.endswith("Z")
        assert abs(datetime.fromisoformat(said) - datetime.now(UTC)) < timedelta(minutes=2)


def test_all_goes_over_tls(proxy: Proxy, api: Served) -> None:
    with client_of(proxy) as client:
        page = client.get("/docs")
        assert (page.status_code, "Voxify" in page.text) == (200, True)
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        for answer in (page, client.get("/api/v1/none"), client.get("/health/live")):
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            assert answer.headers["x-content-type-options"] == "nosniff"
    plain = httpx.get(f"http://localhost:{proxy.http_port}/api/v1/job?limit=1")
    assert plain.status_code == 308
    assert re.fullmatch(r"https://localhost(:\d+)?/api/v1/job\?limit=1", plain.headers["location"])
    direct = httpx.get(f"http://127.0.0.1:{api.port}/health/live")
    assert "strict-transport-security" not in direct.headers, "who has no TLS must not promise it"


def test_what_is_for_ones_own_network_is_not_there(proxy: Proxy, api: Served) -> None:
    assert "voxify_http_requests" in httpx.get(f"http://127.0.0.1:{api.port}/metrics").text, "it is there for who may see it"
    for path in CLOSED:
        connection = http.client.HTTPSConnection("localhost", proxy.https_port, context=proxy.trust, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        assert answer.status == 404, (path, said)
        assert json.loads(said)["error"]["code"] == "ROUTE_NOT_FOUND", path


def test_sound_goes_out_as_it_is_made(proxy: Proxy, api: Served) -> None:
    api.tap.open.clear()
    with client_of(proxy) as client, client.stream("GET", DRIP) as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"one", "the rest is not made yet"
        api.tap.open.set()
        assert b"".join(parts) == b"two"


def test_events_come_as_they_happen(proxy: Proxy, api: Served) -> None:
    job_id = new_id("job")
    later = utcnow() + timedelta(days=1)  # no worker takes it
    api.do(api.owner.add(Job(id=job_id, user_id=api.who.id, text_content="Hello.", voice_model_id="vc_1", available_at=later)))
    with client_of(proxy) as client, client.stream("GET", f"/api/v1/job/{job_id}/progress", headers=api.who.headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = (json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:"))
        assert next(events)["status"] == "pending", "it comes while the stream is open"
        client.patch(f"/api/v1/job/{job_id}", json={"status": "cancelled"}, headers=api.who.headers).raise_for_status()
        assert [event.get("status", event.get("event")) for event in events] == ["cancelled", "complete"]


def test_parts_of_files_can_be_asked_for(proxy: Proxy, api: Served) -> None:
    sound = bytes(range(256)) * 400
    api.do(api.owner.stores.objects.put("jobs/job_1/1.mp3", sound))
    job_id = api.do(api.owner.job_row(output_path="jobs/job_1/1.mp3", output_format="mp3"))
    with client_of(proxy) as client:
        path, headers = f"/api/v1/file/synthesis/{job_id}", api.who.headers
        whole = client.get(path, headers=headers)
        assert whole.content == sound
        part = client.get(path, headers={**headers, "Range": "bytes=100-299"})
        assert (part.status_code, part.content) == (206, sound[100:300])
        assert part.headers["content-range"] == f"bytes 100-299/{len(sound)}"
        assert client.head(path, headers=headers).headers["content-length"] == str(len(sound))
        assert client.get(path, headers={**headers, "If-None-Match": whole.headers["etag"]}).status_code == 304


def test_an_upload_may_be_as_large_as_the_api_says(proxy: Proxy, api: Served) -> None:
    limit = Settings.model_fields["max_upload_bytes"].default

    def upload(size: int) -> httpx.Response:
        return client.post(
            "/api/v1/voice/samples", files={"file": ("a.wav", bytes(size))}, data={"name": "A voice"}, headers=api.who.headers
        )

    with client_of(proxy) as client:
        fits = upload(limit)
        assert (fits.status_code, fits.json()["error"]["code"]) == (400, "INVALID_AUDIO"), "it has arrived, and is no sound"
        one_more = upload(limit + 1)
        error_of(one_more, 413, "PAYLOAD_TOO_LARGE")
        assert one_more.headers["x-request-id"], "the API itself says so, and what fits"
        error_of(upload(limit + 4 * 1024 * 1024), 413, "PAYLOAD_TOO_LARGE")


def test_who_asks_is_who_the_proxy_sees(proxy: Proxy, api: Served) -> None:
    number = {"nginx": 1, "caddy": 2}[proxy.kind]
    one, other, direct = (f"127.{each}.{number}.1" for each in (1, 2, 3))

    def left(client: httpx.Client, **headers: str) -> int:
        answer = client.get(PROFILE, headers=headers)
        assert answer.status_code == 401
        return int(answer.headers["x-ratelimit-remaining"])

    forged = {"X-Forwarded-For": one, "Forwarded": f"for={one}", "X-Real-IP": one}
    with client_of(proxy, one) as client, client_of(proxy, other) as another:
        assert left(client) == ANONYMOUS - 1
        assert left(client, **{**forged, "X-Forwarded-For": "198.51.100.7"}) == ANONYMOUS - 2, "no new budget by a forged header"
        assert left(another, **forged) == ANONYMOUS - 1, "and nothing of another's is used up"
        assert left(client) == ANONYMOUS - 3
    transport = httpx.HTTPTransport(local_address=direct)
    with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{api.port}") as around:
        assert left(around, **forged) == ANONYMOUS - 1, "who comes past the proxy is not believed"


def test_a_request_keeps_its_name(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        assert client.get("/health/live", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
        named = client.get("/health/live").headers.get_list("x-request-id")
        assert len(named) == 1
        assert named[0]
    if proxy.kind == "nginx":
        assert "mine-1" in proxy.wait_for(named[0])


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_an_api_that_is_away_is_said_in_the_form_of_errors_and_no_signature_is_logged(kind: str, tmp_path: Path) -> None:
    with started(kind, tmp_path, free_port()) as alone, client_of(alone) as client:
        answer = client.get(
            "/api/v1/files/audio/job_1?sig=1795199724.AbCdEfGh", headers={"X-API-Key": "vxk_secret", "X-Request-ID": "away-1"}
        )
        error_of(answer, 503, "API_UNAVAILABLE")
        assert answer.headers["retry-after"] == "5"
        assert answer.headers["strict-transport-security"]
        client.get("/api/v1/files/audio/job_2")
        log = alone.wait_for("/api/v1/files/audio/job_2")
    assert "/api/v1/files/audio/job_1" in log
    assert "AbCdEfGh" not in log
    assert "vxk_secret" not in log


def test_one_address_holds_so_many_connections_and_no_more(api: Served, tmp_path: Path) -> None:
    api.tap.open.clear()
    changes = {"limit_conn voxify_clients 200;": "limit_conn voxify_clients 1;"}
    with ExitStack() as stack:
        proxy = stack.enter_context(nginx(tmp_path, f"127.0.0.1:{api.port}", changes))
        client = stack.enter_context(client_of(proxy))
        held = stack.enter_context(client.stream("GET", DRIP))
        parts = held.iter_raw()  # to let go of it would close the connection
        assert next(parts) == b"one"
        refused = client.get("/health/live")
        error_of(refused, 429, "RATE_LIMITED")
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        with client_of(proxy, "127.0.0.3") as other:
            assert other.get("/health/live").status_code == 200
        api.tap.open.set()


def test_times_and_sizes_go_with_the_settings() -> None:
    """What takes too long to wait for: silences that the API allows itself."""
    fields = Settings.model_fields
    speaking_s = fields["clone_wait_s"].default + fields["inference_timeout_s"].default
    nginx_text, caddy_text = NGINX.read_text(), CADDYFILE.read_text()
    (read_s,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx_text)
    (answer_min,) = re.findall(r"response_header_timeout (\d+)m", caddy_text)
    for allowed_s in (int(read_s), int(answer_min) * 60):
        assert allowed_s > max(2 * PING_S, speaking_s)
    (size_mb,) = re.findall(r"client_max_body_size (\d+)m;", nginx_text)
    assert int(size_mb) * 1024 * 1024 > fields["max_upload_bytes"].default + FORM_OVERHEAD
