"""The command `voxify doctor`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from pydantic import ValidationError

from api import logging
from api.commands import REFUSED
from api.doctor.findings import Finding, Report, concealing, examine
from api.doctor.machine import machine_checks
from api.doctor.network import network_checks
from settings import Settings


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Look at all that Voxify needs and say what to do about what is wrong. Exit status 1 where something has failed, else 0."""
    report = asyncio.run(_look())
    typer.echo(msgspec.json.encode(report).decode() if as_json else str(report))
    if not report.healthy:
        raise typer.Exit(REFUSED)


async def _look() -> Report:
    try:
        settings = Settings()
    except ValidationError as invalid:
        return Report.of(_wrong(problem["loc"], problem["msg"]) for problem in invalid.errors(include_url=False, include_input=False))
    logging.configure("ERROR", settings.log_format)  # what is wrong is said here, once
    conceal = concealing(settings)
    return Report.of([await examine(check, conceal) for check in [*machine_checks(settings), *network_checks(settings)]])


def _wrong(place: tuple[int | str, ...], message: str) -> Finding:
    name = f"VOXIFY_{'_'.join(map(str, place)).upper()}" if place else "the environment"
    return Finding(part="settings", status="failed", found=f"{name}: {message}", advice="Correct it; settings.py describes every setting")
