"""As much of Qdrant's REST interface as the index of voices uses, over real sockets, with the points in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np

KEY = "key-of-the-tester"
Refused = tuple[int, str]


class FakeQdrant(ThreadingHTTPServer):
    """`collections`: the points of each by their ids. `raced` makes another process create each collection a moment before."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.collections: dict[str, dict[str, dict[str, Any]]] = {}
        self.indexed: set[str] = set()
        self.raced = False

    @property
    def url(self) -> str:
        return f"qdrant+http://127.0.0.1:{self.server_port}"

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Any:
        _, name, *rest = path.strip("/").split("/")
        match method, rest:
            case "GET", ["exists"]:
                exists = name in self.collections and not self.raced
                return {"exists": exists}
            case "PUT", []:
                assert body == {"vectors": {"size": 256, "distance": "Cosine"}}
                if name in self.collections or self.raced:
                    self.collections.setdefault(name, {})
                    return 409, f"Collection {name} already exists!"
                self.collections[name] = {}
                return True
        points = self.collections.get(name)
        if points is None:
            return 404, f"Collection {name} doesn't exist!"
        match method, rest:
            case "PUT", ["index"]:
                self.indexed.add(body["field_name"])
                return {"operation_id": 0, "status": "completed"}
            case "PUT", ["points"]:
                points.update({point["id"]: point for point in body["points"]})
                return {"operation_id": 1, "status": "completed"}
            case "POST", ["points", "delete"]:
                for id_ in body["points"]:
                    points.pop(id_, None)
                return {"operation_id": 2, "status": "completed"}
            case "POST", ["points", "count"]:
                return {"count": len(points)}
            case "POST", ["points", "scroll"]:
                ids = sorted(points)
                begin = ids.index(body["offset"]) if body.get("offset") else 0
                page, after = ids[begin : begin + body["limit"]], ids[begin + body["limit"] :]
                return {"points": [_shown(points[id_]) for id_ in page], "next_page_offset": after[0] if after else None}
            case "POST", ["points", "query"]:
                wanted = {each["key"]: each["match"]["value"] for each in body["filter"]["must"]}
                near = [
                    _shown(point) | {"version": 1, "score": float(np.dot(point["vector"], body["query"]["nearest"]))}
                    for point in points.values()
                    if wanted.items() <= point["payload"].items()
                ]
                return {"points": sorted(near, key=lambda point: -point["score"])[: body["limit"]]}
        return 405, f"{method} {path}"


def _shown(point: dict[str, Any]) -> dict[str, Any]:
    return {"id": point["id"], "payload": {"id": point["payload"]["id"]}}


class _Handler(BaseHTTPRequestHandler):
    server: FakeQdrant

    def handle_any(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = urlsplit(self.path)
        answer: Any
        if self.headers.get("api-key") != KEY:
            answer = 401, "Must provide an API key"
        elif self.command == "PUT" and "points" in path.path and path.query != "wait=true":
            answer = 400, "what is not waited for may not be found"
        else:
            answer = self.server.answer(self.command, path.path, body)
        status, shown = (answer[0], {"status": {"error": answer[1]}}) if isinstance(answer, tuple) else (200, {"result": answer})
        written = json.dumps({"time": 0.0, "status": "ok"} | shown).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    do_GET = do_PUT = do_POST = handle_any  # noqa: N815 - the names that the library calls

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def qdrant_server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
