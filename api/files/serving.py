"""An object as an HTTP answer: whole or a range, with the conditions of RFC 9110."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from litestar import Request, Response
from litestar.di import NamedDependency, Provide
from litestar.params import HeaderParameter
from litestar.response import Stream

from api.errors import ApiError, NotFoundError
from api.files.ranges import ByteRange, UnsatisfiableRangeError, parse_range
from store.objects import ObjectNotFoundError, Objects


class RangeNotSatisfiableError(ApiError):
    status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    default_code = "RANGE_NOT_SATISFIABLE"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the client says of the part that it wants and the form that it has. `whole`: it asks for all of it, and not only about it."""

    range: str | None
    if_range: str | None
    if_none_match: str | None
    whole: bool

    def have(self, etag: str) -> bool:
        """Whether the client has this form already."""
        if self.if_none_match is None:
            return False
        return self.if_none_match.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in self.if_none_match.split(",")}

    def wanted(self, etag: str, size: int) -> ByteRange | None:
        """The range that is asked for, or None for the whole. Raises RangeNotSatisfiableError."""
        if self.if_range not in (None, etag):
            return None
        try:
            return parse_range(self.range, size)
        except UnsatisfiableRangeError:
            headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
            raise RangeNotSatisfiableError(f"The file has {size} bytes", headers=headers) from None


def _conditions(
    request: Request[Any, Any, Any],
    range_header: Annotated[str | None, HeaderParameter(name="Range", description="`bytes=from-to`")] = None,
    if_range: Annotated[str | None, HeaderParameter(name="If-Range")] = None,
    if_none_match: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
) -> Conditions:
    return Conditions(range_header, if_range, if_none_match, whole=request.method == "GET" and range_header is None)


AskedConditions = NamedDependency[Conditions]
conditions = Provide(_conditions, sync_to_thread=False)


async def serve(
    objects: Objects, key: str, asked: Conditions, *, media_type: str, filename: str, elsewhere_s: int | None = None
) -> Response[Any]:
    """The object, for GET and HEAD alike. `filename` is ours, made of ids: it goes into a header as it is.

    With `elsewhere_s` who wants the whole is sent to where the object lies, if clients can have it there, by an address that is good
    for so many seconds.

    Raises NotFoundError when the object is gone, RangeNotSatisfiableError.
    """
    try:
        stat = await objects.stat(key)
    except ObjectNotFoundError:
        raise NotFoundError("file") from None
    etag = f'"{stat.etag}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if asked.have(etag):
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, media_type=media_type, headers=headers)
    if asked.whole and elsewhere_s is not None and (address := await objects.address(key, elsewhere_s)) is not None:
        # The address is a key to the sound: no cache may keep it.
        return Response(None, status_code=HTTPStatus.TEMPORARY_REDIRECT, headers={"Location": address, "Cache-Control": "no-store"})
    wanted = asked.wanted(etag, stat.size)
    part = wanted or ByteRange(0, stat.size)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{stat.size}"
    headers["Content-Length"] = str(part.end - part.start)
    return Stream(
        objects.stream(stat.key, part.start, part.end),
        status_code=HTTPStatus.OK if wanted is None else HTTPStatus.PARTIAL_CONTENT,
        media_type=media_type,
        headers=headers,
    )
