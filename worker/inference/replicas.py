"""Which replicas of the inference service there are, and which is asked next."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import random
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import structlog

from worker.inference.breaker import Breaker
from worker.inference.places import Places

LOOK_UP_S = 10.0
"""How long what a name resolved to is taken for true."""
LOOK_UP_TIMEOUT_S = 2.0

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Host name and port to IP addresses. Raises OSError."""

log = structlog.get_logger(__name__)


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of one family that a name has, that with the most of them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append(str(address[0]))
    return max(families.values(), key=len, default=[])


@dataclass(eq=False)
class Replica:
    """One process behind one address. `in_flight` counts those that wait for a place, too.

    `headers` and `extensions` go with every request, so that one that is reached by its IP address hears the name that was asked for.
    """

    url: httpx.URL
    breaker: Breaker
    places: Places
    headers: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    in_flight: int = 0
    _busy_until: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Host and port, for logs: an address may hold a password."""
        return self.url.netloc.decode("ascii")

    def busy_until(self, work: str) -> float:
        """When it wants to be asked for this again: a path, or a part of its requests. One without room for sound may have time to plan."""
        return self._busy_until.get(_kind(work), 0.0)

    def rest_until(self, work: str, moment: float) -> None:
        self._busy_until[_kind(work)] = max(moment, self.busy_until(work))

    def fail(self) -> None:
        """It has not answered, or answered as one that is broken."""
        closed = self.breaker.closed
        self.breaker.fail()
        if closed and not self.breaker.closed:
            log.warning("inference replica left alone", replica=self.name, rest_s=round(self.breaker.rest_s, 1))

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While a request is under way."""
        probe = self.breaker.begin()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if probe:
                self.breaker.abandon()


class Replicas:
    """The replicas behind one or several addresses.

    An address whose name resolves to several IP addresses, such as that of a headless service, stands for a replica each. A name with one
    is left to the network library, which knows how to try IPv6 and IPv4.

    Args:
        addresses: base addresses with commas between.
        places: makes those of one replica.
        lookup: None leaves the names alone.
    """

    def __init__(self, addresses: str, *, places: Callable[[], Places], clock: Callable[[], float], lookup: Lookup | None) -> None:
        self._addresses = [httpx.URL(address.strip().rstrip("/")) for address in addresses.split(",") if address.strip()]
        self._places, self._clock, self._lookup = places, clock, lookup
        self._stale_at = clock()
        self._known = {url: self._replica(url) for url in self._addresses}

    @property
    def known(self) -> list[Replica]:
        return list(self._known.values())

    def _replica(self, url: httpx.URL, name: httpx.URL | None = None) -> Replica:
        breaker, places = Breaker(self._clock), self._places()
        if name is None:
            return Replica(url, breaker, places)
        return Replica(url, breaker, places, {"Host": name.netloc.decode("ascii")}, {"sni_hostname": name.host})

    async def refresh(self) -> None:
        """Look the names up where that was long ago. A name that cannot be looked up keeps the replicas it had."""
        if self._lookup is None or self._clock() < self._stale_at:
            return
        self._stale_at = self._clock() + LOOK_UP_S  # set first, so that nobody else waits for the same answer
        known: dict[httpx.URL, Replica] = {}
        for name in self._addresses:
            for url in await self._resolved(name, self._lookup):
                known[url] = self._known.get(url) or self._replica(url, name if url != name else None)
        if known.keys() != self._known.keys():
            log.info("inference replicas", replicas=[replica.name for replica in known.values()])
        before, self._known = self._known, known
        for url in before.keys() - known.keys():
            await before[url].places.close()

    async def _resolved(self, name: httpx.URL, lookup: Lookup) -> list[httpx.URL]:
        if _is_ip(name.host):
            return [name]
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                found = await lookup(name.host, name.port or (443 if name.scheme == "https" else 80))
        except OSError as error:  # TimeoutError is one
            log.warning("inference address not resolved", host=name.host, reason=type(error).__name__)
            told = name.netloc.decode("ascii")
            return [url for url, replica in self._known.items() if url == name or replica.headers.get("Host") == told] or [name]
        found = sorted(set(found))
        return [name.copy_with(host=address) for address in found] if len(found) > 1 else [name]

    def choose(self, work: str, *, avoid: Collection[Replica] = (), affinity: str | None = None) -> Replica | None:
        """The replica to ask for this; None where the breakers let nothing through.

        Of those that are not busy, or will be free first, and not among `avoid`, if there are such, the one with the fewest requests in
        flight. With an `affinity` the same one for the same word, as long as the replicas stay the same: that one or none.
        """
        if affinity is not None:
            home = max(self.known, key=lambda replica: hashlib.sha256(f"{affinity} {replica.url}".encode()).digest())
            return home if home.breaker.admits else None
        now, admitted = self._clock(), [replica for replica in self.known if replica.breaker.admits]
        # Of equals any one, or all workers would begin with the first.
        random.shuffle(admitted)
        return min(admitted, key=lambda r: (max(now, r.busy_until(work)), r in avoid, r.in_flight), default=None)

    async def close(self) -> None:
        for replica in self.known:
            await replica.places.close()

    def rest_s(self) -> float:
        """Seconds until some breaker lets a probe through."""
        return min((replica.breaker.rest_s for replica in self.known), default=0.0)


def _kind(work: str) -> str:
    """Without ids in the path, of which there is no end."""
    return "/".join(work.split("/")[:2])


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
