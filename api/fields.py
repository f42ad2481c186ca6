"""Kinds of fields that several rooms take."""

from __future__ import annotations

from typing import Annotated, Any

from litestar.datastructures import UploadFile
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema


def _language(value: str) -> str:
    language, _, region = value.partition("-")
    return f"{language.lower()}-{region.upper()}" if region else language.lower()


Language = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z]{2})?$"),
    AfterValidator(_language),
    Field(description="a language tag such as `en-US`", examples=["en-US"]),
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
ReferenceText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
    Field(description="exactly what is spoken in the recording", examples=["Some call me nature, others call me mother nature."]),
]
Style = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=50, pattern=r"^\w[\w -]*$"),
    Field(description="`neutral`, `happy`, `sad`, `excited`, or words of your own, of letters, digits, `_` and `-`", examples=["happy"]),
]
JsonObject = dict[str, Any]
Upload = Annotated[UploadFile, WithJsonSchema({"type": "string", "format": "binary"})]
