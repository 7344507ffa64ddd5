# SPDX-License-Identifier: Apache-2.0
"""Sun, sky and air of a scene, in linear radiance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """Illumination and camera response.

    Attributes:
        kind: `clear`, `low_sun`, `overcast` or `dusk`.
        sun_direction: (3,) unit vector towards the light that casts shadows, global frame.
        sun_rgb: (3,) its radiance on a face that looks at it.
        sun_spread: Half-angle of the light in radians; wide light casts soft shadows.
        sky_rgb: (3,) radiance of the zenith.
        horizon_rgb: (3,) radiance of the horizon, also the colour of haze.
        ambient: Strength of sky light on faces.
        haze_per_m: Extinction of the air.
        clouds: 0 (none) to 1.
        lamp_gain: Emission of lamps.
        exposure: Factor from radiance to sensor response.
        noise: Standard deviation of image noise in grey levels.
    """

    kind: str
    sun_direction: Float32
    sun_rgb: Float32
    sun_spread: float
    sky_rgb: Float32
    horizon_rgb: Float32
    ambient: float
    haze_per_m: float
    clouds: float
    lamp_gain: float
    exposure: float
    noise: float


def _direction(azimuth_rad: float, elevation_rad: float) -> Float32:
    c = np.cos(elevation_rad)
    return np.array(
        [c * np.cos(azimuth_rad), c * np.sin(azimuth_rad), np.sin(elevation_rad)], np.float32
    )


def _rgb(*values: float) -> Float32:
    return np.array(values, np.float32)


def draw_light(rng: np.random.Generator) -> Light:
    """Return one of four kinds of daylight with random details."""
    kind = str(rng.choice(("clear", "low_sun", "overcast", "dusk"), p=(0.42, 0.2, 0.26, 0.12)))
    azimuth = float(rng.uniform(0, 2 * np.pi))
    gain = float(rng.uniform(0.75, 1.3))
    haze = float(rng.uniform(0.0004, 0.003))
    if kind == "clear":
        elevation = float(rng.uniform(0.55, 1.2))
        return Light(
            kind,
            _direction(azimuth, elevation),
            _rgb(2.3, 2.2, 2.05),
            0.0,
            _rgb(0.30, 0.50, 0.95),
            _rgb(0.85, 0.92, 1.0),
            0.85,
            haze,
            float(rng.uniform(0.1, 0.7)),
            0.6,
            0.72 * gain,
            1.6,
        )
    if kind == "low_sun":
        elevation = float(rng.uniform(0.2, 0.42))
        return Light(
            kind,
            _direction(azimuth, elevation),
            _rgb(2.6, 2.0, 1.35),
            0.0,
            _rgb(0.32, 0.48, 0.82),
            _rgb(1.05, 0.90, 0.72),
            0.75,
            haze * 1.6,
            float(rng.uniform(0.0, 0.6)),
            0.7,
            0.75 * gain,
            2.0,
        )
    if kind == "overcast":
        return Light(
            kind,
            _direction(azimuth, 1.25),
            _rgb(0.62, 0.63, 0.66),
            0.5,
            _rgb(0.72, 0.76, 0.82),
            _rgb(0.92, 0.94, 0.97),
            1.0,
            haze * 2.5,
            float(rng.uniform(0.2, 0.6)),
            0.8,
            0.80 * gain,
            2.2,
        )
    return Light(
        kind,
        _direction(azimuth, 1.0),
        _rgb(0.12, 0.13, 0.18),
        0.5,
        _rgb(0.14, 0.19, 0.36),
        _rgb(0.62, 0.48, 0.42),
        0.8,
        haze * 1.5,
        float(rng.uniform(0.0, 0.5)),
        2.2,
        1.15 * gain,
        4.0,
    )


def sky_radiance(light: Light, directions: Float32) -> Float32:
    """Return the sky's radiance (M, 3) for unit directions (M, 3), clouds left out."""
    height = np.clip(directions[:, 2], 0.0, 1.0)
    blend = np.sqrt(height)[:, None]
    colour = light.horizon_rgb + (light.sky_rgb - light.horizon_rgb) * blend
    if light.sun_spread < 0.1:
        toward = np.clip(directions @ light.sun_direction, 0.0, 1.0)
        glow = 0.25 * toward**8 + 4.0 * toward**400
        colour = colour + glow[:, None] * light.sun_rgb
    below = directions[:, 2] < 0.0
    if below.any():
        colour[below] = light.horizon_rgb * np.float32(0.32)
    return np.asarray(colour, dtype=np.float32)


def cloudy_sky(light: Light, directions: Float32, noise: Float32) -> Float32:
    """Return the sky's radiance (M, 3) with clouds drawn from a tileable noise image."""
    colour = sky_radiance(light, directions)
    if light.clouds <= 0.0:
        return colour
    size = noise.shape[0]
    height = np.maximum(directions[:, 2], 0.03)
    plane = directions[:, :2] / height[:, None] * np.float32(38.0)
    column = plane[:, 0].astype(np.int32) % size
    row = plane[:, 1].astype(np.int32) % size
    cover = np.clip(noise[row, column] * 0.5 + (light.clouds - 0.45) * 1.6, 0.0, 1.0)
    cover *= np.clip(directions[:, 2] * 6.0, 0.0, 1.0)
    cloud = light.horizon_rgb * np.float32(1.02)
    return np.asarray(colour + (cloud - colour) * (0.8 * cover)[:, None], dtype=np.float32)
