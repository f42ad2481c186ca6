"""Whom strangers may have this server speak to: anybody on the public internet, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from worker.addresses import Addresses, AddressRefusedError, InvalidAddressError, is_public, parsed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
        "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "168.63.129.16", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:4136:e378::1", "2001:db8::1",
        "fec0::1",
    ],
)  # fmt: skip
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700:4700::1111"])
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "", "no url", "/hook", "//example.com/hook", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https://",
        "https:///hook", "http://example.com/", "https://user@example.com/", "https://user:word@example.com/", "https://example.com/#part",
        "https://example.com:0/", "https://example.com:99999/", "https://example.com/\n", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_what_is_no_receiver(url: str) -> None:
    with pytest.raises(InvalidAddressError):
        parsed(url, plain=False)


def test_plain_http_is_for_ones_own_network() -> None:
    assert parsed("http://example.com/", plain=True).host == "example.com"


def found(*addresses: str) -> Addresses:
    async def lookup(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("example.com", 443)
        return addresses

    return Addresses(allow_private=False, lookup=lookup)


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    url = parsed("https://example.com/", plain=False)
    assert await found("8.8.8.8", "2606:4700:4700::1111").of(url) == ("8.8.8.8", "2606:4700:4700::1111")
    for addresses in (("8.8.8.8", "10.0.0.1"), ("::1", "8.8.8.8"), (), ("no address",)):
        with pytest.raises(AddressRefusedError):
            await found(*addresses).of(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "[::ffff:7f00:1]"]
)
async def test_however_this_machine_is_written(host: str) -> None:
    """By the resolver of the system itself."""
    with pytest.raises(AddressRefusedError):
        await Addresses(allow_private=False).of(parsed(f"https://{host}/", plain=False))


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "a%20b", "host.invalid"])
async def test_what_no_name_server_knows(host: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(AddressRefusedError):
            await Addresses(allow_private=allow_private).of(parsed(f"https://{host}/", plain=False))
