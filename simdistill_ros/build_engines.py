# SPDX-License-Identifier: Apache-2.0
"""Build a model's TensorRT engines now, so that the node finds them when it starts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.engine_cache import EngineCache, default_folder
from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.resources import model_folder

EXAMPLES = (
    ("build_engines --model out/mine", "in the precision that the node takes first"),
    ("build_engines --model out/mine --precision fp16 --precision int8", "in several"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Build what is not in the cache yet; return the exit status."""
    arguments = make_parser().parse_args(argv)
    command = partial(_build, arguments)
    return run_command("build_engines", arguments, command, mendable=(BackendError,))


def _build(arguments: argparse.Namespace) -> Outcome:
    # Late, because it imports torch.
    from simdistill_ros.core.backends.tensorrt_backend import engine_plans
    from simdistill_ros.core.backends.tensorrt_library import import_tensorrt

    card, library = load_model_card(model_folder(arguments.model)), import_tensorrt()
    cache = EngineCache(arguments.engine_folder)
    engines = []
    for precision in arguments.precision or ["fp16" if card.onnx_fp16 else "fp32"]:
        plans = engine_plans(card.in_precision(precision), library, cache)
        engines += [
            {"model": card.name, "graph": graph, "precision": precision, "bytes": len(plan)}
            for graph, plan in plans.items()
        ]
    lines = [
        f"{e['model']} {e['graph']} {e['precision']}: {e['bytes'] / 1e6:.1f} MB, "
        f"{library.description}"
        for e in engines
    ]
    data = {"engines": engines, "library": library.description, "folder": str(cache.folder)}
    return Outcome("\n".join([*lines, f"engines: {cache.folder}"]), data)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("build_engines", __doc__, EXAMPLES)
    parser.add_argument("--model", default="", help="model folder or a shipped model's name")
    parser.add_argument("--precision", action="append", choices=("fp16", "fp32", "int8"),
                        help="may be repeated; default: what the node takes first")  # fmt: skip
    parser.add_argument("--engine-folder", type=Path, default=default_folder(), metavar="FOLDER",
                        help="the node's engine_folder; default: %(default)s")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
