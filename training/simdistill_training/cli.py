# SPDX-License-Identifier: Apache-2.0
"""The command `simdistill`; each of its commands imports what it needs when it is called."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from simdistill_ros import __version__
from simdistill_ros.command_line.parser import add_command, command_parser
from simdistill_ros.command_line.run import Outcome, run_command
from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.model_card import ModelCard
from simdistill_ros.shards.options import add_sharing_options, sharing_of
from simdistill_training.config import ExperimentConfig
from simdistill_training.convert.cli import add_convert
from simdistill_training.data.errors import BrokenSampleError
from simdistill_training.deploy.cli import add_deploy
from simdistill_training.strict import (
    CONFIGS,
    ConfigError,
    assign,
    config_as_dict,
    config_file,
    config_from_dict,
    read_config,
)

DATA_OPTIONS = ("dataroot", "version", "train", "val")


EXAMPLES = (
    ("simdistill train student-simdistill-tiny --dataroot DATA --smoke", "a minute on a CPU"),
    ("simdistill evaluate out/runs/mine --split val", "score what was trained"),
    ("simdistill COMMAND --help", "examples of each command"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    arguments = parser().parse_args(argv)
    command = partial(arguments.command, arguments)
    name = f"simdistill {arguments.command_name}"
    return run_command(name, arguments, command, mendable=(BrokenSampleError, BackendError))


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = command_parser("simdistill", "Train, distil, evaluate, export.", EXAMPLES, reports=False)
    commands = top.add_subparsers(dest="command_name", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_overfit(commands)
    _add_view_data(commands)
    _add_package(commands)
    _add_export(commands)
    add_deploy(commands)
    add_convert(commands)
    _add_bench(commands)
    _add_version(commands)
    return top


def _add_version(commands: Any) -> None:
    examples = [("simdistill version", "the same as simdistill -V")]
    command = add_command(commands, "version", "print the program's version", examples)
    command.set_defaults(command=lambda _: Outcome(f"simdistill {__version__}",
                                                   {"version": __version__}))  # fmt: skip


def experiment_of(arguments: argparse.Namespace) -> tuple[ExperimentConfig, ModelCard]:
    """Return the experiment and card that the command line names.

    Raises:
        ConfigError: If the file or an override is wrong.
        ModelCardError: If the model card is.
    """
    from simdistill_training.smoke import smoke_card, smoke_experiment
    from simdistill_training.train import card_of

    experiment = with_overrides(read_config(ExperimentConfig, config_file(arguments.config)),
                                arguments)  # fmt: skip
    card = card_of(experiment)
    if arguments.smoke:
        card = smoke_card(card)
        # What the command line asks for wins over what shrinking chooses.
        experiment = with_overrides(smoke_experiment(experiment, card), arguments)
    return experiment, card


def with_overrides(experiment: ExperimentConfig, arguments: argparse.Namespace) -> ExperimentConfig:
    """Return the experiment with what the command line changes.

    Raises:
        ConfigError: If a `--set` names no key, or its value is wrong.
    """
    given = {n: getattr(arguments, n) for n in DATA_OPTIONS if getattr(arguments, n) is not None}
    experiment = replace(experiment, data=replace(experiment.data, **given))
    data = config_as_dict(experiment)
    for key, value in assignments(arguments.set).items():
        assign(data, key, value)
    return config_from_dict(ExperimentConfig, data, "command line")


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Return key → value of texts KEY=VALUE, values in YAML.

    Raises:
        ConfigError: If a text has no equals sign.
    """
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected KEY=VALUE")
        changes[key] = yaml.safe_load(value)
    return changes


def _add_experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", help="YAML file, or name of a shipped experiment")
    command.add_argument("--dataroot", help="instead of data.dataroot")
    command.add_argument("--version", help="instead of data.version")
    command.add_argument(
        "--train", help="instead of data.train: a split or scenes, comma-separated"
    )
    command.add_argument("--val", help="instead of data.val")
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                         help="change one key, e.g. schedule.steps=1000")  # fmt: skip
    command.add_argument("--smoke", action="store_true", help="shrink to a CPU minute")


def _add_train(commands: Any) -> None:
    examples = [
        ("simdistill train teacher-tiny --dataroot DATA --version v1.0-mini --train mini_train "
         "--val mini_val", "train a teacher"),
        ("simdistill train student-simdistill-tiny --dataroot DATA --resume", "go on after a kill"),
        ("simdistill train my.yaml --set schedule.steps=1000 --devices 8 --strategy ddp",
         "your own experiment, on eight GPUs"),
    ]  # fmt: skip
    command = add_command(commands, "train", "run an experiment", examples)
    _add_experiment(command)
    command.add_argument("--out", type=Path, help="run folder (default: out/runs/<name>)")
    command.add_argument("--resume", action="store_true", help="go on after a kill")
    command.add_argument("--accelerator", default="auto", help="auto, cpu, gpu")
    command.add_argument("--devices", type=int, default=1, help="devices a node")
    command.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    command.add_argument("--strategy", default="auto", help="ddp for several devices")
    command.set_defaults(command=_train)


def _train(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.train import Machine, train

    experiment, card = experiment_of(arguments)
    folder = arguments.out or Path("out/runs") / experiment.name
    machine = Machine(arguments.accelerator, arguments.devices, arguments.nodes, arguments.strategy)
    checkpoint = train(experiment, folder, card=card, resume=arguments.resume, machine=machine)
    return Outcome(str(checkpoint), {"checkpoint": str(checkpoint), "run": str(folder)})


def _add_evaluate(commands: Any) -> None:
    examples = [
        ("simdistill evaluate out/runs/mine", "on the run's own validation split"),
        ("simdistill evaluate models/mine --dataroot DATA --version v1.0-trainval --split val "
         "--processes 4", "a package, in four processes"),
        ("simdistill evaluate out/runs/mine --address node1:29400",
         "the same command on several machines: node1 collects and scores"),
    ]  # fmt: skip
    command = add_command(commands, "evaluate", "score a run or a model package", examples)
    command.add_argument("model", type=Path, help="run folder, checkpoint or model package")
    command.add_argument("--config", help="experiment that names the data; for model packages")
    command.add_argument("--dataroot", help="instead of data.dataroot")
    command.add_argument("--version", help="of its tables, instead of data.version")
    command.add_argument("--split", help="instead of data.val")
    command.add_argument("--out", type=Path, help="default: <model>/evaluation-<split>")
    command.add_argument("--score-threshold", type=float, help="default: the model card's")
    command.add_argument("--device", default="cpu", help="default %(default)s")
    command.add_argument("--batch-size", type=int, default=1, help="default %(default)s")
    command.add_argument("--workers", type=int, default=2, help="loading processes of each process")
    command.add_argument("--threads", type=int, help="of the network in each process")
    command.add_argument("--no-report", dest="report", action="store_false",
                         help="write no report.html")  # fmt: skip
    add_sharing_options(command)
    command.add_argument("--shard-size", type=int, default=32,
                         help="samples that a lost worker costs (default: 32)")  # fmt: skip
    command.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.evaluate_model import evaluate_model

    metrics = evaluate_model(
        arguments.model,
        config=config_file(arguments.config) if arguments.config else None,
        dataroot=arguments.dataroot,
        version=arguments.version,
        split=arguments.split,
        out=arguments.out,
        threshold=arguments.score_threshold,
        device=arguments.device,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        threads=arguments.threads,
        sharing=sharing_of(arguments, arguments.shard_size),
        report=arguments.report,
    )
    if metrics is None:  # the coordinator has them
        return Outcome(data={"coordinator": arguments.address})
    return Outcome(_format_scores(metrics), metrics)


def _format_scores(metrics: dict[str, Any]) -> str:
    lines = [
        "  ".join(f"{n} {metrics[n]:.4f}" for n in ("mAP", "NDS", "mAP_of_present_classes")),
        "  ".join(f"{n} {metrics[n]:.4f}" for n in ("mATE", "mASE", "mAOE", "mAVE", "mAAE")),
    ]
    for name, scores in metrics["per_class"].items():
        count = metrics["ground_truths"].get(name, 0)
        lines.append(f"{name:<22}{count:>7} objects  AP {scores['AP']:.3f}")
    return "\n".join(lines)


def _add_overfit(commands: Any) -> None:
    examples = [
        ("simdistill overfit teacher-tiny --dataroot DATA --samples 1 --smoke", "one sample"),
    ]
    what = "learn a few samples by heart and score them"
    command = add_command(commands, "overfit", what, examples)
    _add_experiment(command)
    command.add_argument("--samples", type=int, default=2, help="default %(default)s")
    command.add_argument("--token", action="append", default=[], help="a sample; repeatable")
    command.add_argument("--steps", type=int, default=400, help="default %(default)s")
    command.add_argument("--device", default="cpu", help="default %(default)s")
    command.add_argument(
        "--out", type=Path, default=Path("out/overfit"), help="default %(default)s"
    )
    command.set_defaults(command=_overfit)


def _overfit(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.overfit import overfit

    experiment, card = experiment_of(arguments)
    metrics = overfit(
        experiment,
        card,
        arguments.out,
        tokens=tuple(arguments.token),
        count=arguments.samples,
        steps=arguments.steps,
        device=arguments.device,
    )
    most = metrics["ceiling"]["mAP_of_present_classes"]
    reach = f"perfect head maps would have {most:.4f} mAP of present classes on these samples"
    return Outcome(f"{_format_scores(metrics)}\n{reach}", metrics)


def _add_view_data(commands: Any) -> None:
    examples = [
        ("simdistill view-data teacher-tiny --dataroot DATA --count 4", "augmented, into "
         "out/view-data"),
        ("simdistill view-data teacher-tiny --dataroot DATA --plain", "as the vehicle sees it"),
    ]  # fmt: skip
    command = add_command(commands, "view-data", "draw what the network will see", examples)
    _add_experiment(command)
    command.add_argument("--count", type=int, default=8, help="default %(default)s")
    command.add_argument("--plain", action="store_true", help="without augmentation")
    command.add_argument(
        "--out", type=Path, default=Path("out/view-data"), help="default %(default)s"
    )
    command.set_defaults(command=_view_data)


def _view_data(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.view_data import view_data

    experiment, card = experiment_of(arguments)
    plain = arguments.plain
    drawn = view_data(experiment, card, arguments.out, count=arguments.count, augmented=not plain)
    files = [str(file) for file in drawn]
    return Outcome("\n".join(files), {"files": files})


def _add_package(commands: Any) -> None:
    examples = [
        ('simdistill package out/runs/mine models/mine --data "nuScenes v1.0-trainval, train"',
         "card and weights for the vehicle"),
    ]  # fmt: skip
    command = add_command(commands, "package", "write a student's model package", examples)
    command.add_argument("run", type=Path, help="run folder or checkpoint")
    command.add_argument("out", type=Path, help="folder of the package")
    command.add_argument("--name", help="of the model; default: the card's")
    command.add_argument("--data", required=True, help="what it was trained on, for the card")
    command.add_argument("--metrics", type=Path, help="metrics.json to put into the card")
    command.set_defaults(command=_package)


def _package(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.evaluate_model import package_run

    metrics = json.loads(arguments.metrics.read_text()) if arguments.metrics else None
    card = package_run(
        arguments.run, arguments.out, name=arguments.name, data=arguments.data, metrics=metrics
    )
    return Outcome(str(card.file), {"card": str(card.file)})


def _add_export(commands: Any) -> None:
    examples = [
        ("simdistill export models/mine", "in place"),
        ("simdistill export models/tiny out/tiny", "into a copy"),
    ]
    what = "add ONNX graphs and a golden example to a package"
    command = add_command(commands, "export", what, examples)
    command.add_argument("package", type=Path, help="model package: folder with model.yaml")
    command.add_argument("out", type=Path, nargs="?", help="folder to write; default: the package")
    command.add_argument("--tolerance", type=float, default=1e-4,
                         help="largest error of a backend that serves (default: 1e-4)")  # fmt: skip
    command.add_argument("--tolerance-fp16", type=float,
                         help="spread of errors in half precision; default: measured")  # fmt: skip
    command.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.export import export_package

    card, proof = export_package(
        arguments.package,
        arguments.out or arguments.package,
        tolerance=arguments.tolerance,
        tolerance_fp16=arguments.tolerance_fp16,
    )
    text = f"{card.file}: onnxruntime passes the self-test: {proof}"
    return Outcome(text, {"card": str(card.file), "self_test": str(proof)})


def _add_bench(commands: Any) -> None:
    examples = [
        ("simdistill bench --config bench-tiny --out out/bench --jobs 16 --parallel 3 "
         "--accelerator gpu", "generate, train, compare; goes on where it was stopped"),
        ("simdistill bench --speed tiny", "samples and steps a second only"),
    ]  # fmt: skip
    command = add_command(commands, "bench", "measure what distillation gains", examples)
    command.add_argument("--config", default="bench-tiny", help="YAML of the benchmark")
    command.add_argument("--out", type=Path, default=Path("out/bench"), help="scenes and runs")
    command.add_argument("--results", type=Path, default=None, help="folder of results/*.json")
    command.add_argument("--accelerator", default="auto", help="auto, cpu, gpu")
    command.add_argument("--jobs", type=int, default=2, help="processes that generate scenes")
    command.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                         help="change one key of all experiments")  # fmt: skip
    command.add_argument("--only", default="", help="runs whose name contains this")
    command.add_argument("--minutes", type=float, default=0.0, help="start no run after this")
    command.add_argument("--parallel", type=int, default=1, help="students trained at a time")
    command.add_argument("--speed", nargs="*", metavar="MODEL", default=None,
                         help="measure speed only, of these models (default: tiny)")  # fmt: skip
    command.add_argument("--table", action="store_true", help="only write results of what is done")
    command.set_defaults(command=_bench)


def _bench(arguments: argparse.Namespace) -> Outcome:
    from simdistill_training.bench import run_bench

    results = arguments.results or CONFIGS.parent / "results"
    if arguments.speed is not None:
        models = arguments.speed or ["tiny"]
        return _speed(models, arguments.out, results, arguments.accelerator)
    table = run_bench(
        config_file(arguments.config),
        arguments.out,
        results,
        accelerator=arguments.accelerator,
        jobs=arguments.jobs,
        changes=assignments(arguments.set),
        only=arguments.only,
        minutes=arguments.minutes,
        parallel=arguments.parallel,
        table_only=arguments.table,
    )
    return Outcome(table, {"results": str(results)})


def _speed(models: list[str], out: Path, results: Path, accelerator: str) -> Outcome:
    from simdistill_training.speed import measure_speed

    device = "cuda" if accelerator in ("gpu", "cuda") else "cpu"
    speed = measure_speed(models, out, device=device, steps=10, workers=2, batch_size=2)
    results.mkdir(parents=True, exist_ok=True)
    file = results / f"speed-{device}.json"
    file.write_text(json.dumps(speed, indent=2) + "\n")
    return Outcome(f"wrote {file}", speed)


if __name__ == "__main__":
    sys.exit(main())
