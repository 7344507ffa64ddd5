# SPDX-License-Identifier: Apache-2.0
"""Find the files that ship with the package: models, configuration, interface definitions."""

from __future__ import annotations

from pathlib import Path

PACKAGE = "simdistill_ros"
DEFAULT_MODEL = "small"


def share_folder() -> Path:
    """Return the folder that holds config/, launch/ and models/.

    That is the source tree when it is there, else the share folder of the installed package.
    """
    source = Path(__file__).resolve().parents[1]
    if (source / "package.xml").is_file():
        return source
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def model_folder(name_or_path: str) -> Path:
    """Return the folder of a model: a path, the name of a shipped model, or "" for the default.

    Raises:
        FileNotFoundError: If there is no such folder; the message lists the shipped models.
    """
    models = share_folder() / "models"
    for folder in (Path(name_or_path or DEFAULT_MODEL).expanduser(), models / name_or_path):
        if name_or_path and (folder / "model.yaml").is_file():
            return folder
    if not name_or_path and (models / DEFAULT_MODEL / "model.yaml").is_file():
        return models / DEFAULT_MODEL
    shipped = sorted(path.parent.name for path in models.glob("*/model.yaml"))
    raise FileNotFoundError(
        f"no model at {name_or_path or DEFAULT_MODEL!r}: expected a folder with model.yaml, "
        f"or one of the shipped models {', '.join(shipped)}"
    )
