# SPDX-License-Identifier: Apache-2.0
"""Parameters → detector: find the model package, choose the backend, put them together."""

from __future__ import annotations

import logging
from pathlib import Path

from simdistill_ros.core.backends.choose import AUTO, choose_backend
from simdistill_ros.core.detector import Detector
from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.parameters import NodeParameters
from simdistill_ros.resources import model_folder

LOGGER = logging.getLogger(__name__)


def load_detector(parameters: NodeParameters) -> Detector:
    """Return the detector that the parameters ask for.

    Raises:
        FileNotFoundError: If there is no such model.
        ModelCardError: If the card cannot be used.
        BackendError: If no backend can run here.
    """
    return detector_of_model(
        parameters.model_path,
        parameters.device,
        parameters.backend,
        parameters.precision,
        Path(parameters.engine_folder).expanduser() if parameters.engine_folder else None,
    )


def detector_of_model(
    name_or_path: str = "",
    device: str = "cpu",
    backend: str = AUTO,
    precision: str = AUTO,
    engine_folder: Path | None = None,
) -> Detector:
    """Return a detector of a shipped model or of a model folder; see `load_detector`."""
    card = load_model_card(model_folder(name_or_path))
    if card.weights is None:
        LOGGER.warning("model %s has no trained weights: its boxes mean nothing", card.name)
    choice = choose_backend(card, backend, device, precision=precision, engine_folder=engine_folder)
    for reason in choice.refused:
        LOGGER.warning("backend refused: %s", reason)
    LOGGER.info("backend %s", choice.reason)
    return Detector(card, choice.backend)
