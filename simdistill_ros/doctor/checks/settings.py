# SPDX-License-Identifier: Apache-2.0
"""Are the node's own settings right: parameters and model."""

from __future__ import annotations

from simdistill_ros.doctor.findings import Check, Finding, Kind, Severity, found
from simdistill_ros.doctor.observations import Rig

MODEL_UNUSABLE = Kind(
    "model_unusable",
    Severity.ERROR,
    "The model package is missing or its card cannot be read.",
    "Set model.path to a folder with model.yaml, or to the name of a shipped model.",
)
MODEL_CAMERAS = Kind(
    "model_cameras",
    Severity.ERROR,
    "cameras.names are not the cameras that the model was made for.",
    "Use the names of the model card; the topics may be called anything.",
)
PARAMETER_UNKNOWN = Kind(
    "parameter_unknown",
    Severity.WARNING,
    "The parameter file sets something that the node does not know; ROS ignores it silently.",
    "Correct its name; config/detector.yaml lists all.",
    explained_by=("model_cameras", "model_unusable"),
)
_KINDS = {kind.code: kind for kind in (MODEL_UNUSABLE, MODEL_CAMERAS, PARAMETER_UNKNOWN)}


def check_settings(rig: Rig) -> list[Finding]:
    """Name what is wrong with the parameters themselves."""
    return [found(_KINDS[code], (), text) for code, text in rig.plan.problems]


CHECKS = (Check(check_settings, tuple(_KINDS.values())),)
