# SPDX-License-Identifier: Apache-2.0
"""Check and measure the CUDA path on this machine; writes one JSON file and prints one table."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import FINE, FOUND, Outcome, run_command

RESULTS = Path(__file__).resolve().parents[1] / "results"
PRECISIONS = ("fp16", "bf16", "fp32")


NAME = "python -m benchmarks.gpu"
EXAMPLES = (
    ("make gpu", "this machine's GPU; results go into benchmarks/results"),
    (f"{NAME} --device cpu --quick", "the same code on the CPU, in a minute"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(NAME, arguments, lambda: _check_and_measure(arguments))


def _check_and_measure(arguments: argparse.Namespace) -> Outcome:
    try:
        import torch
    except ImportError:
        raise ValueError("this Python has no torch; set GPU_PYTHON to one that has") from None
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"torch {torch.__version__} of {sys.executable} sees no CUDA device. Run it "
            "on a machine with an NVIDIA GPU, its driver and a CUDA build of torch; "
            "`python -m benchmarks.gpu --device cpu --quick` runs the same code on the CPU."
        )
    results = run(arguments, torch.device(arguments.device))
    path = save(results, arguments.out or _default_folder(arguments.device))
    failed = [check["name"] for check in results["gpu_checks"] if not check["passed"]]
    lines = [_table(results)]
    lines.append(f"wrote {path}; {len(results['gpu_checks'])} checks, {len(failed)} failed")
    lines += [f"FAILED {name}" for name in failed]
    return Outcome("\n".join(lines), results, FOUND if failed else FINE)


def run(arguments: argparse.Namespace, device: Any) -> dict[str, Any]:
    """Return the results of everything that fits into the budget, what matters most first."""
    from benchmarks.gpu import plain_pydantic

    plain_pydantic.install()  # before what needs cards is imported
    from benchmarks.gpu.cards import NAMES, card_of
    from benchmarks.gpu.limits import copy_bytes_per_s, matmul_flop_per_s
    from benchmarks.gpu.timing import Budget

    budget = Budget(arguments.budget_s)
    cards = {name: card_of(name, quick=arguments.quick) for name in NAMES}
    results: dict[str, Any] = {
        "machine": describe(device),
        "date": datetime.date.today().isoformat(),
        "gpu_checks": [],
        "gpu_limits": {},
        "gpu_models": [],
        "gpu_pooling": [],
    }
    limits = results["gpu_limits"]
    size = 2**20 if arguments.quick else 2**31
    limits["copy_bytes_per_s"] = budget.run(
        "limit", "copy bandwidth", lambda: copy_bytes_per_s(device, size), 20
    )
    for precision, dtype in _types().items():
        side = 64 if arguments.quick else 8192
        limits[f"matmul_{precision}_flop_per_s"] = budget.run(
            "limit",
            f"matrix products, {precision}",
            lambda dtype=dtype, side=side: matmul_flop_per_s(device, dtype, side),
            20,
        )
    for name, job in _jobs(arguments, cards, device, limits):
        kind = name.split(":")[0]
        found = budget.run(kind, name, job, guess_s=60)
        if found is not None:
            target = results[f"gpu_{kind}"]
            target.extend(found) if isinstance(found, list) else target.append(found)
    return results | {"gpu_skipped": budget.skipped}


def _jobs(arguments: argparse.Namespace, cards: Any, device: Any, limits: Any) -> Any:
    """Yield (kind: name, function) in the order of their worth."""
    from benchmarks.gpu import checks
    from benchmarks.gpu.measure import measure_model, measure_pooling
    from benchmarks.gpu.scene import IMAGE_HW, QUICK_IMAGE_HW, ring_tables

    image_hw = QUICK_IMAGE_HW if arguments.quick else IMAGE_HW
    rounds = 2 if arguments.quick else 200
    paper = cards["swint-256x704"]
    for card in cards.values():
        tables = ring_tables(card, image_hw)
        yield f"checks: {card.name} resize", _of(checks.check_resize, card, device, image_hw)
        yield f"checks: {card.name} pooling", _of(checks.check_pooling, card, tables, device)
        yield f"checks: {card.name} decode", _of(checks.check_decode, card, device)
    for card in cards.values():
        is_all = not arguments.quick or card is paper  # half precision is slow on CPUs
        for precision in PRECISIONS if is_all else ("fp32",):
            yield (
                f"checks: {card.name} frame in {precision}",
                _of(checks.check_frame, card, device, image_hw, precision),
            )
            yield (
                f"models: {card.name} in {precision}",
                _of(measure_model, card, device, precision, image_hw=image_hw, rounds=rounds),
            )
        for precision, dtype in _types().items() if is_all else ():
            yield (
                f"pooling: {card.name} in {precision}",
                _of(
                    measure_pooling,
                    card,
                    device,
                    dtype,
                    image_hw=image_hw,
                    rounds=rounds,
                    copy_bytes_per_s=limits["copy_bytes_per_s"] or float("inf"),
                ),
            )


def _of(function: Any, *arguments: Any, **options: Any) -> Any:
    """Return a call that is made later; a failing one becomes a failed check."""

    def call() -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            name = f"{function.__name__}: {type(error).__name__}: {error}"
            print(f"  FAIL {name}", flush=True)
            _failures.append({"name": name, "passed": False, "error": None, "limit": None})
            return None

    return call


_failures: list[dict[str, Any]] = []


def _types() -> dict[str, Any]:
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def describe(device: Any) -> dict[str, str]:
    """Return what the numbers are measured on."""
    import torch

    from benchmarks.machine import describe_machine

    machine = {**describe_machine(), "host": describe_machine()["processor"]}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine["processor"] = properties.name
        machine["memory"] = f"{properties.total_memory / 2**30:.0f} GiB on the GPU"
        machine["capability"] = f"{properties.major}.{properties.minor}"
    try:
        import triton

        machine["triton"] = triton.__version__
    except ImportError:
        machine["triton"] = "none"
    return machine


def save(results: dict[str, Any], folder: Path) -> Path:
    """Write the numbers of this machine and day."""
    results["gpu_checks"] += _failures
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", results["machine"]["processor"].lower()).strip("-")
    path = folder / f"{slug}-{results['date']}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def _table(results: dict[str, Any]) -> str:
    from benchmarks.gpu_tables import gpu_sections

    return "\n".join(gpu_sections(results))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(NAME, __doc__, EXAMPLES, completes=False)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds")
    parser.add_argument("--budget-s", type=float, default=480, help="seconds (default: 480)")
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    return parser


def _default_folder(device: str) -> Path:
    return RESULTS if device == "cuda" else Path("out/benchmarks")


if __name__ == "__main__":
    sys.exit(main())
