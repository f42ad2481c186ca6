"""What is written to people. Pure functions."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import formatdate, make_msgid


def _message(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    made = EmailMessage()
    made["From"] = sender
    made["To"] = to
    made["Subject"] = subject
    made["Date"] = formatdate(localtime=False)
    made["Message-ID"] = make_msgid(domain="voxify.invalid")
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence notes, please
    # Not folded at 78 characters: a client may have to find a long token again in one piece.
    made.set_content(text, cte="8bit" if not text.isascii() else "7bit")
    return made


def password_reset(sender: str, to: str, token: str, ttl_s: int, page: str = "") -> EmailMessage:
    """The mail with a reset token, as a link when there is a `page` with ``{token}`` in it. `ttl_s`: seconds that the token is good for."""
    way = page.replace("{token}", token) if page else f"Your token: {token}"
    return _message(
        sender,
        to,
        "Set a new password",
        "Somebody, hopefully you, asked to set a new password for your Voxify account.\n\n"
        f"{way}\n\n"
        f"It is good once, for {max(1, ttl_s // 60)} minutes. If it was not you, do nothing: your password stays as it is.\n",
    )


def account_changed(sender: str, to: str, what: str) -> EmailMessage:
    """Tells the owner that `what` ("e-mail address", "password") was changed, in case it was somebody else."""
    return _message(
        sender,
        to,
        f"Your {what} was changed",
        f"The {what} of your Voxify account was changed just now.\n\nIf it was not you, ask the people who run this server for help.\n",
    )
