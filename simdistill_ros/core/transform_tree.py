# SPDX-License-Identifier: Apache-2.0
"""A buffer of transforms between frames: what tf2 is to C++ nodes, in plain Python.

Frames form a tree. Static edges hold at all times; dynamic edges are interpolated between the two
samples around a stamp. Nothing is extrapolated: a look-up outside the samples is an error that says
by how much. Stamps are integer nanoseconds; there is no clock. Thread-safe.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from simdistill_ros.core.frames import (
    FloatArray,
    inverse,
    is_rotation,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
)

# A stamp this much older than the newest sample of an edge means that time was set back. Were the
# later samples kept, look-ups between the two times would be interpolated across the jump.
JUMP_NS = 1_000_000_000
UNIT_TOLERANCE = 0.01  # of a quaternion's length; tf2 allows the same
# Whoever can publish /tf could otherwise fill the memory, or put a book into every log line.
MAX_FRAMES = 10_000
MAX_SAMPLES = 100_000  # of one edge
MAX_NAME = 255  # characters of a frame's name
MAX_TRANSLATION_M = 1e9  # far beyond any map; squares of more lose the centimetres


class TransformError(LookupError):
    """A transform cannot be had; `cause` is its short, stable name."""

    def __init__(self, cause: str, message: str) -> None:
        """Keep the cause beside the message."""
        super().__init__(message)
        self.cause = cause


@dataclass
class _Edge:
    """The samples of one child frame, oldest first."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    parent_from_child: list[FloatArray] = field(default_factory=list)


def rigid_from_quaternion(wxyz: npt.ArrayLike, translation_m: npt.ArrayLike) -> FloatArray:
    """Return the (4, 4) transform of a unit quaternion (w, x, y, z) and a translation (3,).

    Raises:
        ValueError: If a number is not finite or the quaternion's length is not one.
    """
    quaternion = np.asarray(wxyz, dtype=np.float64)
    translation = np.asarray(translation_m, dtype=np.float64)
    if translation.shape != (3,) or not (np.abs(translation) <= MAX_TRANSLATION_M).all():
        raise ValueError(
            f"expected a finite translation (x, y, z) of at most {MAX_TRANSLATION_M:g} m, "
            f"got {translation.tolist()}"
        )
    length = float(np.linalg.norm(quaternion))
    if quaternion.shape != (4,) or not abs(length - 1) <= UNIT_TOLERANCE:
        raise ValueError(
            f"expected a quaternion (w, x, y, z) of length 1, got {quaternion.tolist()} "
            f"of length {length:.3g}"
        )
    return rigid(rotation_from_quaternion(quaternion), translation)


def check_frame_name(name: str) -> None:
    """Refuse names that no frame has.

    Raises:
        ValueError: If the name is empty, too long or holds what cannot be printed.
    """
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(
            f"expected a frame name of 1 to {MAX_NAME} printable characters, got {name[:40]!r} "
            f"({len(name)} characters)"
        )


class TransformTree:
    """Transforms by child frame, with look-ups along the tree."""

    def __init__(self, cache_ns: int) -> None:
        """Start empty; dynamic samples older than `cache_ns` before their newest are forgotten."""
        self._cache_ns = cache_ns
        self._edges: dict[str, _Edge] = {}
        self._lock = threading.Lock()
        self.reparented = 0
        self.time_jumps = 0

    def set_transform(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        parent_from_child: FloatArray,
        *,
        static: bool,
    ) -> None:
        """Store a sample.

        Args:
            parent: Frame the result is in.
            child: Frame the points are in.
            stamp_ns: When it holds; ignored for a static edge.
            parent_from_child: (4, 4) rigid transform.
            static: Whether it holds at all times.

        A child has one parent: a sample with another parent replaces the edge and is counted.

        Raises:
            ValueError: If a frame has no usable name, both are the same, the matrix is not rigid,
                or there are too many frames.
        """
        check_frame_name(parent)
        check_frame_name(child)
        if parent == child:
            raise ValueError(f"expected two different frames, got {parent!r} and {child!r}")
        matrix = np.array(parent_from_child, dtype=np.float64)
        rotates = matrix.shape == (4, 4) and is_rotation(matrix[:3, :3])
        if not rotates or not np.isfinite(matrix).all():
            raise ValueError(f"{parent} <- {child}: expected a finite rigid transform")
        with self._lock:
            self._store(parent, child, stamp_ns, matrix, static)

    def _store(
        self, parent: str, child: str, stamp_ns: int, matrix: FloatArray, static: bool
    ) -> None:
        edge = self._edges.get(child)
        if edge is None and len(self._edges) >= MAX_FRAMES:
            raise ValueError(f"expected at most {MAX_FRAMES} frames; {child!r} is one more")
        if edge is None or edge.parent != parent or edge.static != static:
            self.reparented += int(edge is not None)
            edge = self._edges[child] = _Edge(parent, static)
        if static:
            edge.stamps_ns, edge.parent_from_child = [0], [matrix]
            return
        if edge.stamps_ns and stamp_ns < edge.stamps_ns[-1] - JUMP_NS:
            self.time_jumps += 1
            self._clear_dynamic()
            edge = self._edges.setdefault(child, _Edge(parent, static))
        at = bisect_left(edge.stamps_ns, stamp_ns)
        if at < len(edge.stamps_ns) and edge.stamps_ns[at] == stamp_ns:
            edge.parent_from_child[at] = matrix
            return
        edge.stamps_ns.insert(at, stamp_ns)
        edge.parent_from_child.insert(at, matrix)
        oldest_ns = edge.stamps_ns[-1] - self._cache_ns
        first = max(bisect_left(edge.stamps_ns, oldest_ns), len(edge.stamps_ns) - MAX_SAMPLES)
        del edge.stamps_ns[:first], edge.parent_from_child[:first]

    def clear_dynamic(self) -> None:
        """Forget all dynamic samples, as after time was set back."""
        with self._lock:
            self._clear_dynamic()

    def _clear_dynamic(self) -> None:
        for child in [name for name, edge in self._edges.items() if not edge.static]:
            del self._edges[child]

    def lookup(self, target: str, source: str, stamp_ns: int) -> FloatArray:
        """Return `target_from_source` (4, 4) at a stamp.

        Raises:
            TransformError: `unknown_frame`, `not_connected`, `future` or `past`; the message names
                both frames.
        """
        with self._lock:
            return self._lookup(target, source, stamp_ns)

    def is_static(self, target: str, source: str) -> bool:
        """Tell whether the transform between two frames can change with time only by decree."""
        with self._lock:
            chains = {*self._chain(target), *self._chain(source)}
            edges = [self._edges[frame] for frame in chains if frame in self._edges]
            return all(edge.static for edge in edges)

    def lookup_fixed(
        self, target: str, target_ns: int, source: str, source_ns: int, fixed: str
    ) -> FloatArray:
        """Return `target_from_source` between two times, through a frame that does not move.

        Raises:
            TransformError: As `lookup`.
        """
        with self._lock:
            target_from_fixed = inverse(self._lookup(fixed, target, target_ns))
            return np.asarray(target_from_fixed @ self._lookup(fixed, source, source_ns))

    def _lookup(self, target: str, source: str, stamp_ns: int) -> FloatArray:
        if target == source:
            return np.eye(4)
        target_chain, source_chain = self._chain(target), self._chain(source)
        common = next((frame for frame in source_chain if frame in target_chain), None)
        if common is None:
            known = {*self._edges, *(edge.parent for edge in self._edges.values())}
            missing = [frame for frame in (target, source) if frame not in known]
            if missing:
                text = f"no transform from {source} to {target}: nobody publishes {missing[0]}"
                raise TransformError("unknown_frame", text)
            raise TransformError(
                "not_connected",
                f"no transform from {source} to {target}: they hang on different roots, "
                f"{source_chain[-1]} and {target_chain[-1]}",
            )
        where = f"{source} to {target}"
        common_from_source = self._climb(source, common, stamp_ns, where)
        common_from_target = self._climb(target, common, stamp_ns, where)
        return np.asarray(inverse(common_from_target) @ common_from_source)

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while (edge := self._edges.get(chain[-1])) is not None and edge.parent not in chain:
            chain.append(edge.parent)
        return chain

    def _climb(self, frame: str, ancestor: str, stamp_ns: int, where: str) -> FloatArray:
        ancestor_from_frame = np.eye(4)
        while frame != ancestor:
            edge = self._edges[frame]
            ancestor_from_frame = _sample(edge, frame, stamp_ns, where) @ ancestor_from_frame
            frame = edge.parent
        return ancestor_from_frame


def _sample(edge: _Edge, child: str, stamp_ns: int, where: str) -> FloatArray:
    if edge.static:
        return edge.parent_from_child[0]
    at = bisect_left(edge.stamps_ns, stamp_ns)
    if at < len(edge.stamps_ns) and edge.stamps_ns[at] == stamp_ns:
        return edge.parent_from_child[at]
    if at == len(edge.stamps_ns):
        late_ms = (stamp_ns - edge.stamps_ns[-1]) / 1e6
        raise TransformError(
            "future",
            f"no transform from {where} yet: the newest {edge.parent} <- {child} is "
            f"{late_ms:.1f} ms older than the stamp",
        )
    if at == 0:
        early_ms = (edge.stamps_ns[0] - stamp_ns) / 1e6
        raise TransformError(
            "past",
            f"no transform from {where} any more: the oldest {edge.parent} <- {child} is "
            f"{early_ms:.1f} ms newer than the stamp",
        )
    before_ns, after_ns = edge.stamps_ns[at - 1], edge.stamps_ns[at]
    fraction = (stamp_ns - before_ns) / (after_ns - before_ns)
    return interpolate(edge.parent_from_child[at - 1], edge.parent_from_child[at], fraction)


def interpolate(first: FloatArray, second: FloatArray, fraction: float) -> FloatArray:
    """Return the transform between two: translation linear, rotation along the shorter arc."""
    translation = (1 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    start = quaternion_from_rotation(first[:3, :3])
    end = quaternion_from_rotation(second[:3, :3])
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        quaternion = (1 - fraction) * start + fraction * end
    else:
        quaternion = np.sin((1 - fraction) * angle) * start + np.sin(fraction * angle) * end
    return rigid(rotation_from_quaternion(quaternion), translation)
