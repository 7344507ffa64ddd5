# SPDX-License-Identifier: Apache-2.0
"""Record `/tf` and `/tf_static`: every edge with its counts, and a tree for look-ups."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from simdistill_ros.conversions import transform_from_msg
from simdistill_ros.core.frames import FloatArray
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.doctor.observations import Edge, Failure, Transforms

KEEP_NS = 600_000_000_000
MOVED_M, MOVED_ROTATION = 0.002, 0.002


@dataclass
class _EdgeRecord:
    first: FloatArray
    newest: FloatArray
    static: int = 0
    dynamic: int = 0
    first_ns: int | None = None
    newest_ns: int | None = None
    moves: bool = False
    lags_ns: list[int] = field(default_factory=list)

    def add(self, stamp_ns: int, arrival_ns: int, matrix: FloatArray, *, static: bool) -> None:
        self.newest = matrix
        difference = np.abs(matrix - self.first)
        shift, turn = difference[:3, 3].max(), difference[:3, :3].max()
        self.moves = self.moves or bool(shift > MOVED_M or turn > MOVED_ROTATION)
        if static:
            self.static += 1
            return
        self.dynamic += 1
        self.lags_ns.append(arrival_ns - stamp_ns)
        self.first_ns = stamp_ns if self.first_ns is None else min(self.first_ns, stamp_ns)
        self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)


class TransformsSeen:
    """Collects transforms."""

    def __init__(self) -> None:
        """Start with none."""
        self.tree = TransformTree(KEEP_NS)
        self._edges: dict[tuple[str, str], _EdgeRecord] = {}
        self._failures: Counter[tuple[str, str]] = Counter()

    def add(self, message: Any, arrival_ns: int, *, static: bool) -> None:
        """Take a TFMessage."""
        for transform in message.transforms:
            try:
                parent, child, stamp_ns, matrix = transform_from_msg(transform)
                self.tree.set_transform(parent, child, stamp_ns, matrix, static=static)
            except ValueError as error:
                text = f"{transform.header.frame_id} -> {transform.child_frame_id}: {error}"
                self._failures[transform.child_frame_id, text] += 1
                continue
            record = self._edges.setdefault((parent, child), _EdgeRecord(matrix, matrix))
            record.add(stamp_ns, arrival_ns, matrix, static=static)

    def transforms(self) -> Transforms:
        """Return what was seen."""
        edges = tuple(
            Edge(
                parent=parent,
                child=child,
                static_count=record.static,
                dynamic_count=record.dynamic,
                first_ns=record.first_ns,
                newest_ns=record.newest_ns,
                moves=record.moves,
                parent_from_child=record.newest,
                lag_ns=round(median(record.lags_ns)) if record.lags_ns else 0,
            )
            for (parent, child), record in self._edges.items()
        )
        failures = tuple(Failure(c, text, n) for (c, text), n in self._failures.items())
        return Transforms(edges, failures)
