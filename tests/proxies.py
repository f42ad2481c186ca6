"""Real proxies in front of an API, with the configurations of deploy/proxy and a certificate of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers import ROOT, START_TIMEOUT_S, free_port, need, stop

PROXIES = ROOT / "deploy" / "proxy"
NGINX = PROXIES / "nginx.conf"
CADDYFILE = PROXIES / "Caddyfile"


@dataclass(frozen=True)
class Proxy:
    """One that listens: `log` returns all that it has written."""

    kind: str
    https_port: int
    http_port: int
    trust: ssl.SSLContext
    logs: tuple[Path, ...]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https_port}"

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.logs if path.exists())

    def wait_for(self, text: str) -> str:
        """The log once it holds `text`: a proxy writes its line after the answer."""
        deadline = time.monotonic() + 20
        while text not in (log := self.log()):
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
        return log


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for `localhost` that signs itself, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@contextlib.contextmanager
def nginx(folder: Path, api: str, changes: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """An nginx before the API at the address `api`, ``host:port``. `changes` are made to the configuration, each in one place or more.

    Needs the Debian package nginx-light.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    need(program, "nginx")
    assert program is not None
    own, key = certificate(folder)
    http_port, https_port = free_port(), free_port()
    access, errors = folder / "access.log", folder / "error.log"
    placed = {
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl http2;\n": "",
        "listen 80;": f"listen 127.0.0.1:{http_port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https_port} ssl http2;",
        "server 127.0.0.1:8000;": f"server {api};",
        "/etc/letsencrypt/live/voxify.example.com/fullchain.pem": str(own),
        "/etc/letsencrypt/live/voxify.example.com/privkey.pem": str(key),
        "server_name voxify.example.com;": "server_name localhost;",
        "/var/log/nginx/voxify.log": str(access),
        "/var/log/nginx/voxify-error.log": str(errors),
    }
    text = NGINX.read_text()
    for old, new in {**placed, **(changes or {})}.items():
        assert old in text, f"{old!r} is not in {NGINX.name}"
        text = text.replace(old, new)
    (folder / "voxify.conf").write_text(text)
    temporary = "".join(f"    {name}_temp_path {folder / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""  # its workers must get into the folder of the test
    (folder / "nginx.conf").write_text(
        f"{user}worker_processes 1;\ndaemon off;\npid {folder / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\n{temporary}    access_log off;\n    include {folder / 'voxify.conf'};\n}}\n"
    )
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with _running(command, folder / "stderr.log", {"TZ": "UTC"}, https_port):
        yield Proxy("nginx", https_port, http_port, _trusting(own), (access, errors, folder / "stderr.log"))


@contextlib.contextmanager
def caddy(folder: Path, api: str) -> Iterator[Proxy]:
    """A Caddy before the API at the address `api`, ``host:port``. Needs the Debian package caddy."""
    program = shutil.which("caddy")
    need(program, "caddy")
    assert program is not None
    own, key = certificate(folder)
    http_port, https_port = free_port(), free_port()
    environment = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "VOXIFY_SITE": "localhost",
        "VOXIFY_API": api,
        "VOXIFY_TLS": f"tls {own} {key}",
        "VOXIFY_HTTP_PORT": str(http_port),
        "VOXIFY_HTTPS_PORT": str(https_port),
    }
    command = [program, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    with _running(command, folder / "stderr.log", environment, https_port):
        yield Proxy("caddy", https_port, http_port, _trusting(own), (folder / "stderr.log",))


def _trusting(own: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(own))


@contextlib.contextmanager
def _running(command: list[str], log_file: Path, environment: dict[str, str], port: int) -> Iterator[None]:
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment, start_new_session=True)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not listen\n{log_file.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield
    finally:
        stop(process)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
