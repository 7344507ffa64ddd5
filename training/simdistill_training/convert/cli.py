# SPDX-License-Identifier: Apache-2.0
"""`simdistill convert`: published weights → model packages, teacher parts, image encoders."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simdistill_ros.command_line.parser import add_command
from simdistill_ros.command_line.run import Outcome

if TYPE_CHECKING:
    from simdistill_ros.core.model_card_parts import PoseCard
    from simdistill_training.convert.coverage import Coverage

KINDS = (
    ("camera-only-det", "BEVFusion's camera-only detector", "folder of the model package"),
    ("bevfusion-det", "BEVFusion's LiDAR-camera detector", "folder of card and teacher"),
    ("swin-t", "a Swin-T classifier or detector", "safetensors file of the encoder"),
    ("resnet50", "torchvision's ResNet-50", "safetensors file of the encoder"),
)


def add_convert(commands: Any) -> None:
    """Add the command and one below it for each kind of published file."""
    examples = [
        ("simdistill convert swin-t swin_tiny.pth swin.safetensors", "an image encoder"),
        ("simdistill convert bevfusion-det bevfusion-det.pth teachers/published", "a teacher"),
    ]
    what = "convert published weights; every key is accounted for"
    command = add_command(commands, "convert", what, examples)
    kinds = command.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, description, output in KINDS:
        _add_kind(kinds, kind, description, output)


def _convert(arguments: argparse.Namespace) -> Outcome:
    """Convert a file and tell what became of its keys.

    Published weights are refused as a whole when a key is unexplained or has another shape.
    """
    coverage = _run(arguments)
    every = coverage.rows
    rows = every if arguments.verbose else [row for row in every if row.status != "used"]
    text = f"{coverage.table(rows)}\nwrote {arguments.output}"
    return Outcome(text, {"output": str(arguments.output), "keys": coverage.counts()})


def _run(options: argparse.Namespace) -> Coverage:
    # Late, because they import torch, which help and other commands need not wait for.
    from simdistill_training.convert.bevfusion import convert_camera_only, convert_teacher
    from simdistill_training.convert.encoders import convert_resnet50, convert_swin

    if options.kind == "camera-only-det":
        pose = _pose(options.ego_from_lidar)
        return convert_camera_only(options.source, options.output, ego_from_lidar=pose)
    if options.kind == "bevfusion-det":
        pose = _pose(options.ego_from_lidar)
        return convert_teacher(
            options.source,
            options.output,
            ego_from_lidar=pose,
            with_decoder=not options.without_decoder,
        )
    if options.kind == "swin-t":
        return convert_swin(options.source, options.output, merging=options.merging)
    return convert_resnet50(options.source, options.output)


def _pose(values: list[float] | None) -> PoseCard | None:
    from simdistill_ros.core.model_card_parts import PoseCard

    if values is None:
        return None
    x, y, z, qw, qx, qy, qz = values
    return PoseCard(translation_m=(x, y, z), rotation_wxyz=(qw, qx, qy, qz))


def _add_kind(kinds: Any, kind: str, description: str, output: str) -> None:
    examples = [(f"simdistill convert {kind} published.pth converted", description)]
    command = add_command(kinds, kind, description, examples)
    command.add_argument("source", type=Path, help="the published file")
    command.add_argument("output", type=Path, help=output)
    command.add_argument("--verbose", action="store_true", help="list used keys too")
    if kind.endswith("-det"):
        command.add_argument(
            "--ego-from-lidar",
            type=float,
            nargs=7,
            metavar=("X", "Y", "Z", "QW", "QX", "QY", "QZ"),
            help="mounting of LIDAR_TOP: metres and quaternion; default: most of nuScenes",
        )
    if kind == "bevfusion-det":
        command.add_argument(
            "--without-decoder",
            action="store_true",
            help="only camera, LiDAR and fuser, for a teacher with a centre head of its own",
        )
    if kind == "swin-t":
        command.add_argument(
            "--merging",
            choices=("auto", "grouped", "interleaved"),
            default="auto",
            help="channel order of patch merging; auto: what is usual for the file's names",
        )
    command.set_defaults(command=_convert)
