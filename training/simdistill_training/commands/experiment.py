# SPDX-License-Identifier: Apache-2.0
"""The options that name an experiment and change it, and what they come to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from simdistill_training.strict import (
    ConfigError,
    assign,
    config_as_dict,
    config_file,
    config_from_dict,
    read_config,
)

if TYPE_CHECKING:
    from simdistill_ros.core.model_card import ModelCard
    from simdistill_training.config import ExperimentConfig

DATA_OPTIONS = ("dataroot", "version", "train", "val")


def experiment_of(arguments: argparse.Namespace) -> tuple[ExperimentConfig, ModelCard]:
    """Return the experiment and card that the command line names.

    Raises:
        ConfigError: If the file or an override is wrong.
        ModelCardError: If the model card is.
    """
    from simdistill_training.config import ExperimentConfig
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
    from simdistill_training.config import ExperimentConfig

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


def add_experiment(command: argparse.ArgumentParser) -> None:
    """Add the options that name an experiment and change it."""
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
