# SPDX-License-Identifier: Apache-2.0
"""Read a page back: its numbers, its frames and its boxes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np


def metric_values(page: Path) -> dict[str, float]:
    """Name -> full value of every number that is marked as one of metrics.json."""
    pattern = r'data-metric="([^"]+)" data-value="([^"]+)"'
    return {name: float(value) for name, value in re.findall(pattern, page.read_text())}


def viewer_data(page: Path) -> dict[str, Any]:
    """What the viewer is given."""
    pattern = r'<script type="application/json" id="viewer-data">(.*?)</script>'
    match = re.search(pattern, page.read_text(), re.DOTALL)
    assert match is not None
    return dict(json.loads(match[1]))


def table(text: str, columns: list[str]) -> dict[str, np.ndarray]:
    """Column name -> values of a packed table."""
    values = np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, len(columns))
    return {name: values[:, index].astype(float) for index, name in enumerate(columns)}
