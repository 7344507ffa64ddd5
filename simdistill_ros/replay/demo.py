# SPDX-License-Identifier: Apache-2.0
"""The whole way in one command: generate a scene, make the bag, run the node, score, take pictures.

Two passes over real DDS: first the oracle (ground truth through images, calibration, TF, messages
and back), whose perfect score shows that every frame is right; then the model.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from simdistill_ros import __version__
from simdistill_ros.command_line.parser import command_parser
from simdistill_ros.command_line.run import CheckFailedError, Outcome, run_command
from simdistill_ros.command_line.terminal import say
from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.replay.node_process import DetectorDiedError
from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.replay.options import ReplayOptions
from simdistill_ros.replay.pictures import write_pictures
from simdistill_ros.replay.report import format_report
from simdistill_ros.replay.run import ReplayResult, run_replay
from simdistill_ros.report.page import write_report
from simdistill_ros.resources import model_folder
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot

VERSION = "v1.0-mini"
ORACLE_ERROR = 0.01
LEAVES = (
    ("report.html", "open it in a browser: scores, charts, and a viewer of every frame"),
    ("oracle/report.html", "the same of ground truth that went through the node"),
    ("pictures/", "six cameras with the model's boxes, and the view from above"),
    ("pictures_oracle/", "the same with ground truth that went through the node"),
    ("metrics.json", "scores, latencies, losses"),
    ("results_nusc.json", "the submission"),
    ("oracle/recording/", "bag with answers, markers and pictures: open it in Foxglove"),
    ("recording/", "the same of the model's answers"),
    ("bag/", "what was played: rosbag2 (MCAP)"),
)


@dataclass(frozen=True)
class DemoOptions:
    """What the demo does; `short` sets the sizes for a minute's run."""

    out: Path
    scenes: int = 1
    duration_s: float = 8.0
    width: int = 800
    height: int = 450
    sweeps: str = "none"
    seed: int = 0
    model: str = ""
    device: str = "cpu"
    pictures: int | None = None

    def shortened(self) -> DemoOptions:
        """Return the options of a run of about a minute."""
        sizes = {"scenes": 1, "duration_s": 2.0, "width": 480, "height": 270, "pictures": 2}
        return DemoOptions(**{**self.__dict__, **sizes})


def run_demo(options: DemoOptions) -> dict[str, Any]:
    """Run the demo and return the model's metrics.

    Leaves in `out`: dataset/ (the generated dataroot), bag/, oracle/ (metrics and recording of the
    oracle pass), results_nusc.json, metrics.json, report.html, recording/, pictures/ and
    pictures_oracle/.

    Raises:
        CheckFailedError: If the oracle does not score as ground truth must: a frame is wrong.
        DetectorDiedError: If the node ends early.
        OSError: If a file cannot be written.
    """
    out = options.out
    _clear(out)
    say(f"1/4  Generating {options.scenes} scene(s) of {options.duration_s:g} s by ray casting")
    dataroot = _generate(options)
    nusc = load_nuscenes(dataroot, VERSION)
    say("2/4  Bag, node and replay over DDS with ground truth for a network (the oracle)")
    oracle = run_replay(
        ReplayOptions(
            out=out / "oracle", dataroot=dataroot, oracle=True, record=True, overlays=True
        )
    )
    shutil.move(out / "oracle" / "bag", out / "bag")
    say("     " + check_oracle(oracle.metrics))
    say(f"3/4  The same with {_describe_model(options.model)}")
    result = run_replay(
        ReplayOptions(
            out=out,
            dataroot=dataroot,
            bag=out / "bag",
            model=options.model,
            device=options.device,
            record=True,
            overlays=True,
        )
    )
    say("4/4  Pictures and reports")
    _write_pictures(options, nusc, oracle, result)
    for folder in (out / "oracle", out):
        write_report(folder, nusc)
    return result.metrics


def _write_pictures(
    options: DemoOptions, nusc: Any, oracle: ReplayResult, result: ReplayResult
) -> None:
    """Take both passes' pictures; the oracle's bag has moved since, but its facts have not."""
    for folder, replay, title in (
        ("pictures", result, _describe_model(options.model)),
        ("pictures_oracle", oracle, "oracle: ground truth through the node"),
    ):
        write_pictures(
            nusc,
            replay.scenes,
            replay.answers,
            options.out / folder,
            title=title,
            limit=options.pictures,
        )


def check_oracle(metrics: dict[str, Any]) -> str:
    """Return a sentence on the oracle's score.

    Raises:
        CheckFailedError: If ground truth did not come back as ground truth.
    """
    present = [name for name, count in metrics["ground_truths"].items() if count]
    errors = {
        f"{name} {error}": metrics["per_class"][name][error]
        for name in present
        for error in ("ATE", "ASE", "AOE", "AVE")
    }
    worst = max((value, key) for key, value in errors.items() if value is not None)
    if metrics["lost"] or metrics["mAP_of_present_classes"] < 0.999 or worst[0] > ORACLE_ERROR:
        raise CheckFailedError(
            f"the oracle must score 1: got mAP {metrics['mAP_of_present_classes']:.4f} of the "
            f"classes present, worst error {worst[1]} {worst[0]:.4f}, lost {len(metrics['lost'])}"
        )
    return f"frames are right: mAP 1.000 over {len(present)} classes, worst error {worst[0]:.4f}"


def _clear(out: Path) -> None:
    """Remove what an earlier demo left, but not its scenes, which are the same."""
    for name in ("bag", "oracle", "evaluation", "pictures", "pictures_oracle"):
        shutil.rmtree(out / name, ignore_errors=True)


def _generate(options: DemoOptions) -> Path:
    sizes = f"{options.scenes}x{options.duration_s:g}s-{options.width}x{options.height}"
    name = f"{__version__}-seed{options.seed}-{sizes}-{options.sweeps}"
    folder = options.out / "dataset" / name
    if (folder / VERSION / "sample.json").is_file():
        say(f"     kept from an earlier run: {folder}")
        return folder
    config = GeneratorConfig(
        out=folder,
        scenes=options.scenes,
        val_scenes=options.scenes,
        seed=options.seed,
        width=options.width,
        height=options.height,
        duration_s=options.duration_s,
        sweeps=options.sweeps,
        version=VERSION,
    )
    generate_dataroot(config)
    return folder


def _describe_model(model: str) -> str:
    card = load_model_card(model_folder(model))
    return f"model {card.name}" + ("" if card.weights else ", UNTRAINED")


EXAMPLES = (
    ("demo", "everything, into out/demo: a few minutes"),
    ("demo --short --out out/short", "a small scene: about a minute"),
    ("demo --seed 7 --model out/mine", "another town, and your own model"),
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = command_parser("demo", __doc__, EXAMPLES)
    default = DemoOptions(Path("out/demo"))
    add = parser.add_argument
    add("--out", type=Path, default=default.out, help="default %(default)s")
    add("--scenes", type=int, default=default.scenes, help="default %(default)s")
    add("--duration-s", type=float, default=default.duration_s, help="default %(default)s")
    add("--width", type=int, default=default.width, help="of the images (default %(default)s)")
    add("--height", type=int, default=default.height, help="default %(default)s")
    add("--sweeps", choices=("none", "lidar", "all"), default=default.sweeps,
        help="'all': 12 Hz cameras and 20 Hz LiDAR in the bag; six times the work")  # fmt: skip
    add("--seed", type=int, default=default.seed, help="another seed is another town")
    add("--model", default=default.model, help="name or folder of the model (default: small)")
    add("--device", default=default.device, help="default %(default)s")
    add("--pictures", type=int, help="at most so many of each kind (default: all)")
    add("--short", action="store_true", help="small sizes: about a minute")
    return parser


def options_of(arguments: argparse.Namespace) -> DemoOptions:
    """Return what the command line asks for."""
    values = {field.name: getattr(arguments, field.name) for field in fields(DemoOptions)}
    options = DemoOptions(**values)
    return options.shortened() if arguments.short else options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = make_parser().parse_args(argv)
    return run_command("demo", arguments, lambda: _demo(options_of(arguments)))


def _demo(options: DemoOptions) -> Outcome:
    started = time.monotonic()
    try:
        metrics = run_demo(options)
    except DetectorDiedError as error:
        raise CheckFailedError(str(error)) from error
    seconds = time.monotonic() - started
    lines = [f"\n{format_report(metrics)}\n", f"Done in {seconds:.0f} s. Look at:"]
    lines += [f"  {options.out / name}  {what}" for name, what in LEAVES]
    return Outcome("\n".join(lines), metrics)


if __name__ == "__main__":
    sys.exit(main())
