# SPDX-License-Identifier: Apache-2.0
"""The commands `simdistill quantize` and `simdistill parity`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simdistill_ros.command_line.parser import add_command
from simdistill_ros.command_line.run import FINE, FOUND, Outcome
from simdistill_ros.command_line.terminal import RED, painted

if TYPE_CHECKING:
    from simdistill_training.deploy.frames import FrameSource


def add_deploy(commands: Any) -> None:
    """Add both commands to the parser's."""
    _add_quantize(commands)
    _add_parity(commands)


def _add_quantize(commands: Any) -> None:
    examples = [
        ("simdistill quantize out/mine --dataroot DATA --split val --calibration-split train",
         "for CPUs; proves what it costs"),
        ("simdistill quantize out/mine --dataroot DATA --split val --for tensorrt", "for TensorRT"),
    ]  # fmt: skip
    what = "add 8-bit graphs to an exported package"
    command = add_command(commands, "quantize", what, examples)
    command.add_argument("package", type=Path, help="exported model package; changed in place")
    _add_frames(command)
    command.add_argument("--calibration-split", help="frames that set the ranges; default: --split")
    command.add_argument("--frames", type=int, default=32, help="calibration frames (default: 32)")
    command.add_argument("--max-drop", type=float, default=0.01,
                         help="most that mAP and NDS may lose (default: 0.01)")  # fmt: skip
    command.add_argument("--for", dest="target", choices=("cpu", "tensorrt"), default="cpu",
                         help="what runs them (default: cpu)")  # fmt: skip
    command.add_argument("--weight-bits", type=int, choices=(7, 8),
                         help="8 overflow on old CPUs; default: 7, TensorRT 8")  # fmt: skip
    command.set_defaults(command=_quantize)


def _quantize(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.deploy.qdq_graph import Int8Form
    from simdistill_training.deploy.quantize import QuantiseOptions, quantise_package

    evaluation = frames_of(arguments)
    split = arguments.calibration_split or arguments.split
    calibration = replace(evaluation, split=split, limit=None)
    form = Int8Form(
        activations="uint8" if arguments.target == "cpu" else "int8",
        weight_bits=arguments.weight_bits or (7 if arguments.target == "cpu" else 8),
    )
    options = QuantiseOptions(
        calibration=calibration,
        evaluation=evaluation,
        form=form,
        frames=arguments.frames,
        max_drop=arguments.max_drop,
        threshold=arguments.score_threshold,
    )
    card, proof = quantise_package(arguments.package, options)
    assert card.int8 is not None
    scores = card.int8.scores
    text = (
        f"{card.file}: onnxruntime int8 passes the {proof}\n"
        f"mAP {scores.mean_ap_float:.4f} -> {scores.mean_ap:.4f}, "
        f"NDS {scores.nds_float:.4f} -> {scores.nds:.4f} on {scores.data}"
    )
    return Outcome(text, {"card": str(card.file), "scores": scores.model_dump(mode="json")})


def _add_parity(commands: Any) -> None:
    examples = [
        ("simdistill parity out/mine --dataroot DATA --split mini_val --limit 5",
         "every backend, shortcut and the node on the same frames"),
        ("simdistill parity out/mine --dataroot DATA --no-ros", "without the node"),
    ]  # fmt: skip
    command = add_command(commands, "parity", "compare every path from files to boxes", examples)
    command.add_argument("package", type=Path, help="exported model package")
    _add_frames(command)
    command.add_argument("--out", type=Path, default=Path("out/parity"), help="default %(default)s")
    command.add_argument("--device", default="cpu", help="of backends and node (default: cpu)")
    command.add_argument("--max-drop", type=float, default=0.01,
                         help="most that shortcuts and fp16 may lose (default: 0.01)")  # fmt: skip
    command.add_argument("--no-ros", dest="ros", action="store_false", help="leave the node out")
    command.set_defaults(command=_parity)


def _parity(arguments: argparse.Namespace) -> Outcome:
    from simdistill_ros.core.model_card import load_model_card
    from simdistill_training.deploy.parity import ParityOptions, check_parity, format_parity

    options = ParityOptions(
        source=frames_of(arguments),
        out=arguments.out,
        device=arguments.device,
        threshold=arguments.score_threshold,
        max_drop=arguments.max_drop,
        ros=arguments.ros,
    )
    parity = check_parity(load_model_card(arguments.package), options)
    file = options.out / "parity.json"
    lines = [format_parity(parity), f"numbers of every tensor in {file}"]
    if parity.failures:
        lines.append(painted("not equal: ", RED, sys.stdout) + "; ".join(parity.failures))
    data = json.loads(file.read_text(encoding="utf-8"))
    return Outcome("\n".join(lines), data, FOUND if parity.failures else FINE)


def frames_of(arguments: argparse.Namespace) -> FrameSource:
    """Return the frames that the command line names."""
    from simdistill_training.deploy.frames import FrameSource

    return FrameSource(arguments.dataroot, arguments.version, arguments.split, arguments.limit)


def _add_frames(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataroot", type=Path, required=True, help="nuScenes folder")
    command.add_argument(
        "--version", default="v1.0-mini", help="of its tables (default: v1.0-mini)"
    )
    command.add_argument("--split", help="frames that are scored (default: all)")
    command.add_argument("--limit", type=int, help="only the first keyframes of each scene")
    command.add_argument("--score-threshold", type=float, help="default: the model card's")
