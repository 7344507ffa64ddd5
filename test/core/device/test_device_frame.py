# SPDX-License-Identifier: Apache-2.0
"""Pixels to boxes in one go against the same card's preprocess, network and decode one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simdistill_ros.core.backends.base import BackendError, FrameBackend
from simdistill_ros.core.backends.torch_backend import TorchBackend, TorchFrameBackend
from simdistill_ros.core.boxes import Detections, empty_detections
from simdistill_ros.core.camera import CameraCalibration
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.frames import rigid, rotation_about_z
from simdistill_ros.core.golden import SelfTestError, record_golden, run_self_test
from simdistill_ros.core.model_card import ModelCard, model_card_from_dict
from simdistill_ros.core.model_card_deployment import GoldenCard
from simdistill_ros.core.preprocess import InputRule, Preprocessor
from simdistill_ros.core.snapshot import Snapshot, View

K = np.array([[90.0, 0.0, 79.5], [0.0, 90.0, 40.0], [0.0, 0.0, 1.0]])
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def snapshot_of(card: ModelCard, seed: int = 0, **calibration: Any) -> Snapshot:
    views = []
    for index, camera in enumerate(card.cameras):
        coarse = np.random.default_rng(seed + index).integers(0, 256, (9, 16, 3), np.uint8)
        image = cv2.resize(coarse, (160, 90), interpolation=cv2.INTER_CUBIC)
        pose = rigid(rotation_about_z(np.pi * index) @ OPTICAL, [1.0, 0.0, 1.5])
        camera_model = CameraCalibration(160, 90, K, **calibration)
        views.append(View(camera, 0, image, camera_model, pose))
    return Snapshot(42, tuple(views))


def assert_same(actual: Detections, expected: Detections, tolerance: float = 1e-4) -> None:
    assert (actual.frame, actual.stamp_ns) == (expected.frame, expected.stamp_ns)
    np.testing.assert_array_equal(actual.labels, expected.labels)
    for name in ("centers_m", "sizes_lwh_m", "yaws_rad", "velocities_mps", "scores"):
        np.testing.assert_allclose(
            getattr(actual, name), getattr(expected, name), atol=tolerance, err_msg=name
        )


def step_by_step(card: ModelCard) -> Detector:
    return Detector(card, TorchBackend(card))


def in_one_go(card: ModelCard) -> Detector:
    return Detector(card, TorchFrameBackend(card, "cpu"))


def test_the_backend_says_by_its_methods_that_it_goes_from_pixels_to_boxes(card_data) -> None:
    card = model_card_from_dict(card_data)

    assert isinstance(TorchFrameBackend(card, "cpu"), FrameBackend)
    assert not isinstance(TorchBackend(card), FrameBackend)


def test_whole_images_give_the_boxes_of_the_single_steps(card_data) -> None:
    card = model_card_from_dict(card_data)

    boxes = in_one_go(card).detect(snapshot_of(card))

    assert_same(boxes, step_by_step(card).detect(snapshot_of(card)))
    assert len(boxes) > 20
    assert boxes.frame == "base_link"


def test_distorted_cameras_are_rendered_on_the_host_first(card_data) -> None:
    card = model_card_from_dict(card_data)
    lens = {"distortion": (-0.3, 0.1, 0.0, 0.0, 0.0), "distortion_model": "plumb_bob"}
    snapshot = snapshot_of(card, **lens)

    boxes = in_one_go(card).detect(snapshot)

    assert_same(boxes, step_by_step(card).detect(snapshot))
    straight = step_by_step(card).detect(snapshot_of(card))
    assert not np.array_equal(boxes.scores[:5], straight.scores[:5])


def test_buffers_hold_the_newest_frame_calibration_and_threshold(card_data) -> None:
    card = model_card_from_dict(card_data)
    first, second = snapshot_of(card, 0), snapshot_of(card, 10)
    turn = rigid(rotation_about_z(0.4), [0.0, 0.5, 0.0])
    views = tuple(replace(view, ego_from_cam=turn @ view.ego_from_cam) for view in second.views)
    moved = replace(second, views=views)
    detector, reference = in_one_go(card), step_by_step(card)

    for snapshot, threshold in ((first, None), (second, 0.08), (moved, 0.08), (first, 0.05)):
        boxes = detector.detect(snapshot, threshold)
        assert_same(boxes, reference.detect(snapshot, threshold))


def test_a_swin_student_runs_in_one_go_too(card_data) -> None:
    card_data["encoder"] = {"kind": "swin", "embed_channels": 8, "depths": [2, 2, 2, 2],
                            "heads": [1, 2, 2, 2], "window": 3, "mlp_ratio": 2,
                            "drop_path": 0.0}  # fmt: skip
    card = model_card_from_dict(card_data)
    detector, reference = in_one_go(card), step_by_step(card)

    for seed in (0, 5):  # the second run uses the masks that the first one made
        boxes = detector.detect(snapshot_of(card, seed))
        assert_same(boxes, reference.detect(snapshot_of(card, seed)))


class NothingFromTheHost(TorchDispatchMode):
    """Refuses what a CUDA graph cannot record: values that go to the host or come from it."""

    refused = (
        "item",
        "_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique",
        "repeat_interleave", "lift_fresh", "_pin_memory",
    )  # fmt: skip

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert not name.startswith(self.refused), f"{name} cannot be recorded"
        masks = [a for a in tree_leaves(args) if isinstance(a, torch.Tensor)][1:]
        is_masked = name.startswith("index") and any(m.dtype == torch.bool for m in masks[:1])
        assert not is_masked, f"{name} with a mask cannot be recorded"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x[:, [1, 0]],
        lambda x: x.new_tensor([1.0]),
    ],
)
def test_the_watch_for_what_cannot_be_recorded_sees_it(forbidden) -> None:
    with NothingFromTheHost(), pytest.raises(AssertionError, match="cannot be recorded"):
        forbidden(torch.ones(2, 2))


def test_a_frame_does_nothing_that_a_cuda_graph_cannot_record(
    card_data, encoder: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quirks = ("squared_circle_distance", "lidar_box_convention", "raised_height")
    card_data |= {"encoder": encoder, "legacy": dict.fromkeys(quirks, True)}
    card = model_card_from_dict(card_data)
    backend = TorchFrameBackend(card, "cpu")
    Detector(card, backend).detect(snapshot_of(card))  # fills what is kept
    frame = backend.frame_of((90, 160))

    def refused(*_: Any) -> None:
        raise AssertionError("an array cannot be copied to the device while recording")

    for maker in ("from_numpy", "tensor", "as_tensor"):
        monkeypatch.setattr(torch, maker, refused)
    with NothingFromTheHost():
        _, packed = frame.run()

    assert packed.shape[0] > 1


def test_half_precision_moves_scores_by_little(card_data) -> None:
    card = model_card_from_dict(card_data)
    backend = TorchFrameBackend(card, "cpu", "bf16")

    boxes = Detector(card, backend).detect(snapshot_of(card), 0.0)

    expected = step_by_step(card).detect(snapshot_of(card), 0.0)
    assert "bf16" in backend.description
    np.testing.assert_allclose(boxes.scores[:20], expected.scores[:20], atol=0.02)
    assert not np.array_equal(boxes.scores[:20], expected.scores[:20])


def test_the_self_test_holds_the_served_boxes_to_the_package(card_data) -> None:
    card = model_card_from_dict(card_data)
    section = GoldenCard(file="golden.safetensors", sha256="0" * 64, tolerance=1e-4)
    card = card.model_copy(update={"golden": section})
    rendered = Preprocessor(InputRule((32, 64), 72, "bilinear_antialias"), card.cameras)
    seen = rendered(snapshot_of(card))
    golden = record_golden(
        card,
        TorchBackend(card),
        np.asarray(seen.images),
        bev_from_cam=seen.ego_from_cam,
        input_from_cam=seen.input_from_cam,
        tolerance=1e-4,
    )

    class Blind(TorchFrameBackend):
        def detect_frame(self, *arguments: Any) -> Detections:
            return empty_detections("bev", 0, card.classes)

    assert run_self_test(card, golden, TorchFrameBackend(card, "cpu")).box_count > 10
    with pytest.raises(SelfTestError, match="best boxes of the model package are lost"):
        run_self_test(card, golden, Blind(card, "cpu"))


def test_an_unknown_precision_is_refused_by_name(card_data) -> None:
    with pytest.raises(BackendError, match="expected precision fp32, fp16, bf16; got 'int8'"):
        TorchFrameBackend(model_card_from_dict(card_data), "cpu", "int8")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_replayed_graph_gives_the_cpus_boxes_after_a_new_calibration(
    card_data, precision: str
) -> None:
    card = model_card_from_dict(card_data)
    detector = Detector(card, TorchFrameBackend(card, "cuda", precision))
    reference = step_by_step(card)
    tolerance = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.1}[precision]

    for seed in (0, 3, 6):
        snapshot = snapshot_of(card, seed)
        views = tuple(
            replace(
                v, ego_from_cam=rigid(rotation_about_z(0.1 * seed), np.zeros(3)) @ v.ego_from_cam
            )
            for v in snapshot.views
        )
        turned = replace(snapshot, views=views)
        actual, expected = detector.detect(turned, 0.0), reference.detect(turned, 0.0)
        np.testing.assert_allclose(actual.scores[:20], expected.scores[:20], atol=tolerance)
        if precision == "fp32":
            assert_same(actual, expected, tolerance)
