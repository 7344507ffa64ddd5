# SPDX-License-Identifier: Apache-2.0
"""A node that cannot be configured says why, stays alive, and can be configured afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

import torch
from faults.fault_bench import FaultBench
from faults.package_faults import START_FAULTS, StartFault
from rclpy.parameter import Parameter
from rig_bench import OneBoxDetector

from benchmarks.fuzz.small_package import write_package
from simdistill_ros.core.golden import load_golden
from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.detector_node import DetectorNode
from simdistill_ros.load_detector import load_detector

NUMBERS = itertools.count()


class Loader:
    """The node's own loader; of a package that is whole, the files alone are verified."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_spoilt = True

    def __call__(self, parameters: Any) -> Any:
        takes_stub = parameters.model_path == "" or not self.is_spoilt
        if not takes_stub:
            return load_detector(parameters)
        card = load_model_card(self.folder)
        assert load_golden(card) is not None
        card.verified_weights()
        return OneBoxDetector()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    write_package(folder)
    return folder


@pytest.fixture
def whole(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "model"))


@pytest.fixture(scope="module")
def graph() -> Any:
    bench = FaultBench(50 + (os.getpid() * 7 + 3) % 45)
    bench._listen()
    yield bench
    bench.close()


def start(graph: FaultBench, loader: Loader, parameters: dict[str, Any]) -> DetectorNode:
    values = {"diagnostics.period_s": 0.05, "input.compressed": False, **parameters}
    # rclpy keeps the name of a destroyed lifecycle node for a while.
    node = DetectorNode(
        loader,
        f"detector_{next(NUMBERS)}",
        context=graph.context,
        parameter_overrides=[Parameter(key, value=value) for key, value in values.items()],
    )
    graph.executor.add_node(node)
    return node


@pytest.mark.parametrize("fault", START_FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_a_node_that_cannot_be_configured_says_why_and_can_be_afterwards(
    graph: FaultBench,
    package: Path,
    whole: Path,
    fault: StartFault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fault.spoil(whole)
    loader = Loader(whole)
    path = {} if fault.group == "parameter" else {"model.path": str(whole)}
    node = start(graph, loader, {**path, **fault.parameters})
    loader.folder = package if fault.group == "parameter" else whole
    graph.statuses.clear()
    try:
        assert not node.autostart()
        assert graph.spin_until(lambda: graph.statuses_of("model", "not_configured"))
        (status, *_) = graph.statuses_of("model", "not_configured")
        assert status.level == b"\x02"
        assert all(word in status.message for word in fault.words), status.message
        if "started" not in fault.recovery:
            shutil.rmtree(whole, ignore_errors=True)
            shutil.copytree(package, whole)
            loader.is_spoilt = False
            assert node.autostart()
    finally:
        graph.executor.remove_node(node)
        node.close()
        node.destroy_node()
