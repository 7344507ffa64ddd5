# SPDX-License-Identifier: Apache-2.0
"""The command `simdistill`; each of its commands imports what it needs when it is called."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from simdistill_ros.core.model_card import ModelCard
from simdistill_training.config import ExperimentConfig
from simdistill_training.data.errors import BrokenSampleError
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors a user can mend end it with a message."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["convert"]:
        from simdistill_training.convert.cli import main as convert

        return convert(words[1:])
    arguments = parser().parse_args(words)
    try:
        arguments.command(arguments)
    except (ValueError, OSError, BrokenSampleError) as error:
        print(f"simdistill {arguments.name}: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="simdistill", description=__doc__)
    commands = top.add_subparsers(dest="name", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_overfit(commands)
    _add_view_data(commands)
    _add_package(commands)
    _add_export(commands)
    _add_deploy(commands)
    _add_convert(commands)
    _add_bench(commands)
    return top


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
    command = commands.add_parser("train", help="run an experiment")
    _add_experiment(command)
    command.add_argument("--out", type=Path, help="run folder (default: out/runs/<name>)")
    command.add_argument("--resume", action="store_true", help="go on after a kill")
    command.add_argument("--accelerator", default="auto", help="auto, cpu, gpu")
    command.add_argument("--devices", type=int, default=1, help="devices a node")
    command.add_argument("--nodes", type=int, default=1)
    command.add_argument("--strategy", default="auto", help="ddp for several devices")
    command.set_defaults(command=_train)


def _train(arguments: argparse.Namespace) -> None:
    from simdistill_training.train import Machine, train

    experiment, card = experiment_of(arguments)
    folder = arguments.out or Path("out/runs") / experiment.name
    machine = Machine(arguments.accelerator, arguments.devices, arguments.nodes, arguments.strategy)
    print(train(experiment, folder, card=card, resume=arguments.resume, machine=machine))


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="score a run or a model package")
    command.add_argument("model", type=Path, help="run folder, checkpoint or model package")
    command.add_argument("--config", help="experiment that names the data; for model packages")
    command.add_argument("--dataroot")
    command.add_argument("--version")
    command.add_argument("--split", help="instead of data.val")
    command.add_argument("--out", type=Path, help="default: <model>/evaluation-<split>")
    command.add_argument("--score-threshold", type=float)
    command.add_argument("--device", default="cpu")
    command.add_argument("--batch-size", type=int, default=1)
    command.add_argument("--workers", type=int, default=2, help="loading processes of each process")
    command.add_argument("--threads", type=int, help="of the network in each process")
    _add_sharing(command)
    command.set_defaults(command=_evaluate)


def _add_sharing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--address", default="", metavar="HOST:PORT",
                         help="where machines meet: the same command on each of them")  # fmt: skip
    command.add_argument("--processes", type=int, default=1, help="on this machine (default: 1)")
    command.add_argument("--shard-size", type=int, default=32,
                         help="samples that a lost worker costs (default: 32)")  # fmt: skip


def _evaluate(arguments: argparse.Namespace) -> None:
    from simdistill_ros.shards.run import Sharing
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
        sharing=Sharing(arguments.address, arguments.processes, arguments.shard_size),
    )
    if metrics is not None:  # else the coordinator has them
        _print_scores(metrics)


def _print_scores(metrics: dict[str, Any]) -> None:
    print("  ".join(f"{n} {metrics[n]:.4f}" for n in ("mAP", "NDS", "mAP_of_present_classes")))
    print("  ".join(f"{n} {metrics[n]:.4f}" for n in ("mATE", "mASE", "mAOE", "mAVE", "mAAE")))
    for name, scores in metrics["per_class"].items():
        count = metrics["ground_truths"].get(name, 0)
        print(f"{name:<22}{count:>7} objects  AP {scores['AP']:.3f}")


def _add_overfit(commands: Any) -> None:
    command = commands.add_parser("overfit", help="learn a few samples by heart and score them")
    _add_experiment(command)
    command.add_argument("--samples", type=int, default=2)
    command.add_argument("--token", action="append", default=[], help="a sample; repeatable")
    command.add_argument("--steps", type=int, default=400)
    command.add_argument("--device", default="cpu")
    command.add_argument("--out", type=Path, default=Path("out/overfit"))
    command.set_defaults(command=_overfit)


def _overfit(arguments: argparse.Namespace) -> None:
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
    _print_scores(metrics)


def _add_view_data(commands: Any) -> None:
    command = commands.add_parser("view-data", help="draw what the network will see")
    _add_experiment(command)
    command.add_argument("--count", type=int, default=8)
    command.add_argument("--plain", action="store_true", help="without augmentation")
    command.add_argument("--out", type=Path, default=Path("out/view-data"))
    command.set_defaults(command=_view_data)


def _view_data(arguments: argparse.Namespace) -> None:
    from simdistill_training.view_data import view_data

    experiment, card = experiment_of(arguments)
    for file in view_data(
        experiment, card, arguments.out, count=arguments.count, augmented=not arguments.plain
    ):
        print(file)


def _add_package(commands: Any) -> None:
    command = commands.add_parser("package", help="write a student's model package")
    command.add_argument("run", type=Path, help="run folder or checkpoint")
    command.add_argument("out", type=Path, help="folder of the package")
    command.add_argument("--name", help="of the model; default: the card's")
    command.add_argument("--data", required=True, help="what it was trained on, for the card")
    command.add_argument("--metrics", type=Path, help="metrics.json to put into the card")
    command.set_defaults(command=_package)


def _package(arguments: argparse.Namespace) -> None:
    from simdistill_training.evaluate_model import package_run

    metrics = json.loads(arguments.metrics.read_text()) if arguments.metrics else None
    card = package_run(
        arguments.run, arguments.out, name=arguments.name, data=arguments.data, metrics=metrics
    )
    print(card.file)


def _add_export(commands: Any) -> None:
    command = commands.add_parser(
        "export", help="add ONNX graphs and a golden example to a package"
    )
    command.add_argument("package", type=Path, help="model package: folder with model.yaml")
    command.add_argument("out", type=Path, nargs="?", help="folder to write; default: the package")
    command.add_argument("--tolerance", type=float, default=1e-4,
                         help="largest error of a backend that serves (default: 1e-4)")  # fmt: skip
    command.add_argument("--tolerance-fp16", type=float, default=3e-2,
                         help="the same in half precision (default: 3e-2)")  # fmt: skip
    command.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> None:
    from simdistill_training.export import export_package

    card, proof = export_package(
        arguments.package,
        arguments.out or arguments.package,
        tolerance=arguments.tolerance,
        tolerance_fp16=arguments.tolerance_fp16,
    )
    print(f"{card.file}: onnxruntime passes the self-test: {proof}")


def _add_deploy(commands: Any) -> None:
    from simdistill_training.deploy.cli import add_commands

    add_commands(commands)


def _add_convert(commands: Any) -> None:
    # Only listed here; `main` hands the rest of the line to the converter's own parser.
    commands.add_parser("convert", help="convert published weights", add_help=False)


def _add_bench(commands: Any) -> None:
    command = commands.add_parser("bench", help="measure what distillation gains")
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


def _bench(arguments: argparse.Namespace) -> None:
    from simdistill_training.bench import run_bench

    results = arguments.results or CONFIGS.parent / "results"
    if arguments.speed is not None:
        _speed(arguments.speed or ["tiny"], arguments.out, results, arguments.accelerator)
        return
    print(
        run_bench(
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
    )


def _speed(models: list[str], out: Path, results: Path, accelerator: str) -> None:
    from simdistill_training.speed import measure_speed

    device = "cuda" if accelerator in ("gpu", "cuda") else "cpu"
    speed = measure_speed(models, out, device=device, steps=10, workers=2, batch_size=2)
    results.mkdir(parents=True, exist_ok=True)
    (results / f"speed-{device}.json").write_text(json.dumps(speed, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
