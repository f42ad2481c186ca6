"""Mail: to a real SMTP server, to the outbox, and not in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from litestar import Litestar
from pydantic import SecretStr, ValidationError
from sqlalchemy import select, update

from api.mail.background import Background
from api.mail.messages import account_changed, password_reset
from api.mail.transports import MailFailedError, Outbox, Smtp, transport
from settings import Settings
from store.clock import utcnow
from store.models import Job
from store.models.job import MAIL
from tests.api.accounts import later, mail_settled
from tests.api.inference import FakeInference
from tests.api.rooms import caller
from tests.api.support import AUTH, Logs, SignedIn, make_app, running, sign_up
from tests.api.support import PASSWORD as ACCOUNT_PASSWORD

USER, PASSWORD = "voxify", "a secret of the mail server"


class Inbox(Sink):
    """Keeps what comes, or refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Envelope] = []
        self.refusal = ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        self.mails.append(envelope)
        return "250 OK"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@asynccontextmanager
async def serving(inbox: Inbox, **options: Any) -> AsyncIterator[int]:
    """A server in the test's own loop, at the port that it gives."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, hostname="mail.test", loop=loop, **options), "127.0.0.1", 0)
    try:
        port: int = server.sockets[0].getsockname()[1]
        yield port
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Inbox:
    # What the server logs about its guests is not what the API logs.
    monkeypatch.setattr(logging.getLogger("mail.log"), "disabled", True)
    return Inbox()


@pytest.fixture
async def plain(inbox: Inbox) -> AsyncIterator[int]:
    async with serving(inbox) as port:
        yield port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


@pytest.fixture
async def encrypted(inbox: Inbox, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """A server that takes mail after STARTTLS and with the right password alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key, cert = certificate
    context.load_cert_chain(cert, key)
    options = {"require_starttls": True, "authenticator": authenticate, "auth_required": True, "auth_require_tls": True}
    async with serving(inbox, tls_context=context, **options) as port:
        yield port


def smtp_settings(settings: Settings, port: int, **values: Any) -> Settings:
    return settings.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_tls": "none", "smtp_timeout_s": 10} | values)


def a_mail(to: str = "ada@example.com") -> EmailMessage:
    return account_changed("Voxify <voxify@example.com>", to, "password")


async def test_a_reset_arrives_at_a_real_server(settings: Settings, plain: int, inbox: Inbox, logs: Logs) -> None:
    app = make_app(smtp_settings(settings, plain, mail_from="Voxify <noreply@example.com>"))
    async with running(app) as client:
        person = await sign_up(client, "ada@example.com")
        assert (await client.post(f"{AUTH}/forgot-password", json={"email": person.email})).status_code == 200
        await mail_settled(app)
    (envelope,) = inbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("noreply@example.com", ["ada@example.com"])
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["from"] == "Voxify <noreply@example.com>"
    assert mail["message-id"]
    assert not settings.outbox_dir.exists()
    assert "ada@example.com" not in logs.text


async def test_starttls_and_the_password(settings: Settings, encrypted: int, inbox: Inbox, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[1]))
    given = smtp_settings(settings, encrypted, smtp_tls="starttls", smtp_user=USER, smtp_password=SecretStr(PASSWORD))
    await Smtp(given, trusting).send(a_mail())
    assert len(inbox.mails) == 1
    with pytest.raises(MailFailedError, match="SMTPAuthenticationError 535"):
        await Smtp(given.model_copy(update={"smtp_password": SecretStr("wrong")}), trusting).send(a_mail())
    with pytest.raises(MailFailedError):
        await Smtp(given).send(a_mail())  # a certificate that nobody vouches for
    assert len(inbox.mails) == 1


async def test_without_tls_there_is_no_mail_when_it_is_asked_for(settings: Settings, plain: int, inbox: Inbox) -> None:
    for mode in ("starttls", "tls"):
        with pytest.raises(MailFailedError):
            await Smtp(smtp_settings(settings, plain, smtp_tls=mode)).send(a_mail())
    assert not inbox.mails


@dataclass
class Sending:
    """An app whose mail goes to a server at `port`, and somebody who is to get one."""

    app: Litestar
    person: SignedIn

    async def job(self) -> Job:
        async with self.app.state.stores.database.read() as session:
            found: Job = await session.scalar(select(Job).where(Job.kind == MAIL))
        return found

    async def again(self) -> Job:
        """The job after one more attempt."""
        async with self.app.state.stores.database.write() as session:
            await session.execute(update(Job).where(Job.kind == MAIL).values(available_at=utcnow(), message=None))
        self.app.state.rooms.bell.ring()
        await mail_settled(self.app)
        return await self.job()


@asynccontextmanager
async def asked_for_a_reset(settings: Settings, port: int) -> AsyncIterator[Sending]:
    app = make_app(smtp_settings(settings, port))
    async with running(app) as client:
        person = await sign_up(client, "ada@example.com")
        assert (await client.post(f"{AUTH}/forgot-password", json={"email": person.email})).status_code == 200
        await mail_settled(app)
        yield Sending(app, person)


async def test_mail_that_is_not_taken_is_tried_again_without_a_word_about_whom_it_is_for(
    settings: Settings, plain: int, inbox: Inbox, logs: Logs
) -> None:
    inbox.refusal, before, pause = "451 later, ada@example.com", utcnow(), timedelta(seconds=5)
    async with asked_for_a_reset(settings, plain) as sending:
        waiting = await sending.job()
        assert (waiting.status, waiting.attempt) == ("pending", 0)
        assert before + pause <= waiting.available_at <= utcnow() + pause
        (line,) = [line for line in logs.lines if line["event"] == "mail failed"]
        assert (line["level"], line["about"], "451" in line["reason"]) == ("warning", "password_reset", True)
        inbox.refusal = ""
        assert (await sending.again()).status == "completed"
        assert len(inbox.mails) == 1
    assert "ada@" not in logs.text


async def test_mail_that_nobody_will_ever_take_is_given_up_at_once(settings: Settings, plain: int, inbox: Inbox, logs: Logs) -> None:
    inbox.refusal = "554 not for ada@example.com"
    async with asked_for_a_reset(settings, plain) as sending:
        assert (await sending.job()).status == "failed"
    (line,) = [line for line in logs.lines if line["event"] == "mail given up"]
    assert (line["level"], line["code"], "554" in line["reason"]) == ("error", "MAIL_FAILED", True)
    assert "ada@" not in logs.text


async def test_a_server_that_is_away_for_an_hour_is_given_up(settings: Settings, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked_for_a_reset(settings, 1) as sending:
        assert (await sending.job()).status == "pending", "the request has not failed with it"
        later(monkeypatch, "api.mail.handler", minutes=20)
        pause = (await sending.again()).available_at - utcnow()
        assert 500 < pause.total_seconds() <= 600, "longer and longer"
        later(monkeypatch, "api.mail.handler", minutes=61)
        assert (await sending.again()).status == "failed"
    assert "ada@" not in logs.text


async def test_a_notice_goes_to_the_address_that_was_and_leaves_none_behind(settings: Settings, plain: int, inbox: Inbox) -> None:
    app = make_app(smtp_settings(settings, plain))
    async with running(app) as client:
        person = await sign_up(client, "ada@example.com")
        change = {"email": "countess@example.com", "current_password": ACCOUNT_PASSWORD}
        assert (await client.patch(f"{AUTH}/profile", json=change, headers=person.headers)).status_code == 200
        await mail_settled(app)
        (envelope,) = inbox.mails
        assert envelope.rcpt_tos == ["ada@example.com"]
        assert (await Sending(app, person).job()).config == {"about": "account_changed", "what": "e-mail address"}


async def test_mail_waits_for_nothing_else(settings: Settings, plain: int, inbox: Inbox, inference: FakeInference) -> None:
    app = make_app(smtp_settings(settings, plain), inference_transport=inference.transport)
    inference.gate.clear()
    async with running(app) as client:
        me = await caller(client, app, inference)
        for _ in range(4):
            await me.data("POST", "/job", json={"text_content": "Hello."})
        async with asyncio.timeout(20):
            await inference.waiting.acquire()
        assert (await client.post(f"{AUTH}/forgot-password", json={"email": me.who.email})).status_code == 200
        await mail_settled(app)
        assert len(inbox.mails) == 1
        inference.gate.set()


@pytest.mark.parametrize("to", ["ada@example.com", "ä@exämple.com"])
async def test_the_outbox_holds_whole_private_files(tmp_path: Path, to: str) -> None:
    folder = tmp_path / "data" / "outbox"
    token = "t" * 120
    await Outbox(folder).send(password_reset("Voxify <voxify@localhost>", to, token, 900))
    (path,) = folder.iterdir()
    assert path.suffix == ".eml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert mail["to"] == to
    assert token in path.read_text(), "in one piece"


async def test_an_outbox_that_cannot_be_written_is_a_failed_mail(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    with pytest.raises(MailFailedError):
        await Outbox(tmp_path / "outbox").send(a_mail())


async def test_a_shutdown_waits_for_mail_and_gives_up_in_time(logs: Logs) -> None:
    background, sent, go_on = Background(), [], asyncio.Event()

    async def slow() -> None:
        await go_on.wait()
        sent.append(1)

    background.start("slow", slow)
    closing = asyncio.create_task(background.close(20))
    go_on.set()
    await closing
    assert sent == [1]

    async def never() -> None:
        await asyncio.Event().wait()

    for _ in range(9):
        background.start("never", never)
    await background.close(0.05)
    (line,) = [line for line in logs.lines if line["event"] == "background work given up at shutdown"]
    assert line["count"] == 9


async def test_what_breaks_in_the_background_is_logged(logs: Logs) -> None:
    async def breaks() -> None:
        raise RuntimeError("broken")

    background = Background()
    background.start("work", breaks)
    await background.settle()
    assert any(line["event"] == "background work failed" and "RuntimeError" in line["exception"] for line in logs.lines)


def test_the_settings_choose_the_way(settings: Settings) -> None:
    assert isinstance(transport(settings), Outbox)
    assert isinstance(transport(settings.model_copy(update={"smtp_host": "mail.example.com"})), Smtp)


def test_settings_that_would_not_work_are_refused(tmp_path: Path) -> None:
    for values in ({"smtp_user": "me", "smtp_tls": "none"}, {"password_reset_url": "https://example.com/reset"}):
        with pytest.raises(ValidationError):
            Settings(env="dev", data_dir=tmp_path, _env_file=None, **values)  # type: ignore[call-arg,arg-type]


def test_the_reset_page_gets_the_token() -> None:
    mail = password_reset("voxify@localhost", "ada@example.com", "abc", 900, "https://example.com/reset?token={token}")
    assert "https://example.com/reset?token=abc\n" in mail.get_content()
