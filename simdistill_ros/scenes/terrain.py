# SPDX-License-Identifier: Apache-2.0
"""Gentle hills, so that the depth of an object cannot be read off a flat ground plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simdistill_ros.scenes.shapes import FloatArray


@dataclass(frozen=True)
class Terrain:
    """Height as a sum of sine waves.

    Attributes:
        wave_vectors: (K, 2) radians per metre.
        phases: (K,) radians.
        amplitudes: (K,) metres.
    """

    wave_vectors: FloatArray
    phases: FloatArray
    amplitudes: FloatArray

    def height(self, xy: FloatArray) -> FloatArray:
        """Return heights (...) in metres of global positions (..., 2)."""
        waves = np.asarray(xy, dtype=np.float64) @ self.wave_vectors.T + self.phases
        return np.asarray(np.sin(waves) @ self.amplitudes)

    def slope(self, xy: FloatArray) -> FloatArray:
        """Return the gradient (..., 2), metres per metre."""
        waves = np.asarray(xy, dtype=np.float64) @ self.wave_vectors.T + self.phases
        return np.asarray((np.cos(waves) * self.amplitudes) @ self.wave_vectors)

    @property
    def lowest_m(self) -> float:
        """Return a bound below every height."""
        return -float(np.abs(self.amplitudes).sum())


def make_terrain(rng: np.random.Generator, hilliness: float) -> Terrain:
    """Return hills whose steepest slope is about 6 % at `hilliness` 1 and 0 at 0."""
    lengths_m = np.array([210.0, 150.0, 110.0, 75.0]) * rng.uniform(0.9, 1.15, 4)
    directions = rng.uniform(0.0, 2.0 * np.pi, 4)
    vectors = (
        np.stack([np.cos(directions), np.sin(directions)], 1) * (2 * np.pi / lengths_m)[:, None]
    )
    slopes = np.array([0.026, 0.018, 0.014, 0.010])
    amplitudes = slopes * lengths_m / (2 * np.pi) * rng.uniform(0.6, 1.2, 4) * hilliness
    return Terrain(vectors, rng.uniform(0.0, 2.0 * np.pi, 4), amplitudes)
