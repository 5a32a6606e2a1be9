"""What a request asks about: read from any of the accepted bodies, checked as far as it can be without the network."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from schemas.pictures import PictureError, check_picture
from schemas.records import InvalidRecordError, encode_record, read_fields
from store.addresses import OutwardRules, read_url
from store.errors import UrlRefusedError
from store.models import ServedVersion
from webapp.bodies import JSON_TYPE, Body
from webapp.errors import InvalidInputError, MalformedBodyError, UnsupportedMediaError

INPUT_FIELD = "input"
URL_FIELD = "image_url"

#: Where URLs lead unless the operator says otherwise.
PUBLIC = OutwardRules()

MULTIPART_TYPE = "multipart/form-data"
BINARY_TYPES = ("image/", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Input:
    """A checked input: JSON numbers or named values, the bytes of a picture, or the URL of one."""

    value: Any | None = None
    data: bytes | None = None
    url: str | None = None

    @property
    def sha256(self) -> str:
        """Hex hash of what was sent, equal for equal inputs; what is behind a URL may change."""
        if self.data is not None:
            return sha256(self.data).hexdigest()
        if self.url is not None:
            return sha256(self.url.encode()).hexdigest()
        # In whatever order a client names the values of a record.
        return sha256(orjson.dumps(self.value, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def size(self) -> int | None:
        """Bytes of the file; None for JSON, and for what is to be fetched."""
        return None if self.data is None else len(self.data)


def read_input(request: Body, version: ServedVersion, max_pixels: int, rules: OutwardRules = PUBLIC) -> Input:
    """Read the body in the form that the model takes.

    Args:
        request: With the body.
        version: Of the model.
        max_pixels: Of a picture, width times height.
        rules: Where the URL of a picture may lead.

    Raises:
        MalformedBodyError: It is empty, or not what its content type says.
        UnsupportedMediaError: Its content type is none that we read, or none that this model takes.
        InvalidInputError: It cannot be an input of this model; names the field.
    """
    kind = version.input["type"]
    if request.mimetype == JSON_TYPE:
        field, value = _json_input(request)
        if field == URL_FIELD:
            return _url(value, version, rules)
        if kind == "image":
            return _picture(_decode_base64(value), max_pixels)
        return _record(value, version) if kind == "record" else _vector(value, int(version.input["size"]))
    if kind != "image":
        expected = "{names: values}" if kind == "record" else "[numbers]"
        raise UnsupportedMediaError(f'model {version.model!r} takes application/json: {{"input": {expected}}}')
    return _picture(_file(request), max_pixels)


def _file(request: Body) -> bytes:
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


def _json_input(request: Body) -> tuple[str, Any]:
    """The one field of the body, and what it holds."""
    try:
        # NaN and infinity are no JSON, and orjson refuses them.
        body = orjson.loads(request.get_data(cache=False))
    except orjson.JSONDecodeError as error:
        raise MalformedBodyError(f"the body is not JSON: {error}") from error
    if not isinstance(body, Mapping):
        raise InvalidInputError("input", 'the body must be an object: {"input": …}')
    unknown = sorted(set(body) - {INPUT_FIELD, URL_FIELD})
    if unknown:
        raise InvalidInputError(
            unknown[0], f"unknown field {unknown[0]!r}; the body takes `input` or `image_url` alone"
        )
    if len(body) > 1:
        raise InvalidInputError(URL_FIELD, "stands beside `input`; send one of them")
    if not body:
        raise InvalidInputError(INPUT_FIELD, "the field `input` is missing")
    return next(iter(body.items()))


def _url(value: Any, version: ServedVersion, rules: OutwardRules) -> Input:
    """Check what can be said of a URL without asking anybody; the fetcher finds out the rest."""
    if version.input["type"] != "image":
        raise InvalidInputError(URL_FIELD, f"model {version.model!r} takes no pictures; send `input`")
    if not isinstance(value, str):
        raise InvalidInputError(URL_FIELD, "must be a string")
    try:
        return Input(url=read_url(value, rules).url)
    except UrlRefusedError as error:
        raise InvalidInputError(URL_FIELD, str(error)) from error


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
        check_picture(data, max_pixels)
    except PictureError as error:
        raise InvalidInputError("input", str(error)) from error
    return Input(data=data)
