# SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime is given, and what it is not. Its numbers are tested where graphs are made."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.onnxruntime_backend import OnnxRuntimeBackend
from simdistill_ros.core.model_card import ModelCard, ModelCardError
from simdistill_ros.core.model_card_deployment import OnnxCard, OnnxFileCard

pytest.importorskip("onnxruntime")


def with_onnx(card: ModelCard, image: bytes, digest: str = "") -> ModelCard:
    (card.file.parent / "image.onnx").write_bytes(image)
    digest = digest or hashlib.sha256(image).hexdigest()
    onnx = OnnxCard(
        image=OnnxFileCard(file="image.onnx", sha256=digest),
        bev=OnnxFileCard(file="bev.onnx", sha256="0" * 64),
        opset=20,
        precision="fp32",
    )
    changed = card.model_copy(update={"onnx": onnx})
    changed._file = card.file
    return changed


def test_a_file_with_another_hash_is_refused_before_it_is_parsed(
    package: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("onnxruntime.InferenceSession", parse)
    with pytest.raises(ModelCardError, match=r"onnx\.image\.sha256: expected 1{64} for .*got"):
        OnnxRuntimeBackend(with_onnx(package, b"other bytes", "1" * 64))


def test_a_file_that_is_no_onnx_is_refused_by_name(package: ModelCard) -> None:
    with pytest.raises(BackendError, match=r"image\.onnx: ONNX Runtime refuses it"):
        OnnxRuntimeBackend(with_onnx(package, b"no model"))


def test_a_missing_file_is_named(package: ModelCard) -> None:
    card = with_onnx(package, b"no model")
    (card.file.parent / "image.onnx").unlink()
    with pytest.raises(ModelCardError, match=r"onnx\.image\.file: .*image\.onnx does not exist"):
        OnnxRuntimeBackend(card)


def test_groups_that_do_not_make_up_the_cameras_are_refused(package: ModelCard) -> None:
    card = with_onnx(package, b"no model")
    cameras = len(card.cameras)
    assert card.onnx is not None
    onnx = card.onnx.model_copy(update={"cameras_per_run": cameras + 1})
    changed = card.model_copy(update={"onnx": onnx})
    changed._file = card.file
    with pytest.raises(ModelCardError, match=rf"cameras_per_run: expected a divisor of {cameras}"):
        OnnxRuntimeBackend(changed)


@pytest.mark.parametrize(
    ("device", "available", "taken"),
    [
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], "CPUExecutionProvider"),
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"], "CUDAExecutionProvider"),
        ("cuda", ["TensorrtExecutionProvider"], "TensorrtExecutionProvider"),
        ("cuda", ["CPUExecutionProvider"], "CPUExecutionProvider"),
    ],
)
def test_the_provider_is_that_of_the_device_where_there_is_one_else_the_cpus_with_a_warning(
    package: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    device: str,
    available: list[str],
    taken: str,
) -> None:
    asked: list[list[str]] = []

    def session(*_: object, providers: list[str]) -> None:
        asked.append(providers)
        raise RuntimeError("seen enough")

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: available)
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    with pytest.raises(BackendError, match="seen enough"):
        OnnxRuntimeBackend(with_onnx(package, b"no model"), device)
    assert asked == [[taken]]
    assert ("runs on the CPU" in caplog.text) == (
        device == "cuda" and taken == "CPUExecutionProvider"
    )


@pytest.mark.parametrize(("policy", "spinning"), [("PASSIVE", "0"), ("active", "1"), (None, "0")])
def test_waiting_threads_spin_only_if_the_user_says_so(
    package: ModelCard, monkeypatch: pytest.MonkeyPatch, policy: str | None, spinning: str
) -> None:
    seen = {}

    def parse(_: bytes, options: Any, **__: object) -> None:
        for name in ("session.intra_op.allow_spinning", "session.force_spinning_stop"):
            seen[name] = options.get_session_config_entry(name)
        raise RuntimeError("seen")

    monkeypatch.setattr("onnxruntime.InferenceSession", parse)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    with pytest.raises(BackendError, match="seen"):
        OnnxRuntimeBackend(with_onnx(package, b"a graph"))
    assert seen == {
        "session.intra_op.allow_spinning": spinning,
        "session.force_spinning_stop": "1",
    }
