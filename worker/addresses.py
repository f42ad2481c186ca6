"""Which addresses people may have this server speak to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from worker.errors import WorkError

MAX_URL_LENGTH = 2048
MAX_PORT = 65535
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""IP addresses of a host name. Raises OSError."""

# What `is_global` of the standard library lets pass and is no business of a stranger all the same.
_CLOSED = tuple(
    ip_network(net)
    for net in (
        "192.0.0.0/24",  # protocol assignments, among them a cloud's metadata
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # a cloud's metadata, on a public address
        "::/96",  # IPv4 in IPv6, the deprecated way
        "2002::/16",  # 6to4 and Teredo carry any IPv4 address in them
        "2001::/32",
        "64:ff9b:1::/48",
        "fec0::/10",
    )
)
_NAT64 = ip_network("64:ff9b::/96")


class AddressRefusedError(WorkError):
    """The address is not one to speak to. It does not say why: that would tell strangers what the names of our network are."""

    def __init__(self) -> None:
        super().__init__("does not lead to an address on the public internet")


class InvalidAddressError(WorkError):
    """This is no address of a receiver; the message says why."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """As the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def parsed(url: str, *, plain: bool) -> httpx.URL:
    """The URL of a receiver: absolute, https (or http, if `plain`), without user, password and fragment.

    Raises:
        InvalidAddressError: it is not.
    """
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise InvalidAddressError("must be a URL") from None
    schemes = ("https", "http") if plain else ("https",)
    if address.scheme not in schemes or not address.host:
        raise InvalidAddressError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if address.port is not None and not 1 <= address.port <= MAX_PORT:
        raise InvalidAddressError(f"must name a port from 1 to {MAX_PORT}, if any")
    if address.userinfo or address.fragment:
        raise InvalidAddressError("may hold neither a user nor a password nor a fragment")
    return address


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, where anybody may be spoken to."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
    closed = any(ip in network for network in _CLOSED if network.version == ip.version)
    return ip.is_global and not ip.is_multicast and not closed


class Addresses:
    """From a host to the addresses that may be connected to. Whoever connects takes these, and asks no name server again."""

    def __init__(self, *, allow_private: bool, lookup: Lookup = look_up) -> None:
        self.allow_private = allow_private
        self.lookup = lookup

    async def of(self, url: httpx.URL) -> Sequence[str]:
        """At least one address.

        Raises:
            AddressRefusedError: the host has no address, or any of them is not public.
        """
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await self.lookup(url.raw_host.decode("ascii").strip("[]"), port)
            public = all(is_public(address) for address in found)
        except (OSError, ValueError):  # the latter: what is no host name at all, or an answer that is no address
            raise AddressRefusedError from None
        if not found or not (public or self.allow_private):
            raise AddressRefusedError
        return found
