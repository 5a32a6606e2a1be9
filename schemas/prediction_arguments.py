"""What a request about predictions says beside its body: in its query and in its headers."""

from marshmallow import EXCLUDE, Schema, fields, validate

from schemas.client_names import ITEM_NAME, NAME
from schemas.enums import PredictionStatus, Priority
from schemas.instants import Instant
from schemas.pages import PageQueryArgsSchema

#: Requests with one value of it go to one version, where a model's traffic is split by it.
STICKY_HEADER = "X-Sticky-Key"

#: Longest deadline: a day.
DEADLINE_LIMIT_MS = 86_400_000


class PredictionQueryArgsSchema(Schema):
    """How a prediction is made."""

    version = fields.Integer(
        load_default=None, validate=validate.Range(min=1), metadata={"description": "Default: the champion."}
    )
    catalog = fields.String(load_default=None, validate=ITEM_NAME, metadata={"description": "Goes with `external_id`."})
    external_id = fields.String(load_default=None, validate=ITEM_NAME, metadata={"description": "Goes with `catalog`."})
    priority = fields.Enum(
        Priority,
        by_value=True,
        load_default=Priority.NORMAL,
        metadata={"description": "Who goes first when many wait; `normal` by default."},
    )
    deadline_ms = fields.Integer(
        load_default=None,
        validate=validate.Range(min=1, max=DEADLINE_LIMIT_MS),
        metadata={"description": "Expires when no worker took it up within so many milliseconds."},
    )
    no_cache = fields.Boolean(
        load_default=False, metadata={"description": "`true` computes anew, even where the model remembers answers."}
    )
    webhook = fields.UUID(
        load_default=None,
        metadata={
            "description": "One of your webhook endpoints, which is told of the end, whatever else it is told of."
        },
    )


class WaitHeadersSchema(Schema):
    """How long to wait for the answer."""

    class Meta:
        """Requests carry many other headers."""

        unknown = EXCLUDE

    prefer = fields.String(
        data_key="Prefer",
        load_default=None,
        metadata={
            "description": "`wait=N` waits up to N seconds (at most 60) for the answer; `respond-async` does not wait.",
            "examples": ["wait=10"],
        },
    )


class MaskHeadersSchema(Schema):
    """What the caller has already."""

    class Meta:
        """Requests carry many other headers."""

        unknown = EXCLUDE

    if_none_match = fields.String(
        data_key="If-None-Match",
        load_default=None,
        metadata={"description": "An `ETag` that was answered before; the same mask is not sent again."},
    )


class PredictionHeadersSchema(WaitHeadersSchema):
    """How long to wait, and how to repeat a request safely."""

    idempotency_key = fields.String(
        data_key="Idempotency-Key",
        load_default=None,
        validate=NAME,
        metadata={"description": "The same key within 7 days is the same prediction, however often it is sent."},
    )
    sticky_key = fields.String(
        data_key=STICKY_HEADER,
        load_default=None,
        validate=NAME,
        metadata={
            "description": "Where the model's traffic is split with `sticky` as `header`: requests with the same value "
            "are answered by the same version."
        },
    )


class PredictionListQueryArgsSchema(PageQueryArgsSchema):
    """Which predictions."""

    model = fields.String(load_default=None, validate=NAME, metadata={"description": "Only those of this model."})
    version = fields.Integer(
        load_default=None, validate=validate.Range(min=1), metadata={"description": "Only those of this version."}
    )
    status = fields.Enum(
        PredictionStatus, by_value=True, load_default=None, metadata={"description": "Only those with this status."}
    )
    created_after = Instant(
        load_default=None, metadata={"description": "Only those accepted after this time, which names its zone."}
    )
    created_before = Instant(
        load_default=None, metadata={"description": "Only those accepted before this time, which names its zone."}
    )
