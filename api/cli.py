"""The command `voxify`."""

from __future__ import annotations

import gc
import math
import signal
import socket
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from api.auth.passwords import Passwords
from api.auth.tokens import SecretMissingError, Tokens, signing_secret
from api.cli_stores import back_up, bring_back, db, vectors
from api.cli_worker import beat, worker
from api.commands import MISCONFIGURED, REFUSED, START_FAILED, require_folder, start, with_database
from api.doctor.command import doctor
from api.errors import ValidationFailedError
from settings import Settings

if TYPE_CHECKING:
    from litestar import Litestar

    from api.auth.schemas import RegisterRequest

EmailOption = Annotated[str, typer.Option("--email", help="The address to sign in with.")]
PasswordOption = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]

app = typer.Typer(no_args_is_help=True, help="Voxify: voice cloning and text-to-speech.", pretty_exceptions_enable=False)
user = typer.Typer(no_args_is_help=True, help="People who use the platform.")
admin = typer.Typer(no_args_is_help=True, help="People who look after the platform.")
token = typer.Typer(no_args_is_help=True, help="Tokens for services of your own.")
app.add_typer(db, name="db")
app.add_typer(vectors, name="vectors")
app.add_typer(user, name="user")
app.add_typer(admin, name="admin")
app.add_typer(token, name="token")

app.command("backup")(back_up)
app.command("restore")(bring_back)
app.command("worker")(worker)
app.command("beat")(beat)
app.command("doctor")(doctor)


@app.callback()
def main() -> None:
    """Settings are environment variables with the prefix VOXIFY_, or lines of a file `.env`."""


@app.command()
def serve() -> None:
    """Serve the API until SIGTERM or SIGINT; open requests are then finished within VOXIFY_SHUTDOWN_GRACE_S."""
    import uvicorn

    from api.app import create_app

    settings = start()
    require_folder(settings)
    try:
        made = create_app(settings)
    except SecretMissingError as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(MISCONFIGURED) from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # What is there now stays: to look through it for garbage again and again would stop all requests for a tenth of a second.
            gc.collect()
            gc.freeze()

        drained_at = math.inf

        async def on_tick(self, counter: int) -> bool:
            self.should_exit = self.should_exit or time.monotonic() >= self.drained_at
            return await super().on_tick(counter)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
            made.state.stopping = True
            # Open event streams would hold up the shutdown until its limit; they end when they are told.
            end_streams(made)
            if sig == signal.SIGTERM and settings.shutdown_drain_s and self.drained_at == math.inf:
                self.drained_at = time.monotonic() + settings.shutdown_drain_s
                return
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


@user.command("create")
def create_user(email: EmailOption, password_stdin: PasswordOption = False) -> None:
    """Make an account, also while the registration is closed."""
    from api.auth.operators import make_user

    settings = start()
    asked = _credentials(email, password_stdin)
    made = with_database(settings, lambda database: make_user(database, Passwords(), asked.email, asked.password))
    typer.echo(f"Made the account {made.email} ({made.id})")


@admin.command("create")
def create_admin(email: EmailOption, password_stdin: PasswordOption = False) -> None:
    """Make an admin. An account with this address becomes one: it gets the password, and what was signed in with it ends."""
    from api.auth.operators import make_admin

    settings = start()
    asked = _credentials(email, password_stdin)
    made, is_new = with_database(settings, lambda database: make_admin(database, Passwords(), asked.email, asked.password))
    typer.echo(f"{'Made' if is_new else 'Promoted'} the admin {made.email} ({made.id})")


@token.command("service")
def service_token(
    name: Annotated[str, typer.Option(help="The service: a-z, 0-9 and -.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the token is good for.")] = 365,
) -> None:
    """Print a new token for a service. Nothing else is printed to standard output."""
    from api.auth.operators import issue_service_token

    settings = start()
    tokens = Tokens(_secret(settings), access_ttl_s=settings.access_token_ttl_s, refresh_ttl_s=settings.refresh_token_ttl_s)
    typer.echo(with_database(settings, lambda database: issue_service_token(database, tokens, name, days)))


@token.command("revoke")
def revoke_service(name: Annotated[str, typer.Option(help="The service.")]) -> None:
    """End all tokens of a service."""
    from api.auth.operators import revoke_service_tokens

    with_database(start(), lambda database: revoke_service_tokens(database, name))
    typer.echo(f"The tokens of the service {name} have ended")


def _credentials(email: str, password_stdin: bool) -> RegisterRequest:
    """The address and the password, which is asked for; what is wrong with them is said and ends the command."""
    from api.auth.schemas import RegisterRequest

    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        return RegisterRequest.model_validate({"email": email, "password": password})
    except ValidationFailedError as invalid:
        for field, why in (invalid.details or {}).items():
            typer.echo(f"The {field} {why}", err=True)
        raise typer.Exit(REFUSED) from None


def _secret(settings: Settings) -> str:
    try:
        return signing_secret(settings)
    except SecretMissingError as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(MISCONFIGURED) from None


if __name__ == "__main__":
    app()
