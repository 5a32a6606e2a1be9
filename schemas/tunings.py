"""Measurements of how a version runs fastest, on the wire."""

from typing import Any

from marshmallow import fields

from schemas.answers import AnswerSchema

EXAMPLE: dict[str, Any] = {
    "device_kind": "AMD EPYC 9654, avx512_bf16, 2 cores, 1 thread",
    "torch_version": "2.15.0+cpu",
    "complete": True,
    "choice": {
        "variant": {"dtype": "bf16", "channels_last": True, "fused": True, "compile": False, "graphs": False},
        "batch": 8,
    },
    "candidates": [
        {
            "name": "fp32",
            "verdict": "passed",
            "reason": "the reference",
            "items_per_s": 60.2,
            "speedup": 1.0,
            "agreement": 1.0,
            "max_error": 0.0,
        },
        {
            "name": "bf16 channels-last fused",
            "verdict": "chosen",
            "reason": "",
            "items_per_s": 211.4,
            "speedup": 3.51,
            "agreement": 1.0,
            "max_error": 0.0041,
        },
    ],
    "batches": [{"size": 1, "items_per_s": 142.0}, {"size": 8, "items_per_s": 211.4}],
    "race_batch": 8,
    "samples": 32,
    "source": "recent predictions",
    "tolerance": {"min_agreement": 0.99, "max_error": 0.02},
    "seconds": 3.4,
    "created_at": "2026-11-20T12:00:00.000000+00:00",
}


class TuningCandidateSchema(AnswerSchema):
    """One way to run the network, and what was measured of it."""

    name = fields.String(required=True, metadata={"description": "Number format, then what else is done."})
    verdict = fields.String(
        required=True,
        metadata={
            "description": "`chosen`; `passed`: within the tolerance, not the fastest; `slower` than fp32; `rejected`: "
            "its answers leave the tolerance, or it cannot be run; `skipped`: the time was up."
        },
    )
    reason = fields.String(required=True, metadata={"description": "Why, for people; may be empty."})
    items_per_s = fields.Float(
        required=True, allow_none=True, metadata={"description": "At `race_batch`; null where it was not run so far."}
    )
    speedup = fields.Float(
        required=True, allow_none=True, metadata={"description": "Over fp32, both run in turn; above 1 is faster."}
    )
    agreement = fields.Float(
        required=True, allow_none=True, metadata={"description": "Share of samples with the same answer as fp32, 0..1."}
    )
    max_error = fields.Float(
        required=True, allow_none=True, metadata={"description": "Largest difference from fp32, in the kind's measure."}
    )


class TuningBatchSchema(AnswerSchema):
    """The chosen way at one size of batch."""

    size = fields.Integer(required=True, metadata={"description": "Items in one forward."})
    items_per_s = fields.Float(required=True, metadata={"description": "In the fastest of a few runs."})


class TuningVariantSchema(AnswerSchema):
    """A way to run a network."""

    dtype = fields.String(required=True, metadata={"description": "`fp32`, `bf16` or `fp16`."})
    channels_last = fields.Boolean(required=True, metadata={"description": "Memory layout of pictures."})
    fused = fields.Boolean(required=True, metadata={"description": "Batch normalisations folded into convolutions."})
    compile = fields.Boolean(required=True, metadata={"description": "Through `torch.compile`."})
    graphs = fields.Boolean(required=True, metadata={"description": "Replayed as CUDA graphs."})


class TuningChoiceSchema(AnswerSchema):
    """What workers on this kind of device run."""

    variant = fields.Nested(TuningVariantSchema, required=True)
    batch = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Most items in one forward; null for the version's `max_batch`."},
    )


class TuningToleranceSchema(AnswerSchema):
    """How far answers may be from those of fp32; stated by the kind of model."""

    min_agreement = fields.Float(required=True, metadata={"description": "Least share of samples, 0..1."})
    max_error = fields.Float(required=True, metadata={"description": "In the kind's measure."})


class TuningSchema(AnswerSchema):
    """The latest measurement of a version on one kind of device."""

    device_kind = fields.String(
        required=True, metadata={"description": "Processor, instructions, cores and threads, or the GPU's name."}
    )
    torch_version = fields.String(required=True, metadata={"description": "Measured anew with another one."})
    complete = fields.Boolean(
        required=True, metadata={"description": "False: some ways are still to be measured, when a worker is idle."}
    )
    choice = fields.Nested(TuningChoiceSchema, required=True)
    candidates = fields.List(
        fields.Nested(TuningCandidateSchema),
        required=True,
        metadata={"description": "Every way that was thought of, the plainest first."},
    )
    batches = fields.List(
        fields.Nested(TuningBatchSchema), required=True, metadata={"description": "Sizes of batch, the least first."}
    )
    race_batch = fields.Integer(required=True, metadata={"description": "Size of batch that the ways ran with."})
    samples = fields.Integer(required=True, metadata={"description": "Inputs that answers were judged by."})
    source = fields.String(required=True, metadata={"description": "Where these inputs come from."})
    tolerance = fields.Nested(TuningToleranceSchema, required=True)
    seconds = fields.Float(required=True, metadata={"description": "How long the measurement took."})
    created_at = fields.AwareDateTime(required=True, metadata={"description": "When it was made."})
