# SPDX-License-Identifier: Apache-2.0
"""Build a model's TensorRT engines now, so that the node finds them when it starts.

ros2 run simdistill_ros build_engines --model PATH
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.engine_cache import EngineCache, default_folder
from simdistill_ros.core.model_card import ModelCardError, load_model_card
from simdistill_ros.resources import model_folder


def main(arguments: list[str] | None = None) -> int:
    """Build what is not in the cache yet; return 2 with a message if that is not possible here."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for line in _built(options):
            print(line)
    except (BackendError, ModelCardError, FileNotFoundError) as error:
        print(f"build_engines: {error}", file=sys.stderr)
        return 2
    return 0


def _built(options: argparse.Namespace) -> list[str]:
    # Late, because it imports torch.
    from simdistill_ros.core.backends.tensorrt_backend import engine_plans
    from simdistill_ros.core.backends.tensorrt_library import import_tensorrt

    card, library = load_model_card(model_folder(options.model)), import_tensorrt()
    cache = EngineCache(options.engine_folder)
    lines = []
    for precision in options.precision or ["fp16" if card.onnx_fp16 else "fp32"]:
        for graph, plan in engine_plans(card.in_precision(precision), library, cache).items():
            size_mb = len(plan) / 1e6
            lines.append(
                f"{card.name} {graph} {precision}: {size_mb:.1f} MB, {library.description}"
            )
    return [*lines, f"engines: {cache.folder}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build_engines", description=__doc__)
    parser.add_argument("--model", default="", help="model folder or a shipped model's name")
    parser.add_argument("--precision", action="append", choices=("fp16", "fp32", "int8"),
                        help="may be repeated; default: what the node takes first")  # fmt: skip
    parser.add_argument("--engine-folder", type=Path, default=default_folder(), metavar="FOLDER",
                        help="the node's engine_folder; default: %(default)s")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
