# SPDX-License-Identifier: Apache-2.0
"""`simdistill convert`: published weights → model packages, teacher parts, image encoders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from simdistill_ros.core.model_card_parts import PoseCard
from simdistill_training.convert.bevfusion import convert_camera_only, convert_teacher
from simdistill_training.convert.coverage import Coverage
from simdistill_training.convert.encoders import convert_resnet50, convert_swin


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a file and print what became of its keys; return the exit status.

    Published weights are refused as a whole when a key is unexplained or has another shape.
    """
    options = _parser().parse_args(arguments)
    try:
        coverage = _run(options)
    except ValueError as error:
        print(f"simdistill convert: {error}")
        return 1
    rows = coverage.rows if options.verbose else [r for r in coverage.rows if r.status != "used"]
    print(coverage.table(rows))
    print(f"wrote {options.output}")
    return 0


def _run(options: argparse.Namespace) -> Coverage:
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
    if values is None:
        return None
    x, y, z, qw, qx, qy, qz = values
    return PoseCard(translation_m=(x, y, z), rotation_wxyz=(qw, qx, qy, qz))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simdistill convert",
        description="Convert published weights; every key is accounted for",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, what, output in (
        ("camera-only-det", "BEVFusion's camera-only detector", "folder of the model package"),
        ("bevfusion-det", "BEVFusion's LiDAR-camera detector", "folder of card and teacher"),
        ("swin-t", "a Swin-T classifier or detector", "safetensors file of the encoder"),
        ("resnet50", "torchvision's ResNet-50", "safetensors file of the encoder"),
    ):
        command = kinds.add_parser(kind, help=what)
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
    return parser
