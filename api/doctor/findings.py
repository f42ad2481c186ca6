"""What was looked at, what was found, and what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from settings import Settings

Status = Literal["ok", "warning", "failed", "skipped"]

TIMEOUT_S = 15.0
_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED", "skipped": "-"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`found` is a sentence, `advice` what to do, null where there is nothing; `ms` is how long the look took."""

    part: str
    status: Status
    found: str
    advice: str | None = None
    ms: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`healthy`: nothing has failed; warnings may be there."""

    healthy: bool
    findings: list[Finding]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Report:
        found = list(findings)
        return cls(healthy=all(each.status != "failed" for each in found), findings=found)

    def __str__(self) -> str:
        """For a person: a line for each part, and what to do beneath."""
        width = max(len(each.part) for each in self.findings)
        lines = []
        for each in self.findings:
            lines.append(f"{_MARKS[each.status]:<8} {each.part:<{width}}  {each.found}")
            if each.advice:
                lines.append(f"{'':<8} {'':<{width}}  -> {each.advice}")
        return "\n".join(lines)


class TroubleError(Exception):
    """A check has found something that is not well; `advice` says what to do about it."""

    status: Status = "failed"

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found = found
        self.advice = advice


class DoubtError(TroubleError):
    """It works, and will not for long, or not for everybody."""

    status = "warning"


class NothingToCheckError(Exception):
    """The part is not in use, or another one has to be mended first; the message says which."""


@dataclass(frozen=True, slots=True)
class Check:
    """`look` returns what it found, or raises one of the above; `advice` is for everything else that it raises."""

    part: str
    look: Callable[[], Awaitable[str]]
    advice: str


async def examine(check: Check, conceal: Callable[[str], str], timeout_s: float = TIMEOUT_S) -> Finding:
    """Run one check, for at most `timeout_s` seconds. `conceal` takes the secrets out of what others say went wrong."""
    began = time.monotonic()
    advice: str | None = None
    try:
        async with asyncio.timeout(timeout_s):
            found, status = await check.look(), "ok"
    except NothingToCheckError as nothing:
        found, status = str(nothing), "skipped"
    except TroubleError as trouble:
        found, status, advice = trouble.found, trouble.status, trouble.advice
    except TimeoutError:
        found, status, advice = f"no answer in {timeout_s:.0f} s", "failed", check.advice
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for, and the other checks go on
        found, status, advice = _said(error), "failed", check.advice
    ms = round((time.monotonic() - began) * 1000, 1)
    return Finding(part=check.part, status=status, found=conceal(found), advice=advice and conceal(advice), ms=ms)  # type: ignore[arg-type]


def _said(error: BaseException) -> str:
    """The type and the first line of what an error says, or of what brought it about where it says nothing."""
    while not str(error).strip() and error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def concealing(settings: Settings) -> Callable[[str], str]:
    """What replaces every secret of the settings by stars."""
    secrets = {value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)}
    secrets |= {password for url in (settings.database, *secrets) if (password := _password(url))}

    def conceal(text: str) -> str:
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    return conceal


def _password(url: str) -> str | None:
    try:
        return make_url(url).password
    except ArgumentError:  # not an address
        return None
