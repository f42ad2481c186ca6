"""The command `voxify`."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import ValidationError

from api import logging
from api.auth.passwords import Passwords
from api.auth.tokens import SecretMissingError, Tokens, signing_secret
from api.errors import ValidationFailedError
from settings import Settings
from store import migrations
from store.database import Database

if TYPE_CHECKING:
    from litestar import Litestar

app = typer.Typer(no_args_is_help=True, help="Voxify: voice cloning and text-to-speech.", pretty_exceptions_enable=False)
db = typer.Typer(no_args_is_help=True, help="The database.")
admin = typer.Typer(no_args_is_help=True, help="People who look after the platform.")
token = typer.Typer(no_args_is_help=True, help="Tokens for services of your own.")
app.add_typer(db, name="db")
app.add_typer(admin, name="admin")
app.add_typer(token, name="token")

REFUSED = 1
MISCONFIGURED = 2
START_FAILED = 3
NOT_CURRENT = "The database is not at the newest revision: run `voxify db upgrade`"

T = TypeVar("T")


def _start() -> Settings:
    try:
        settings = Settings()
    except ValidationError as invalid:
        for problem in invalid.errors(include_url=False, include_input=False):
            field = "_".join(map(str, problem["loc"])).upper()
            typer.echo(f"{f'VOXIFY_{field}: ' if field else ''}{problem['msg']}", err=True)
        raise typer.Exit(MISCONFIGURED) from None
    logging.configure(settings.log_level, settings.log_format)
    return settings


@app.callback()
def main() -> None:
    """Settings are environment variables with the prefix VOXIFY_, or lines of a file `.env`."""


@app.command()
def serve() -> None:
    """Serve the API until SIGTERM or SIGINT; open requests are then finished within VOXIFY_SHUTDOWN_GRACE_S."""
    import uvicorn

    from api.app import create_app

    settings = _start()
    try:
        made = create_app(settings)
    except SecretMissingError as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(MISCONFIGURED) from None

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
            # Open event streams would hold up the shutdown until its limit; they end when they are told.
            end_streams(made)
            # uvicorn's own would raise the signal again once all is done, and a clean stop would look like a crash.
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True

    config = uvicorn.Config(
        made,
        host=settings.api_host,
        port=settings.api_port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the app itself knows which proxies to believe
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_s),
    )
    server = Server(config)
    server.run()
    if not server.started:
        raise typer.Exit(START_FAILED)


def end_streams(served: Litestar) -> None:
    """End the open event streams; there are none yet when the signal comes during the start."""
    if (rooms := getattr(served.state, "rooms", None)) is not None:
        rooms.streams.end()


@db.command()
def upgrade() -> None:
    """Bring the database to the newest revision."""
    settings = _start()
    settings.data_dir.mkdir(parents=True, exist_ok=True)

    async def run() -> None:
        database = Database(settings.database)
        try:
            await migrations.upgrade(database.engine)
        finally:
            await database.close()

    asyncio.run(run())
    typer.echo("The database is at the newest revision")


@db.command()
def check() -> None:
    """Say whether the database is at the newest revision; exit status 1 when it is not."""
    settings = _start()
    settings.data_dir.mkdir(parents=True, exist_ok=True)

    async def run() -> bool:
        database = Database(settings.database)
        try:
            return await migrations.is_current(database.engine)
        finally:
            await database.close()

    if not asyncio.run(run()):
        typer.echo(NOT_CURRENT)
        raise typer.Exit(REFUSED)
    typer.echo("The database is at the newest revision")


@db.command("recount")
def recount_sizes() -> None:
    """Compare the sizes of files that the database says, which storage limits are counted from, with the files, and put them right."""
    from api.limits.recount import recount
    from store.objects import Objects

    settings = _start()
    looked_at, corrected = _with_database(settings, lambda database: recount(database, Objects.in_folder(settings.objects_dir)))
    typer.echo(f"Looked at {looked_at} files or groups of files; put {corrected} sizes right")


@admin.command("create")
def create_admin(
    email: Annotated[str, typer.Option(help="The address to sign in with.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
) -> None:
    """Make an admin. An account with this address becomes one: it gets the password, and what was signed in with it ends."""
    from api.auth.operators import make_admin
    from api.auth.schemas import RegisterRequest

    settings = _start()
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        asked = RegisterRequest.model_validate({"email": email, "password": password})
    except ValidationFailedError as invalid:
        for field, why in (invalid.details or {}).items():
            typer.echo(f"The {field} {why}", err=True)
        raise typer.Exit(REFUSED) from None
    user, is_new = _with_database(settings, lambda database: make_admin(database, Passwords(), asked.email, asked.password))
    typer.echo(f"{'Made' if is_new else 'Promoted'} the admin {user.email} ({user.id})")


@token.command("service")
def service_token(
    name: Annotated[str, typer.Option(help="The service: a-z, 0-9 and -.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the token is good for.")] = 365,
) -> None:
    """Print a new token for a service. Nothing else is printed to standard output."""
    from api.auth.operators import issue_service_token

    settings = _start()
    tokens = Tokens(_secret(settings), access_ttl_s=settings.access_token_ttl_s, refresh_ttl_s=settings.refresh_token_ttl_s)
    typer.echo(_with_database(settings, lambda database: issue_service_token(database, tokens, name, days)))


@token.command("revoke")
def revoke_service(name: Annotated[str, typer.Option(help="The service.")]) -> None:
    """End all tokens of a service."""
    from api.auth.operators import revoke_service_tokens

    _with_database(_start(), lambda database: revoke_service_tokens(database, name))
    typer.echo(f"The tokens of the service {name} have ended")


def _secret(settings: Settings) -> str:
    try:
        return signing_secret(settings)
    except SecretMissingError as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(MISCONFIGURED) from None


def _with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do `work` with the database at its newest revision; what it refuses is said and ends the command."""
    from api.auth.operators import OperatorError

    settings.data_dir.mkdir(parents=True, exist_ok=True)

    async def run() -> T:
        database = Database(settings.database)
        try:
            if settings.env == "dev" or database.is_sqlite:
                await migrations.upgrade(database.engine)
            elif not await migrations.is_current(database.engine):
                raise OperatorError(NOT_CURRENT)
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except OperatorError as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(REFUSED) from None


if __name__ == "__main__":
    app()
