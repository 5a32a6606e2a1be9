"""What is wrong with a request whatever it asks for: its path, its headers, its body, its page."""

from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnprocessableEntity

from webapp import errors
from webapp.problems.problem import Problem

MALFORMED_REQUEST = Problem(name="MalformedRequest", error=BadRequest, detail="the body is not JSON")
MALFORMED_BODY = Problem(
    name="MalformedBody", error=errors.MalformedBodyError, detail="the form has no file part named `file`"
)
INVALID_HEADER = Problem(
    name="InvalidHeader",
    error=errors.InvalidHeaderError,
    detail="cannot read 'wait=soon' in Prefer; it reads `wait=10`, in seconds",
)
UNKNOWN_PATH = Problem(name="UnknownPath", error=NotFound, detail=errors.HTTP_DETAILS[404])
TOO_LARGE = Problem(
    name="TooLarge",
    error=RequestEntityTooLarge,
    detail=RequestEntityTooLarge.description or "",
)
UNSUPPORTED_MEDIA_TYPE = Problem(
    name="UnsupportedMediaType",
    error=errors.UnsupportedMediaError,
    detail="model 'xor' takes application/json: {\"input\": [numbers]}",
)
INVALID_PAGE = Problem(
    name="InvalidPage",
    error=UnprocessableEntity,
    detail="limit: Must be greater than or equal to 1 and less than or equal to 500.",
    field="limit",
)
