"""How the input of a prediction looks in the OpenAPI document; `webapp.inputs` reads it."""

from typing import Any

from schemas.models import RECORD_EXAMPLE
from store.addresses import URL_LENGTH

PICTURE = {"schema": {"type": "string", "format": "binary", "description": "The bytes of the file."}}

URL_EXAMPLE = "https://shop.example/photos/42.jpg"

IMAGE_URL: dict[str, Any] = {
    "type": "string",
    "format": "uri",
    "maxLength": URL_LENGTH,
    "description": "Where the picture is: `http` or `https`, on port 80 or 443 of the public internet. It is fetched "
    "after the prediction was accepted, following three redirects at most; where that fails, the prediction fails with "
    "the code `fetch_failed`.",
}

#: The body of `create_prediction`.
CREATE_BODY: dict[str, Any] = {
    "required": True,
    "description": "A picture as a form part, as bytes, as base64 or by its URL, or numbers, or named values; "
    "whichever the model takes, see its `input`.",
    "content": {
        # The first is what a generator that knows but one takes: photos are what most clients send.
        "multipart/form-data": {
            "schema": {
                "title": "PredictionForm",
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP."}},
            }
        },
        "application/json": {
            "schema": {
                "title": "PredictionInput",
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
                "properties": {
                    "image_url": IMAGE_URL,
                    # Without a type: what it is depends on the model, and generators wrap each of several in a class.
                    "input": {
                        "description": "What the model takes: a list of numbers, an object of named values, or a "
                        "picture as base64."
                    },
                },
            },
            "examples": {
                "numbers": {"summary": "For a model that takes a vector.", "value": {"input": [0, 1]}},
                "record": {"summary": "For a model that takes named values.", "value": {"input": RECORD_EXAMPLE}},
                "url": {"summary": "A picture that is fetched for you.", "value": {"image_url": URL_EXAMPLE}},
            },
        },
        "image/jpeg": PICTURE,
        "image/png": PICTURE,
        "image/webp": PICTURE,
        "application/octet-stream": PICTURE,
    },
}
