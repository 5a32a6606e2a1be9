"""torchvision's classifiers, and the weights that it publishes, from a server of this test."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

from ml.architectures.registry import find_builder
from ml.candidate import check_candidate
from ml.errors import DownloadError, InvalidSpecError, UnknownArchitectureError
from ml.spec import InputSpec
from ml.torchvision_weights import fetch_published

CHOICE = "torchvision:SqueezeNet1_1_Weights.IMAGENET1K_V1"
PHOTO = InputSpec(type="image", size=64)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "vit_b_32", "swin_t"])
def test_the_head_is_as_wide_as_there_are_labels(name: str) -> None:
    module = find_builder(f"torchvision:{name}")({}, PHOTO, 5).eval()
    with torch.inference_mode():
        assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_options_reach_torchvisions_own_function() -> None:
    module = find_builder("torchvision:mobilenet_v3_small")({"width_mult": 0.5}, PHOTO, 5)
    assert sum(parameter.numel() for parameter in module.parameters()) < 1_000_000


def test_a_classifier_that_is_not_there_is_refused_with_those_near_it() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"no classifier 'resnet19'; near it are: torchvision:resnet1"):
        find_builder("torchvision:resnet19")


@pytest.mark.parametrize("options", [{"depth": 3}, {"weights": "DEFAULT"}, {"num_classes": "many"}])
def test_options_that_are_not_the_functions_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match="arch_options"):
        find_builder("torchvision:squeezenet1_1")(options, PHOTO, 5)


@pytest.mark.parametrize("spec", [InputSpec(type="vector", size=3), replace(PHOTO, channels=1)])
def test_an_input_that_is_no_colour_photo_is_refused(spec: InputSpec) -> None:
    with pytest.raises(InvalidSpecError, match="an image of 3 channels for torchvision:squeezenet1_1"):
        find_builder("torchvision:squeezenet1_1")({}, spec, 5)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server and its folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", tmp_path
        server.shutdown()
        thread.join()


def _publish(publisher: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, *, prefix: str | None = None) -> None:
    """Let torchvision's description of its weights point at ours, of 1,000 labels with random numbers."""
    url, folder = publisher
    buffer = io.BytesIO()
    torch.save(squeezenet1_1().state_dict(), buffer)
    name = f"squeezenet1_1-{prefix or hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(buffer.getvalue())
    entry = SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(entry, "_value_", replace(entry.value, url=f"{url}/{name}"))


def test_published_weights_become_a_model_with_labels_and_input(
    publisher: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(publisher, monkeypatch)
    published = fetch_published(CHOICE)
    candidate = check_candidate({"name": "squeeze", **published.config}, published.weights)
    assert candidate.config["arch"] == "torchvision:squeezenet1_1"
    assert candidate.config["input"]["mean"] == [0.485, 0.456, 0.406]
    assert len(candidate.config["labels"]) == 1000
    assert candidate.metrics == {"imagenet_accuracy": 0.58178}


def test_weights_with_another_hash_are_refused(publisher: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(publisher, monkeypatch, prefix="00000000")
    with pytest.raises(DownloadError, match="invalid hash value"):
        fetch_published(CHOICE)


def test_without_a_network_the_other_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(entry, "_value_", replace(entry.value, url="http://127.0.0.1:9/squeezenet1_1-00000000.pth"))
    with pytest.raises(DownloadError, match="Without a network, save the weights as safetensors elsewhere"):
        fetch_published(CHOICE)


def test_weights_that_nobody_publishes_are_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"publishes none called 'Nope_Weights\.DEFAULT'"):
        fetch_published("torchvision:Nope_Weights.DEFAULT")


def test_weights_of_another_architecture_are_refused_with_those_that_fit() -> None:
    with pytest.raises(InvalidSpecError, match=r"published are: torchvision:ResNet18_Weights\.IMAGENET1K_V1"):
        fetch_published(CHOICE, "torchvision:resnet18")
