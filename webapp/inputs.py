"""What a request asks about: read from any of the accepted bodies, checked as far as it can be without the network."""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from flask import Request
from PIL import Image, UnidentifiedImageError

from schemas.records import InvalidRecordError, encode_record, read_fields
from store.models import ServedVersion
from webapp.errors import InvalidInputError, MalformedBodyError, UnsupportedMediaError

PICTURE_FORMATS = ("JPEG", "PNG", "WEBP")

#: Nothing can be recognised in less.
MIN_SIDE_PX = 8

JSON_TYPE = "application/json"
MULTIPART_TYPE = "multipart/form-data"
BINARY_TYPES = ("image/", "application/octet-stream")

# What a whole file of each format ends with; JPEG may be followed by a maker's own data, hence the search.
JPEG_END = b"\xff\xd9"
PNG_END = b"IEND\xaeB`\x82"
RIFF_HEADER_BYTES = 8


# Pillow warns above one size and refuses above another. We read each header's size ourselves before any pixel.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Input:
    """A checked input: JSON numbers or named values, or the bytes of a picture."""

    value: Any | None = None
    data: bytes | None = None

    @property
    def sha256(self) -> str:
        """Hex hash of what was sent, equal for equal inputs."""
        if self.data is not None:
            return sha256(self.data).hexdigest()
        # In whatever order a client names the values of a record.
        return sha256(orjson.dumps(self.value, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def size(self) -> int | None:
        """Bytes of the file; None for JSON."""
        return None if self.data is None else len(self.data)


def read_input(request: Request, version: ServedVersion, max_pixels: int) -> Input:
    """Read the body in the form that the model takes.

    Raises:
        MalformedBodyError: It is empty, or not what its content type says.
        UnsupportedMediaError: Its content type is none that we read, or none that this model takes.
        InvalidInputError: It cannot be an input of this model; names the field.
    """
    kind = version.input["type"]
    if request.mimetype == JSON_TYPE:
        value = _json_input(request)
        if kind == "image":
            return _picture(_decode_base64(value), max_pixels)
        return _record(value, version) if kind == "record" else _vector(value, int(version.input["size"]))
    if kind != "image":
        expected = "{names: values}" if kind == "record" else "[numbers]"
        raise UnsupportedMediaError(f'model {version.model!r} takes application/json: {{"input": {expected}}}')
    return _picture(_file(request), max_pixels)


def _file(request: Request) -> bytes:
    if request.mimetype == MULTIPART_TYPE:
        part = request.files.get("file")
        if part is None:
            raise MalformedBodyError("the form has no file part named `file`")
        return _not_empty(part.read())
    if request.mimetype.startswith(BINARY_TYPES):
        return _not_empty(request.get_data(cache=False))
    if not request.mimetype and not request.content_length:
        return _not_empty(b"")
    raise UnsupportedMediaError(
        f"cannot read {request.mimetype or 'a body without content type'!r}; send image/jpeg, image/png, image/webp, "
        "multipart/form-data with a part `file`, or application/json"
    )


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise MalformedBodyError("the body is empty; send a picture, e.g. curl --data-binary @photo.jpg")
    return data


def _json_input(request: Request) -> Any:
    try:
        # NaN and infinity are no JSON, and orjson refuses them.
        body = orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"the body is not JSON: {error}") from error
    if not isinstance(body, Mapping):
        raise InvalidInputError("input", 'the body must be an object: {"input": …}')
    unknown = sorted(set(body) - {"input"})
    if unknown:
        raise InvalidInputError(unknown[0], f"unknown field {unknown[0]!r}; the body takes `input` alone")
    if "input" not in body:
        raise InvalidInputError("input", "the field `input` is missing")
    return body["input"]


def _vector(value: Any, length: int) -> Input:
    if not isinstance(value, list) or len(value) != length:
        raise InvalidInputError("input", f"must be a list of {length} numbers")
    for index, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise InvalidInputError(f"input.{index}", "must be a finite number")
    return Input(value=value)


def _record(value: Any, version: ServedVersion) -> Input:
    """Check named values by the rule that the worker decodes them with."""
    try:
        encode_record(read_fields(version.input["fields"]), value)
    except InvalidRecordError as error:
        raise InvalidInputError(f"input.{error.field}" if error.field else "input", error.detail) from error
    return Input(value=value)


def _decode_base64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidInputError("input", "must be a picture as a base64 string; or send its bytes as image/*")
    try:
        return _not_empty(base64.b64decode(value, validate=True))
    except ValueError as error:  # Also what a character outside ASCII raises; `binascii.Error` is one.
        raise InvalidInputError("input", f"is not base64: {error}") from error


def _picture(data: bytes, max_pixels: int) -> Input:
    """Check the header and the end of a picture; the worker decodes it."""
    try:
        picture = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
    except UnidentifiedImageError as error:
        raise InvalidInputError("input", "is no JPEG, PNG or WebP picture") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InvalidInputError("input", f"has a damaged header: {error}") from error
    width, height = picture.size
    if width * height > max_pixels:
        raise InvalidInputError("input", f"has more than {max_pixels // 1_000_000} megapixels; scale it down")
    if min(width, height) < MIN_SIDE_PX:
        raise InvalidInputError("input", f"is {width}x{height} pixels; the least is {MIN_SIDE_PX}x{MIN_SIDE_PX}")
    if not _is_whole(data, picture.format):
        raise InvalidInputError("input", "is cut off: the end of the picture is missing")
    return Input(data=data)


def _is_whole(data: bytes, kind: str | None) -> bool:
    if kind == "JPEG":
        return JPEG_END in data[-len(data) // 2 :]
    if kind == "PNG":
        return PNG_END in data
    return len(data) >= int.from_bytes(data[4:RIFF_HEADER_BYTES], "little") + RIFF_HEADER_BYTES
