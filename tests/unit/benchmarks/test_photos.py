"""What the contestants are given, and how they are compared."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.kill import longest_pause_s
from benchmarks.peers.launch import PEERS
from benchmarks.peers.resnet18 import MEAN, SIZE, STD, prepare
from benchmarks.pictures import PHOTO_SIZE, write_photos
from benchmarks.raw_loop import Candidate, candidates, run
from benchmarks.resnet import write_weights
from benchmarks.versus import INLINE_RATIOS, QUEUE_RATIOS, agreement, read_label
from ml.images import decode_picture
from ml.preparation import find_preparation


def test_photos_differ_from_each_other_but_not_between_runs(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first = [path.read_bytes() for path in write_photos(tmp_path, count=4)]
    again = [path.read_bytes() for path in write_photos(tmp_path / "again", count=4)]

    assert len(set(first)) == 4
    assert first == again
    assert Image.open(io.BytesIO(first[0])).size == PHOTO_SIZE


def test_the_search_tries_each_batch_on_all_cores_and_on_one_each() -> None:
    tried = candidates("bf16", "pillow", 4)

    assert {(each.processes, each.threads) for each in tried} == {(1, 4), (4, 1)}
    assert len(tried) == len(set(tried)) == 6


def test_on_one_core_there_is_one_layout() -> None:
    assert len(candidates("fp32", "pillow", 1)) == 3


@pytest.mark.timeout(400)
def test_the_raw_loop_answers_photos(tmp_path: Path) -> None:
    photos = write_photos(tmp_path, count=2)
    weights = write_weights(tmp_path / "weights.safetensors", photos)
    candidate = Candidate(precision="fp32", batch=2, processes=1, threads=1, decoder="simplejpeg")

    assert run(candidate, weights, photos, 0.1).per_second > 0


def test_the_peers_see_the_squares_that_we_see(tmp_path: Path) -> None:
    [path] = write_photos(tmp_path, count=1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    theirs = (prepare(Image.open(path).convert("RGB")) * std + mean) * 255
    ours = find_preparation("photo").prepare(decode_picture(path.read_bytes()), SIZE, 3)

    torch.testing.assert_close(theirs, ours.float(), atol=1.01, rtol=0)


@pytest.mark.parametrize("answer", ['{"label": "7"}', '["7"]'])
def test_the_label_is_read_from_any_answer(answer: str) -> None:
    assert read_label(answer) == "7"


def test_agreement_is_the_share_of_equal_labels() -> None:
    assert agreement(["1", "2", "3", "4"], ["1", "2", "3", "5"]) == pytest.approx(0.75)


def test_every_peer_has_a_ratio_to_reach() -> None:
    assert {peer.name for peer in PEERS} == QUEUE_RATIOS.keys() | INLINE_RATIOS.keys()


def test_a_pause_is_counted_from_the_kill_on() -> None:
    assert longest_pause_s([0.0, 5.0, 6.5, 6.6], since=5.5) == pytest.approx(1.0)


def test_no_answer_at_all_is_an_endless_pause() -> None:
    assert longest_pause_s([1.0], since=2.0) == float("inf")
