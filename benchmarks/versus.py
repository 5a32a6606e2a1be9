"""The peers and the backend in turn on the same cores, with the same weights, photos and load; and the ratios."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.backend import load_model, running_backend, wait_for_model, write_xor
from benchmarks.peers.launch import PEERS, Peer, PeerFailedError, require_environment, running_peer, wait_until_answers
from benchmarks.photos import CONNECTIONS, JPEG, load_photos, running_here
from benchmarks.pictures import write_photos
from benchmarks.report import Figure, Unit, at_least
from benchmarks.resnet import FULL, LABELS, TUNED, import_into, write_weights
from benchmarks.wrk import Load, WrkOutputError, send_load, write_script
from benchmarks.xor import INLINE_OPTIONS, INLINE_WARM_UP_S, JSON, place_inline
from ml.bundles import BUNDLED_DIRECTORY, WEIGHTS_NAME

WARM_UP_S = 5.0

#: Photos whose label is compared.
COMPARED = 16
XOR_WEIGHTS = BUNDLED_DIRECTORY / "xor" / WEIGHTS_NAME

TUNED_RATIO, FULL_RATIO = 2.0, 1.0

#: How many times a peer's rate the queue has to reach; FastAPI, which stores nothing, is compared with inline.
QUEUE_RATIOS = {"LitServe": 2.0, "Ray Serve": 2.0, "Celery tutorial": 2.0, "BentoML": 1.5}
INLINE_RATIOS = {"FastAPI": 1.0}


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What a contestant made of the load, and the label that it gave to each input; None where it failed."""

    name: str
    load: Load | None
    labels: Sequence[str] = ()
    problem: str = ""


def compare_photos(seconds: float) -> list[Figure]:
    """Run resnet18 on every peer and on the backend, as tuned and held to fp32 and full decode."""
    require_environment()
    with TemporaryDirectory() as name:
        folder = Path(name)
        photos = write_photos(folder)
        weights = write_weights(folder / "resnet18.safetensors", photos)
        peers = [_run_peer(peer, "resnet18", weights, photos, folder, seconds) for peer in PEERS]
        with running_here() as stack:
            ours = []
            for setup in (TUNED, FULL):
                model = import_into(stack, weights, setup)
                labels = [wait_for_model(stack, model, photo.read_bytes(), JPEG) for photo in photos[:COMPARED]]
                load = load_photos(stack, model, photos, seconds)
                ours.append(Contest(name=setup.name, load=load, labels=[_index(label) for label in labels]))
    tuned, full = ours
    return [
        *[_rate(f"resnet18, 640x427 JPEG, {peer.name}", peer) for peer in peers],
        _rate("resnet18, 640x427 JPEG, ours as tuned", tuned),
        _over_best("  over the best peer", tuned, peers, TUNED_RATIO),
        _rate("resnet18, 640x427 JPEG, ours held to fp32 and full decode", full),
        _over_best("  over the best peer", full, peers, FULL_RATIO),
        _agreement("  same top-1 as the peers, as tuned", tuned, peers),
        _agreement("  same top-1 as the peers, held to fp32", full, peers),
    ]


def compare_xor(seconds: float) -> list[Figure]:
    """Run `xor` on every peer, through the queue and inline."""
    require_environment()
    with TemporaryDirectory() as name:
        folder = Path(name)
        body = write_xor(folder)
        peers = [_run_peer(peer, "xor", XOR_WEIGHTS, [body], folder, seconds) for peer in PEERS]
        with running_backend() as stack:
            queue = load_model(stack, "xor", [body], JSON, connections=CONNECTIONS, seconds=seconds)
        with running_backend(*INLINE_OPTIONS) as stack:
            place_inline(stack)
            inline = load_model(
                stack,
                "xor",
                [body],
                JSON,
                connections=CONNECTIONS,
                seconds=seconds,
                warm_up_s=INLINE_WARM_UP_S,
            )
    return [
        *[_rate(f"xor, {peer.name}", peer) for peer in peers],
        _rate("xor, ours, queue", Contest(name="queue", load=queue)),
        _rate("xor, ours, inline", Contest(name="inline", load=inline)),
        *[_over("queue", queue, peer, QUEUE_RATIOS[peer.name]) for peer in peers if peer.name in QUEUE_RATIOS],
        *[_over("inline", inline, peer, INLINE_RATIOS[peer.name]) for peer in peers if peer.name in INLINE_RATIOS],
    ]


def _run_peer(peer: Peer, model: str, weights: Path, inputs: Sequence[Path], folder: Path, seconds: float) -> Contest:
    """Start a peer, ask about some inputs, load it, and stop it. One that fails leaves its problem in the table."""
    requests = [peer.request(path.read_bytes(), model) for path in inputs]
    bodies = [folder / f"{peer.name}-{number}.body" for number in range(len(requests))]
    for path, request in zip(bodies, requests, strict=True):
        path.write_bytes(request.body)
    script = write_script(folder / "peer.lua", bodies, {"Content-Type": requests[0].content_type})
    try:
        with running_peer(peer, model, weights) as url:
            labels = [read_label(wait_until_answers(url, request)) for request in requests[:COMPARED]]
            send_load(url, script, connections=CONNECTIONS, seconds=WARM_UP_S)
            load = send_load(url, script, connections=CONNECTIONS, seconds=seconds)
        if load.good_per_second == 0:
            return Contest(name=peer.name, load=None, problem=f"no success under load; {load.failures} failed")
        return Contest(name=peer.name, load=load, labels=labels)
    except (PeerFailedError, WrkOutputError) as error:
        return Contest(name=peer.name, load=None, problem=str(error).strip().splitlines()[-1][:200])


def read_label(answer: str) -> str:
    """Read the label from an answer: `{"label": "7"}`, or `["7"]` from a peer that answers in batches."""
    read = json.loads(answer)
    return str(read["label"] if isinstance(read, dict) else read[0])


def agreement(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Return the share of inputs that got the same label, 0..1."""
    pairs = list(zip(ours, theirs, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def _index(label: str) -> str:
    """Turn our label into what the peers answer, the index of the class."""
    return str(LABELS.index(label))


def _best(peers: Sequence[Contest]) -> Contest | None:
    ran = [peer for peer in peers if peer.load is not None]
    return max(ran, key=_per_second, default=None)


def _per_second(contest: Contest) -> float:
    return 0.0 if contest.load is None else contest.load.good_per_second


def _rate(name: str, contest: Contest) -> Figure:
    if contest.load is None:
        return Figure(name=name, value=None, unit=Unit.PER_SECOND, note=contest.problem)
    load = contest.load
    note = f"p50 {load.p50_ms:.0f} ms, p99 {load.p99_ms:.0f} ms; {load.failures} failed"
    return Figure(name=name, value=load.good_per_second, unit=Unit.PER_SECOND, note=note)


def _over_best(name: str, ours: Contest, peers: Sequence[Contest], wanted: float) -> Figure:
    best = _best(peers)
    if best is None:
        return Figure(name=name, value=None, unit=Unit.RATIO, wanted=at_least(wanted), note="no peer ran")
    ratio = _per_second(ours) / _per_second(best)
    return Figure(name=name, value=ratio, unit=Unit.RATIO, wanted=at_least(wanted), note=best.name)


def _over(way: str, ours: Load, peer: Contest, wanted: float) -> Figure:
    return Figure(
        name=f"xor, {way}, over {peer.name}",
        value=None if peer.load is None else ours.good_per_second / peer.load.good_per_second,
        unit=Unit.RATIO,
        wanted=at_least(wanted),
        note=peer.problem,
    )


def _agreement(name: str, ours: Contest, peers: Sequence[Contest]) -> Figure:
    best = _best(peers)
    return Figure(
        name=name,
        value=None if best is None else agreement(ours.labels, best.labels) * 100,
        unit=Unit.PERCENT,
        note=f"of {COMPARED} photos",
    )
