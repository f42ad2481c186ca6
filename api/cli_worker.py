"""The commands that run the processes behind the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from api.auth.operators import OperatorError
from api.auth.tokens import SecretMissingError
from api.commands import MISCONFIGURED, REFUSED, require_folder, start
from settings import Settings
from store.vectors import FolderInUseError
from worker.lanes import LANES, SPEECH, slots_of


def worker(
    celery: Annotated[bool, typer.Option("--celery", help="Be woken through RabbitMQ instead of looking for jobs.")] = False,
    lanes: Annotated[str, typer.Option(help=f"The lanes to work in, with commas between: {', '.join(LANES)}. All unless given.")] = "",
    slots: Annotated[int, typer.Option(min=0, help="Jobs at once in each lane named, or without --lanes of speech. 0: the settings.")] = 0,
    beat: Annotated[bool, typer.Option("--beat", help="With --celery: be the beat too. One process is enough; more are no harm.")] = False,
) -> None:
    """Do jobs until SIGTERM or SIGINT. Then claim no more, and put back what has not ended within VOXIFY_DRAIN_S."""
    from api.worker_process import celery_worker, polling_worker

    settings = start()
    if celery and settings.queue != "celery":
        _refuse("`voxify worker --celery` needs VOXIFY_QUEUE=celery here and where the API runs", MISCONFIGURED)
    chosen = lanes_of(settings, lanes, slots)
    if celery:
        _end(settings, lambda: celery_worker(settings, chosen, beat=beat))
    else:
        _end(settings, lambda: asyncio.run(_quietly(polling_worker(settings, chosen))))


def beat() -> None:
    """Take back what dead workers left, remove what nobody needs, ring again for what is due; until SIGTERM or SIGINT."""
    from api.worker_process import beat_alone

    settings = start()
    _end(settings, lambda: asyncio.run(_quietly(beat_alone(settings))))


def lanes_of(settings: Settings, named: str, slots: int) -> dict[str, int]:
    """How many slots of each lane. Raises typer.BadParameter for a lane that there is not."""
    usual = slots_of(settings.worker_slots, settings.webhook_slots)
    names = [name for each in named.split(",") if (name := each.strip())]
    if unknown := [name for name in names if name not in LANES]:
        raise typer.BadParameter(f"there is no lane {', '.join(unknown)}; there are {', '.join(LANES)}", param_hint="--lanes")
    chosen = {name: usual[name] for name in names or LANES}
    return chosen | dict.fromkeys(names or [SPEECH], slots) if slots else chosen


async def _quietly(work: Awaitable[None]) -> int:
    await work
    return 0


def _end(settings: Settings, run: Callable[[], int]) -> None:
    """Run, and end the command as it ended; what an operator can mend is said without a traceback."""
    require_folder(settings)
    try:
        status = run()
    except SecretMissingError as missing:
        _refuse(str(missing), MISCONFIGURED)
    except (OperatorError, FolderInUseError) as refused:
        _refuse(str(refused), REFUSED)
    else:
        raise typer.Exit(status)


def _refuse(why: str, status: int) -> None:
    typer.echo(why, err=True)
    raise typer.Exit(status) from None
