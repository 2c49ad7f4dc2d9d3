"""A query's body: JSON, or a form with images as files under the names of their roles."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile

from lrm_server.api.http_errors import refusal_of
from lrm_server.api.http_models import INLINE_ONLY, QueryBody
from lrm_server.errors import DomainError, invalid
from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame
from lrm_server.heads.profile import Role
from lrm_server.heads.query import WindowFrame

WINDOW: Final = "window"
MOST_FIELDS: Final = 64
_ROLES: Final = {role.value: role for role in Role}
_SIGNATURES: Final = {b"\xff\xd8\xff": Encoding.JPEG, b"\x89PNG\r\n\x1a\n": Encoding.PNG}


@dataclass(frozen=True, slots=True)
class SentQuery:
    """A query as it came: its fields, and the frames that came as files."""

    body: QueryBody
    files: dict[Role, Frame] = field(default_factory=dict)
    window: tuple[WindowFrame, ...] = ()


async def read_query(request: Request, limits: FrameLimits, most_files: int) -> SentQuery:
    """Reads the body of a request that asks one head.

    Raises:
        DomainError: the body is neither, or a field is wrong.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        async with request.form(max_files=most_files, max_fields=MOST_FIELDS) as form:
            return await _from_form(form, limits)
    if kind != "application/json" and not kind.endswith("+json"):
        raise invalid(
            "content-type",
            f"the body is {kind or 'of no type'}: send application/json or multipart/form-data.",
        )
    content = await request.body()
    try:
        return SentQuery(QueryBody.model_validate(from_json(content)))
    except ValidationError as error:
        raise refusal_of(error) from None
    except ValueError as error:
        raise invalid("", f"the body is not JSON ({error}).") from None


def media_type(request: Request) -> str:
    """What a request says that its body is, in small letters and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _from_form(form: FormData, limits: FrameLimits) -> SentQuery:
    words: dict[str, Any] = {}
    files: dict[Role, Frame] = {}
    window: list[WindowFrame] = []
    for name, value in form.multi_items():
        frame_field = name in _ROLES or name == WINDOW
        if isinstance(value, str):
            if frame_field:
                raise invalid(name, INLINE_ONLY.replace("send {", "send a file, or as JSON {"))
            words[name] = value
        elif not frame_field:
            raise invalid(name, f"{name} takes no file: send it as a field of the form.")
        elif name == WINDOW:
            place = f"{WINDOW}[{len(window)}]"
            window.append(WindowFrame(await frame_of_file(value, place, limits)))
        else:
            files[_ROLES[name]] = await frame_of_file(value, name, limits)
    try:
        # A form has only words: they are read as numbers and flags where those belong.
        body = QueryBody.model_validate(words, strict=False)
    except ValidationError as error:
        raise refusal_of(error) from None
    return SentQuery(body, files, tuple(window))


async def frame_of_file(file: UploadFile, name: str, limits: FrameLimits) -> Frame:
    """The frame in an uploaded file, told by its first bytes; its name is never used.

    Raises:
        DomainError: it is none; the field is ``name``.
    """
    data = await file.read(limits.max_bytes + 1)
    encoding = next(
        (kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None
    )
    if encoding is None:
        raise invalid(name, "the file is neither a JPEG nor a PNG; raw frames are sent as JSON.")
    try:
        return await asyncio.to_thread(open_frame, data, encoding, limits)
    except DomainError as error:
        raise error.within(name) from None
