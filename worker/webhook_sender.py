"""One signed POST to a receiver that somebody has named."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from worker.addresses import Addresses, AddressRefusedError, InvalidAddressError, parsed
from worker.signatures import signature

MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. `reason` is for the owner of the webhook, and None when the receiver has taken it."""

    status_code: int | None
    reason: str | None
    duration_ms: int
    retry_after_s: float = 0.0

    @property
    def gone(self) -> bool:
        """The receiver wants to hear no more of it."""
        return self.status_code == httpx.codes.GONE


class WebhookSender:
    """Sends to the addresses that were checked, whatever the name server says next, follows no redirect and reads no answer's body."""

    def __init__(self, addresses: Addresses, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: whose certificates are trusted; what httpx trusts unless given."""
        self.addresses = addresses
        self.timeout_s = timeout_s
        # A connection is good for one request: the next host at the same address is not the one whose certificate was looked at.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False, trust_env=False, verify=tls or True)

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, url: str, *, message_id: str, body: str, secret: str) -> Answer:
        """One attempt, of at most `timeout_s` seconds from the first look at the name server to the status of the answer."""
        began = time.perf_counter()
        status: int | None = None
        retry_after = 0.0
        try:
            async with asyncio.timeout(self.timeout_s):
                status, retry_after = await self._post(url, message_id, body, secret)
            reason = None if 200 <= status < 300 else f"The receiver answered with status {status}"
            if status in range(300, 400):
                reason = f"The receiver answered with status {status}; redirects are not followed"
        except (TimeoutError, httpx.TimeoutException):
            reason = "The receiver did not answer in time"
        except (AddressRefusedError, InvalidAddressError) as refused:
            reason = f"The URL {refused}"
        except (httpx.HTTPError, httpx.InvalidURL) as broken:
            reason = f"The receiver could not be reached ({type(broken).__name__})"
        return Answer(status, reason, round((time.perf_counter() - began) * 1000), retry_after)

    async def _post(self, url: str, message_id: str, body: str, secret: str) -> tuple[int, float]:
        target = parsed(url, plain=self.addresses.allow_private)
        addresses = await self.addresses.of(target)
        timestamp = int(time.time())
        headers = {
            "Host": target.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "Voxify-Webhooks/1",
            "Webhook-Id": message_id,
            "Webhook-Timestamp": str(timestamp),
            "Webhook-Signature": signature(secret, message_id, timestamp, body),
        }
        return await self._first(target, addresses, headers, body.encode())

    async def _first(self, target: httpx.URL, addresses: Sequence[str], headers: dict[str, str], body: bytes) -> tuple[int, float]:
        """The answer of the first address that can be connected to."""
        # The name goes into the TLS handshake, so that the certificate is checked against it and not against the bare address.
        extensions = {"sni_hostname": target.raw_host.decode("ascii")}
        for address in addresses[:-1]:
            try:
                return await self._at(target.copy_with(host=address), headers, body, extensions)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._at(target.copy_with(host=addresses[-1]), headers, body, extensions)

    async def _at(self, url: httpx.URL, headers: dict[str, str], body: bytes, extensions: dict[str, str]) -> tuple[int, float]:
        async with self._http.stream("POST", url, headers=headers, content=body, extensions=extensions) as answer:
            wait = answer.headers.get("Retry-After", "")
            return answer.status_code, min(MAX_RETRY_AFTER_S, float(wait)) if wait.isdecimal() else 0.0
