"""The replicas of the inference service as one: who is asked, what is asked again, and when it is given up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
import msgspec
import structlog

import tracing
from worker.errors import AttemptFailedError, InferenceUnavailableError, WorkError
from worker.inference.budget import RetryBudget
from worker.inference.places import Places
from worker.inference.replicas import Lookup, Replica, Replicas, look_up
from worker.inference.wire import UnusableAnswerError

RETRIES = 3
UNUSABLE_REPEATS = 1
BACKOFF_S, LONGEST_BACKOFF_S = 0.25, 8.0
"""The pause before a repeat is drawn between nothing and this, twice as much before each further one (full jitter)."""
PATIENCE_S = 30.0
"""Most that is waited for a busy replica; the service never tells more. Told to come back later than that, the job goes back."""
LONGEST_BUSY_S = 120.0
"""A replica that asks for more is asked again then."""
CONNECT_S = 3.0
KEEP_ALIVE_S = 4.0
"""The service closes a connection that was idle for 5 s. Whoever uses one in that moment loses a request."""
BUSY = {429, 502, 503, 504}
LIVE = "u=1"
"""Of the header `Priority` (RFC 9218): more urgent than 3, which is what is said without it."""

Body = Callable[[float], Mapping[str, Any]]
"""A request's body when there are so many seconds left for its answer."""
T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    """What is asked, and what `read` makes of the answer. `about`: headers of its own."""

    method: str
    path: str
    body: Body | None
    read: Callable[[bytes], T]
    about: Mapping[str, str]
    live: bool

    @property
    def work(self) -> str:
        """For what a replica that is busy wants to be left alone: it keeps places for live requests that others may not have."""
        return f"{self.path} live" if self.live else self.path


class _PassingError(Exception):
    """An attempt that may be repeated. `wait_s` is how long the replica has asked to be left alone."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


class Tier:
    """Sends requests to the inference service.

    Everything that it is asked may be asked twice: synthesis and its like have no effect but their answer, and a training is named by
    whoever asks for it. So a connection that was lost half-way is no reason to give up. An answer that did not come in time is: what the
    service cannot do in its time would otherwise be asked of it for ever.
    """

    def __init__(
        self,
        addresses: str,
        *,
        connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        lookup: Lookup | None = look_up,
    ) -> None:
        self._clock = clock
        self._budget = RetryBudget()
        # Made once: reading the certificates takes longer than all else of a client.
        trusted = httpx.create_ssl_context(trust_env=False) if transport is None else True
        # The time for the whole answer is kept here: a client's own would begin anew with every byte.
        timeout, limits = httpx.Timeout(None, connect=CONNECT_S), httpx.Limits(keepalive_expiry=KEEP_ALIVE_S)

        def client() -> httpx.AsyncClient:
            return httpx.AsyncClient(verify=trusted, timeout=timeout, limits=limits, transport=transport, trust_env=False)

        self._asking = client()  # whether they are ready
        self.replicas = Replicas(
            addresses, places=lambda: Places(connections, client), clock=clock, lookup=lookup if transport is None else None
        )

    async def close(self) -> None:
        await self._asking.aclose()
        await self.replicas.close()

    async def send(
        self,
        method: str,
        path: str,
        body: Body | None,
        read: Callable[[bytes], T],
        *,
        timeout_s: float,
        retries: int | None = None,
        request_id: str | None = None,
        live: bool = False,
        affinity: str | None = None,
    ) -> T:
        """What `read` makes of the answer, within `timeout_s`, repeats and pauses included.

        Requests with the same `affinity` go to the same replica, where a `live` one comes before others. Raises InferenceUnavailableError
        where nobody can answer now, AttemptFailedError where it took too long, was refused or came to nothing usable, and what `read`
        raises.
        """
        deadline = self._clock() + timeout_s
        about = {"X-Request-ID": request_id} if request_id else {}
        request = _Request(method, path, body, read, about | ({"Priority": LIVE} if live else {}), live)
        self._budget.earn()
        tried: list[Replica] = []
        unusable = 0
        left = RETRIES if retries is None else retries
        while True:
            replica = await self._free(request.work, tried, affinity, deadline)
            failure: WorkError
            try:
                return await self._attempt(replica, request, deadline)
            except _PassingError as passing:
                reason, failure = passing.reason, InferenceUnavailableError(max(5.0, passing.wait_s))
            except UnusableAnswerError as answered:
                unusable += 1
                reason, failure = "unusable answer", answered
            if left == 0 or unusable > UNUSABLE_REPEATS or self.replicas.choose(request.work, affinity=affinity) is None:
                raise failure
            if not self._budget.spend():
                log.warning("inference retry budget spent", path=path, reason=reason)
                raise failure
            wait = random.uniform(0, min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** len(tried)))  # noqa: S311 - jitter, not a secret
            if self._clock() + wait >= deadline:
                raise failure
            left -= 1
            tried.append(replica)
            log.info("inference retry", path=path, reason=reason, replica=replica.name, attempt=len(tried), wait_s=round(wait, 2))
            await pause(wait)

    async def ready(self, timeout_s: float) -> bool:
        """Whether a replica says so; asked past the breakers, as a replica that is ready need not work."""
        await self.replicas.refresh()

        async def says_so(replica: Replica) -> bool:
            try:
                sent = headers_of(replica, {}, has_body=False)
                answer = await self._asking.request(
                    "GET", f"{replica.url}/readyz", timeout=timeout_s, headers=sent, extensions=dict(replica.extensions)
                )
            except httpx.HTTPError:
                return False
            return answer.status_code == httpx.codes.OK

        return any(await asyncio.gather(*map(says_so, self.replicas.known)))

    async def _free(self, work: str, tried: list[Replica], affinity: str | None, deadline: float) -> Replica:
        """The replica to ask, waited for where all have asked to be left alone."""
        while True:
            await self.replicas.refresh()
            replica = self.replicas.choose(work, avoid=tried, affinity=affinity)
            if replica is None:
                raise InferenceUnavailableError(max(5.0, self.replicas.rest_s()))
            wait = replica.busy_until(work) - self._clock()
            if wait <= 0:
                return replica
            if wait > PATIENCE_S or self._clock() + wait >= deadline:
                raise InferenceUnavailableError(max(5.0, wait))
            # Not all at the same moment, and never before it.
            await pause(wait + random.uniform(0, BACKOFF_S))  # noqa: S311 - jitter, not a secret

    async def _attempt(self, replica: Replica, request: _Request[T], deadline: float) -> T:
        with replica.asked():
            try:
                async with replica.places.take(deadline - self._clock()) as client:
                    answer = await self._ask(client, replica, request, deadline)
            except TimeoutError as full:
                raise InferenceUnavailableError from full
            return self._judged(replica, request, answer)

    async def _ask(self, client: httpx.AsyncClient, replica: Replica, request: _Request[T], deadline: float) -> httpx.Response:
        left = deadline - self._clock()
        content = msgspec.json.encode(request.body(left)) if request.body is not None else None
        sent = headers_of(replica, request.about, has_body=content is not None)
        url = f"{replica.url}{request.path}"
        try:
            async with asyncio.timeout(left):
                return await client.request(request.method, url, content=content, headers=sent, extensions=dict(replica.extensions))
        except (TimeoutError, httpx.ReadTimeout) as slow:
            replica.fail()
            raise AttemptFailedError("INFERENCE_TIMEOUT", "The speech service did not answer in time") from slow
        except httpx.HTTPError as lost:
            replica.fail()
            raise _PassingError(type(lost).__name__) from lost

    def _judged(self, replica: Replica, request: _Request[T], answer: httpx.Response) -> T:
        """What `read` makes of the answer, or what its status means, and what both say of the replica."""
        if not answer.is_success:
            raise self._refusal(replica, request.work, answer)
        try:
            value = request.read(answer.content)
        except UnusableAnswerError:
            replica.fail()
            raise
        except WorkError:  # it has said no, as one that works
            replica.breaker.succeed()
            raise
        replica.breaker.succeed()
        return value

    def _refusal(self, replica: Replica, work: str, answer: httpx.Response) -> Exception:
        status, wait = answer.status_code, _retry_after(answer)
        if status not in BUSY:
            if status >= 500:
                replica.fail()
            log.error("inference refused", path=work, status=status, replica=replica.name)
            return AttemptFailedError("SYNTHESIS_FAILED", f"The speech service refused the request (status {status})")
        if status == httpx.codes.TOO_MANY_REQUESTS:
            replica.breaker.succeed()
        elif wait is None:  # one that says when to come back is busy or starting, not broken
            replica.fail()
        if wait is not None:
            replica.rest_until(work, self._clock() + wait)
        return _PassingError(str(status), wait or 0.0)


def headers_of(replica: Replica, about: Mapping[str, str], *, has_body: bool) -> dict[str, str]:
    """All headers of a request that are not the network library's own."""
    headers = {**replica.headers, **about}
    if has_body:
        headers["Content-Type"] = "application/json"
    if (traced := tracing.traceparent()) is not None:
        headers[tracing.HEADER] = traced
    return headers


async def pause(seconds: float) -> None:
    """Between two attempts."""
    await asyncio.sleep(seconds)


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds; None where the header is missing or is not a number of them."""
    value = answer.headers.get("Retry-After", "")
    return min(LONGEST_BUSY_S, float(value)) if value.isascii() and value.isdecimal() else None
