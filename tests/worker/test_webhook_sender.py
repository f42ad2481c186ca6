"""One request to a receiver: what it says, where it goes, and how it ends."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from store.clock import utcnow
from tests.receivers import Receiver, receiving, status
from worker.addresses import Addresses, parsed
from worker.signatures import hash_of, secret_of, signature
from worker.webhook_sender import Answer, WebhookSender

SECRET = secret_of(b"key", "wh_1", "salt")
BODY = '{"id":"evt_1","type":"job.completed","name":"é"}'


def test_a_known_signature() -> None:
    """The example of the specification's reference implementations."""
    made = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_differ_and_are_long() -> None:
    made = [secret_of(b"key", "wh_1", "a"), secret_of(b"key", "wh_1", "b"), secret_of(b"key", "wh_2", "a"), secret_of(b"yek", "wh_1", "a")]
    assert len({*made, *map(hash_of, made)}) == 8
    assert all(len(each) == len("whsec_") + 44 for each in made)


@pytest.fixture
async def sender() -> AsyncIterator[WebhookSender]:
    made = WebhookSender(Addresses(allow_private=True), timeout_s=10)
    yield made
    await made.close()


async def send(sender: WebhookSender, url: str) -> Answer:
    return await sender.send(url, message_id="evt_1", body=BODY, secret=SECRET)


async def test_what_is_sent(sender: WebhookSender) -> None:
    async with receiving() as receiver:
        answer = await send(sender, f"{receiver.url}?token=1")
        assert (answer.status_code, answer.reason) == (204, None)
        (got,) = receiver.received
    assert got.line == "POST /hook?token=1 HTTP/1.1"
    assert got.body.decode() == BODY
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "evt_1"
    assert int(got.headers["webhook-timestamp"]) == pytest.approx(time.time(), abs=30)
    assert got.is_signed_with(SECRET)
    assert not got.is_signed_with(secret_of(b"key", "wh_1", "another"))


@pytest.mark.parametrize("code", [200, 201, 202, 299])
async def test_every_2xx_is_taken(sender: WebhookSender, code: int) -> None:
    async with receiving(status(code)) as receiver:
        assert (await send(sender, receiver.url)).reason is None


@pytest.mark.parametrize("code", [400, 401, 404, 410, 429, 500, 503])
async def test_what_is_not_taken(sender: WebhookSender, code: int) -> None:
    async with receiving(status(code, "Retry-After: 120", body=b"a secret of the receiver's")) as receiver:
        answer = await send(sender, receiver.url)
    assert (answer.status_code, answer.reason, answer.retry_after_s) == (code, f"The receiver answered with status {code}", 120)
    assert answer.gone is (code == 410)


async def test_no_receiver_keeps_us_waiting_for_days(sender: WebhookSender) -> None:
    async with receiving(status(503, "Retry-After: 99999999"), status(503, "Retry-After: soon")) as receiver:
        assert (await send(sender, receiver.url)).retry_after_s == 3600
        assert (await send(sender, receiver.url)).retry_after_s == 0


async def test_redirects_are_not_followed(sender: WebhookSender) -> None:
    async with receiving() as target, receiving(status(302, f"Location: {target.url}")) as receiver:
        answer = await send(sender, receiver.url)
        assert answer.status_code == 302
        assert answer.reason == "The receiver answered with status 302; redirects are not followed"
        assert not target.connections


async def test_an_endless_answer_is_not_read(sender: WebhookSender) -> None:
    async with receiving(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nbegin") as receiver:
        assert (await send(sender, receiver.url)).reason is None


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 200 OK\r\nX-Slow: "])
async def test_a_receiver_that_does_not_answer(answer: bytes | None) -> None:
    sender = WebhookSender(Addresses(allow_private=True), timeout_s=0.3)
    async with receiving(answer) as receiver:
        got = await send(sender, receiver.url)
        assert (got.status_code, got.reason) == (None, "The receiver did not answer in time")
    await sender.close()


async def test_a_name_server_that_does_not_answer() -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    sender = WebhookSender(Addresses(allow_private=True, lookup=lookup), timeout_s=0.1)
    assert (await send(sender, "http://hooks.example/")).reason == "The receiver did not answer in time"
    await sender.close()


async def test_what_is_no_http(sender: WebhookSender) -> None:
    async with receiving(b"220 ready for mail\r\n\r\n") as receiver:
        assert (await send(sender, receiver.url)).reason == "The receiver could not be reached (RemoteProtocolError)"
    assert (await send(sender, receiver.url)).reason == "The receiver could not be reached (ConnectError)", "nobody listens any more"


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """`hooks.example` is known to no name server: whoever asked again would not find it."""
    async with receiving() as receiver:
        sender = named(receiver, "127.0.0.1")
        answer = await send(sender, f"http://hooks.example:{receiver.port}/hook")
        assert answer.reason is None
        assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"
        await sender.close()


async def test_the_next_address_is_tried_when_nobody_listens_at_the_first() -> None:
    async with receiving() as receiver:
        sender = named(receiver, "127.0.0.2", "::1", "127.0.0.1")
        assert (await send(sender, f"http://hooks.example:{receiver.port}/hook")).reason is None
        await sender.close()


async def test_the_certificate_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, trusting = certificate(tmp_path, "hooks.example")
    async with receiving(tls=server) as receiver:

        async def lookup(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        sender = WebhookSender(Addresses(allow_private=True, lookup=lookup), timeout_s=10, tls=trusting)
        assert (await send(sender, f"https://hooks.example:{receiver.port}/hook")).reason is None
        for other in ("other.example", "127.0.0.1"):
            answer = await send(sender, f"https://{other}:{receiver.port}/hook")
            assert answer.reason == "The receiver could not be reached (ConnectError)"
        assert len(receiver.received) == 1
        await sender.close()


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server of this name shows, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = utcnow()
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_connections_are_not_shared_by_what_comes_next(sender: WebhookSender) -> None:
    async with receiving() as receiver:
        for _ in range(2):
            await send(sender, receiver.url)
        assert receiver.connections == 2


async def test_a_name_that_leads_elsewhere_since_it_was_registered_is_refused() -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def lookup(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    addresses = Addresses(allow_private=False, lookup=lookup)
    sender = WebhookSender(addresses, timeout_s=5)
    async with receiving() as receiver:
        url = f"https://rebound.example:{receiver.port}/hook"
        await addresses.of(parsed(url, plain=False))
        answer = await send(sender, url)
        assert (answer.status_code, answer.reason) == (None, "The URL does not lead to an address on the public internet")
        assert not receiver.connections
    await sender.close()


def named(receiver: Receiver, *addresses: str) -> WebhookSender:
    async def lookup(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("hooks.example", receiver.port)
        return addresses

    return WebhookSender(Addresses(allow_private=True, lookup=lookup), timeout_s=10)
