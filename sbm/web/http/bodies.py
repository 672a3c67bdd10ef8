"""Reading the body of a request: JSON, a form, or a multipart form."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from attrs import frozen
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartParser,
    parse_options_header,
)

from sbm.model.echo import echoed
from sbm.model.json_values import has_more_values
from sbm.web.http.body_limits import MAX_JSON_VALUES
from sbm.web.http.http_errors import Invalid, Malformed, UnsupportedMediaType

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

PARSED_TYPES = (JSON, FORM, MULTIPART)

MAX_FORM_FIELDS = 1000
MAX_FORM_PARTS = 100
# So many bytes of a form may be written as %41: each of them takes a third of a microsecond, and a
# body may have 350,000.
MAX_FORM_ESCAPES = 30_000

# The character sets that are known; a body in any other is read as UTF-8, as in the old service.
# Not all codecs of Python are allowed: some take quadratic time.
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-32"})


@frozen(kw_only=True)
class UploadedFile:
    """A file in a multipart form."""

    name: str
    content: bytes


@frozen(kw_only=True)
class Body:
    """The value of a body: any JSON value, or the fields of a form, which are texts and files."""

    value: Any
    is_form: bool = False

    def as_object(self) -> Mapping[str, Any]:
        """The value, if it is an object; otherwise raises Invalid with the message clients know."""
        if self.value is None:
            raise Invalid({"non_field_errors": ["No data provided"]})
        if not isinstance(self.value, dict):
            kind = type(self.value).__name__
            fault = f"Invalid data. Expected a dictionary, but got {kind}."
            raise Invalid({"non_field_errors": [fault]})
        return self.value


def parse(raw: bytes, content_type: str) -> Body:
    """Read a body by its Content-Type; an empty one is an empty object.

    Raises Malformed, or UnsupportedMediaType.
    """
    kind, options = parse_options_header(content_type)
    kind = kind.strip().lower()
    if not raw:
        return Body(value={}, is_form=kind in (FORM, MULTIPART))
    charset = charset_of(options)
    if kind == JSON:
        return Body(value=_json(raw, charset))
    if kind == FORM:
        return Body(value=_form(raw, charset), is_form=True)
    if kind == MULTIPART:
        return Body(value=_multipart(raw, options.get("boundary", ""), charset), is_form=True)
    raise UnsupportedMediaType(content_type)


def parse_json(text: str) -> Any:
    """Read strict JSON: no NaN, no Infinity. Raises ValueError."""
    try:
        return _strictly(text)
    except RecursionError:
        pass
    # Python's limit counts the calls that led here, too. In a thread there are none, so that it
    # does not depend on the caller how deep a text may be nested.
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(_strictly, text).result()
    except RecursionError:
        raise ValueError("Nested too deeply") from None


def _strictly(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _json(raw: bytes, charset: str) -> Any:
    if has_more_values(raw, MAX_JSON_VALUES):
        raise _too_many(f"A JSON body must not have more than {MAX_JSON_VALUES} values.")
    try:
        return parse_json(raw.decode(charset))
    except ValueError as error:
        raise Malformed(f"JSON parse error - {echoed(error)}", kind="unreadable-body") from None


def _form(raw: bytes, charset: str) -> dict[str, str]:
    if raw.count(b"%") > MAX_FORM_ESCAPES:
        raise _too_many(f"A form must not have more than {MAX_FORM_ESCAPES} escaped bytes.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii", "replace"),
            keep_blank_values=True,
            encoding=charset,
            errors="replace",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError:
        raise _too_many(f"A form must not have more than {MAX_FORM_FIELDS} fields.") from None
    return dict(pairs)


def _multipart(raw: bytes, boundary: str, charset: str) -> dict[str, str | UploadedFile]:
    if not boundary:
        return {}  # without a boundary, there are no fields; the old service accepts this, too
    # The parser would read as many as it may have before it refuses. The end of the form
    # is one more.
    if raw.count(b"\n--" + boundary.encode()) > MAX_FORM_PARTS + 1:
        raise _too_many(f"A multipart form must not have more than {MAX_FORM_PARTS} parts.")
    try:
        parts = MultipartParser(
            BytesIO(raw),
            boundary,
            charset=charset,
            part_limit=MAX_FORM_PARTS,
            memory_limit=len(raw) + 1,
            buffer_size=len(raw) + 1024,
            spool_limit=len(raw) + 1,
        ).parts()
        return {
            part.name: part.value
            if part.filename is None
            else UploadedFile(name=part.filename, content=part.raw)
            for part in parts
        }
    except (MultipartError, ValueError) as error:
        fault = f"Multipart form parse error - {echoed(error)}"
        raise Malformed(fault, kind="unreadable-body") from None


def charset_of(options: Mapping[str, str]) -> str:
    """The codec for the charset in the options of a Content-Type; UTF-8 if it is not known."""
    name = options.get("charset", "")
    try:
        found = codecs.lookup(name).name if name else "utf-8"
    except (LookupError, ValueError):
        return "utf-8"
    return found if found in _CHARSETS else "utf-8"


def _too_many(fault: str) -> Malformed:
    return Malformed(fault, kind="too-many-values")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")
