# SPDX-License-Identifier: Apache-2.0
"""Generate a complete nuScenes dataroot of ray-cast driving scenes."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from queue import Empty, Queue

import cv2

from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.scenes import tables
from simdistill_ros.scenes.config import ANTIALIAS, SWEEPS, GeneratorConfig
from simdistill_ros.scenes.ground import semantic_mask
from simdistill_ros.scenes.recorder import Recorder
from simdistill_ros.scenes.scene import build_scene
from simdistill_ros.scenes.town import build_town

_GENERATOR_EDITION = 1


@dataclass(frozen=True)
class Summary:
    """What a run wrote: dataroot, version, splits, counts, and how long it took."""

    dataroot: Path
    version: str
    splits: dict[str, list[str]]
    samples: int
    annotations: int
    seconds: float


def generate_dataroot(config: GeneratorConfig) -> Summary:
    """Write a complete dataroot.

    The same config gives the same bytes, whatever `jobs` is. A run that was interrupted goes on
    with the scenes that it had not finished.

    Args:
        config: What to generate.
    """
    started = time.monotonic()
    done_folder = config.out / f".unfinished-{config.version}"
    done_folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(config.scenes) if not _rows_path(config, index).exists()]
    total = config.scenes * config.keyframes
    finished = total - len(missing) * config.keyframes
    with progress_bar("keyframes", total, finished, unit="keyframe") as bar:
        _record_all(config, missing, lambda: bar.update(1))
    parts = [json.loads(_rows_path(config, index).read_text()) for index in range(config.scenes)]
    joined = tables.join_tables([tables.vocabulary(), *parts])
    joined["map"] = _write_maps(config, parts)
    splits: dict[str, list[str]] = {config.train_split: [], config.val_split: []}
    for index in range(config.scenes):
        plan = config.plan(index)
        splits[plan.split].append(plan.name)
    tables.write_tables(config.out / config.version, joined, splits)
    shutil.rmtree(done_folder)
    return Summary(
        dataroot=config.out,
        version=config.version,
        splits=splits,
        samples=len(joined["sample"]),
        annotations=len(joined["sample_annotation"]),
        seconds=time.monotonic() - started,
    )


def _rows_path(config: GeneratorConfig, index: int) -> Path:
    """Return where a finished scene's rows wait; the name tells options apart."""
    relevant = {
        key: str(value) for key, value in asdict(config).items() if key not in ("out", "jobs")
    }
    text = json.dumps([_GENERATOR_EDITION, relevant, index], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return config.out / f".unfinished-{config.version}" / f"{index:05d}-{digest}.json"


def _record_scene(config: GeneratorConfig, index: int, tick: Callable[[], None]) -> None:
    scene = build_scene(config, config.plan(index))
    rows = Recorder(config, scene).record(tick)
    tables.write_json(_rows_path(config, index), rows)


_worker_ticks: Queue[int] | None = None


def _set_up_worker(ticks: Queue[int]) -> None:
    global _worker_ticks  # a pool hands its workers a queue only this way
    _worker_ticks = ticks
    cv2.setNumThreads(1)


def _record_scene_in_worker(config: GeneratorConfig, index: int) -> None:
    ticks = _worker_ticks
    _record_scene(config, index, (lambda: ticks.put(1)) if ticks is not None else (lambda: None))


def _record_all(config: GeneratorConfig, missing: Sequence[int], tick: Callable[[], None]) -> None:
    """Record scenes one after another, or in `config.jobs` processes."""
    if config.jobs == 1 or len(missing) < 2:
        for index in missing:
            _record_scene(config, index, tick)
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        ticks = manager.Queue()
        workers = min(config.jobs, len(missing))
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=_set_up_worker, initargs=(ticks,)
        ) as pool:
            pending = {pool.submit(_record_scene_in_worker, config, index) for index in missing}
            while pending:
                try:
                    ticks.get(timeout=0.2)
                    tick()
                except Empty:
                    pass
                for future in [future for future in pending if future.done()]:
                    pending.discard(future)
                    future.result()
            while not ticks.empty():
                ticks.get()
                tick()


def _write_maps(config: GeneratorConfig, parts: Sequence[tables.Tables]) -> list[tables.Row]:
    """Write one semantic mask per town and return the map rows."""
    folder = config.out / "maps"
    folder.mkdir(exist_ok=True)
    logs: dict[int, list[str]] = {}
    for index, part in enumerate(parts):
        logs.setdefault(config.plan(index).town, []).append(part["log"][0]["token"])
    rows = []
    for town, log_tokens in sorted(logs.items()):
        token = tables.make_token("map", town)
        cv2.imwrite(str(folder / f"{token}.png"), semantic_mask(build_town(town).raster))
        rows.append(
            {
                "category": "semantic_prior",
                "token": token,
                "filename": f"maps/{token}.png",
                "log_tokens": log_tokens,
            }
        )
    return rows


def _seeds(text: str) -> tuple[int, ...]:
    """Read `3`, `0,4,9` or `0-7` (ends included) as seeds."""
    seeds: list[int] = []
    for item in text.split(","):
        first, dash, last = item.partition("-")
        try:
            seeds.extend(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected seeds like 3 or 0,4 or 0-7, got {text!r}"
            ) from None
    return tuple(seeds)


EXAMPLES = (
    ("generate_scenes --out out/scenes --scenes 2 --sweeps none", "two scenes, keyframes only"),
    ("generate_scenes --out out/scenes --scenes 40 --jobs 8 --sweeps lidar",
     "a training set, with LiDAR sweeps, by eight processes"),
)  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    default = GeneratorConfig(out=Path())
    parser = command_parser("generate_scenes", __doc__, EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataroot")
    parser.add_argument("--scenes", type=int, default=default.scenes, help="number of scenes")
    parser.add_argument(
        "--val-scenes",
        type=int,
        default=None,
        help="how many of them, from the end, are for validation (default: a fifth)",
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="of everything random")
    parser.add_argument("--width", type=int, default=default.width, help="image width in pixels")
    parser.add_argument("--height", type=int, default=default.height, help="image height in pixels")
    parser.add_argument("--duration-s", type=float, default=default.duration_s, help="of a scene")
    parser.add_argument(
        "--sweeps", choices=SWEEPS, default=default.sweeps, help="what to record between keyframes"
    )
    parser.add_argument("--keyframe-only", action="store_true", help="the same as --sweeps none")
    parser.add_argument("--version", default=default.version, help="name of the tables' folder")
    parser.add_argument("--train-split", default=default.train_split, help="name in splits.json")
    parser.add_argument("--val-split", default=default.val_split, help="name in splits.json")
    parser.add_argument(
        "--towns",
        type=_seeds,
        default=default.towns,
        help="town seeds of training scenes, e.g. 0-7 (default: one per scene)",
    )
    parser.add_argument(
        "--val-towns", type=_seeds, default=default.val_towns, help="the same of validation scenes"
    )
    parser.add_argument(
        "--looks",
        type=_seeds,
        default=default.looks,
        help="object looks of training scenes, e.g. 0-3",
    )
    parser.add_argument(
        "--val-looks", type=_seeds, default=default.val_looks, help="the same of validation scenes"
    )
    parser.add_argument("--jobs", type=int, default=default.jobs, help="processes")
    parser.add_argument(
        "--antialias", choices=ANTIALIAS, default=default.antialias, help="how edges are smoothed"
    )
    parser.add_argument("--jpeg-quality", type=int, default=default.jpeg_quality, help="1 to 100")
    parser.add_argument(
        "--annotation-range-m",
        type=float,
        default=default.annotation_range_m,
        help="objects farther from the vehicle have no box",
    )
    parser.add_argument("--traffic", type=float, default=default.traffic, help="density, 1 is busy")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the process exit code."""
    arguments = make_parser().parse_args(argv)
    return run_command("generate_scenes", arguments, lambda: _generate(arguments))


def _generate(arguments: argparse.Namespace) -> Outcome:
    options = {field.name: getattr(arguments, field.name) for field in fields(GeneratorConfig)}
    if arguments.keyframe_only:
        options["sweeps"] = "none"
    if options["val_scenes"] is None:
        options["val_scenes"] = -(-options["scenes"] // 5) if options["scenes"] > 1 else 1
    config = GeneratorConfig(**options)
    summary = generate_dataroot(config)
    rate = summary.seconds / max(summary.samples, 1)
    text = (
        f"{summary.dataroot}: {config.scenes} scenes, {summary.samples} keyframes, "
        f"{summary.annotations} annotations in {summary.seconds:.1f} s "
        f"({rate:.2f} s per keyframe); "
        f"tables in {summary.version}, splits {', '.join(summary.splits)}"
    )
    return Outcome(text, {**asdict(summary), "dataroot": str(summary.dataroot)})


if __name__ == "__main__":
    sys.exit(main())
