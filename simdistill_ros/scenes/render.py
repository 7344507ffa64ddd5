# SPDX-License-Identifier: Apache-2.0
"""Camera images: rays per pixel, optional antialiasing, sensor response and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from simdistill_ros.scenes.light import Float32, Light
from simdistill_ros.scenes.rig import Camera
from simdistill_ros.scenes.shading import Rays, radiance
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.world import NOBODY, Hits, Moment

_EXTRA_OFFSETS_PX = ((-0.34, -0.22), (0.30, 0.34))
_FULL_OFFSETS_PX = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


@dataclass(frozen=True)
class Picture:
    """A rendered image.

    Attributes:
        rgb: (H, W, 3) uint8.
        owner: (H, W) int32 index of the actor at each pixel's first sample, -1 for none.
        depth_m: (H, W) float32 distance along that sample's ray, above 1e29 for sky.
    """

    rgb: npt.NDArray[np.uint8]
    owner: npt.NDArray[np.int32]
    depth_m: Float32


class Renderer:
    """Renders the cameras of one scene; keeps per-camera rays and noise between calls."""

    def __init__(
        self,
        size_wh_px: tuple[int, int],
        antialias: str,
        cloud_noise: Float32,
        rng: np.random.Generator,
    ) -> None:
        """Prepare for images of `size_wh_px`; `antialias` is `none`, `edges` or `full`."""
        self._size = size_wh_px
        self._antialias = antialias
        self._cloud_noise = cloud_noise
        self._grain = rng.normal(0.0, 1.0, (512, 512)).astype(np.float32)
        self._jitter = rng.uniform(-1.0, 1.0, (1 << 16, 2)).astype(np.float32)
        self._rays: dict[str, Float32] = {}

    def render(
        self, moment: Moment, camera: Camera, rng: np.random.Generator, gain: float = 1.0
    ) -> Picture:
        """Return the image of `camera` at the moment's time; `rng` draws the grain."""
        width, height = self._size
        global_from_cam = moment.world.global_from_ego(moment.time_s) @ camera.ego_from_cam
        if self._antialias == "full":
            colour, hits = self._sample(moment, camera, global_from_cam, None, _FULL_OFFSETS_PX[0])
            for offset in _FULL_OFFSETS_PX[1:]:
                colour += self._sample(moment, camera, global_from_cam, None, offset)[0]
            colour /= len(_FULL_OFFSETS_PX)
        else:
            colour, hits = self._sample(moment, camera, global_from_cam, None, (0.0, 0.0))
        if self._antialias == "edges":
            edges = np.flatnonzero(_edge_mask(moment, hits, (height, width)))
            for offset in _EXTRA_OFFSETS_PX if len(edges) else ():
                extra, _ = self._sample(moment, camera, global_from_cam, edges, offset)
                colour[edges] += np.minimum(extra, 4.0)
            colour[edges] /= 1 + len(_EXTRA_OFFSETS_PX)
        owner = np.full(len(hits.face), NOBODY, np.int32)
        found = hits.found
        owner[found] = moment.world.owner[hits.face[found]]
        rgb = self._develop(colour.reshape(height, width, 3), moment.world.light, rng, gain)
        return Picture(rgb, owner.reshape(height, width), hits.distance_m.reshape(height, width))

    def _camera_rays(
        self, camera: Camera, pixels: npt.NDArray[np.intp] | None, offset_px: tuple[float, float]
    ) -> Float32:
        """Return unit directions (M, 3) in the camera frame for all or some pixels."""
        width, height = self._size
        key = f"{camera.channel}{offset_px}"
        if pixels is None and key in self._rays:
            return self._rays[key]
        flat = np.arange(width * height) if pixels is None else pixels
        k = camera.image_from_cam
        x = ((flat % width) + offset_px[0] - k[0, 2]) / k[0, 0]
        y = ((flat // width) + offset_px[1] - k[1, 2]) / k[1, 1]
        rays = np.stack([x, y, np.ones_like(x)], axis=1)
        unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        directions = np.asarray(unit, dtype=np.float32)
        if pixels is None:
            self._rays[key] = directions
        return directions

    def _hits(
        self,
        moment: Moment,
        camera: Camera,
        global_from_cam: FloatArray,
        pixels: npt.NDArray[np.intp] | None,
        offset_px: tuple[float, float],
    ) -> tuple[Rays, Hits]:
        local = self._camera_rays(camera, pixels, offset_px)
        directions = local @ global_from_cam[:3, :3].T.astype(np.float32)
        origins = np.empty_like(directions)
        origins[:] = global_from_cam[:3, 3]
        soft = moment.world.light.sun_spread > 0.0
        jitter = (
            np.resize(self._jitter, (len(directions), 2)) if soft else np.zeros((0, 2), np.float32)
        )
        frame_hw = self._size[::-1] if pixels is None else None
        pixel_rad = float(1.0 / camera.image_from_cam[0, 0])
        rays = Rays(origins, directions, pixel_rad, jitter, frame_hw)
        return rays, moment.trace(origins, directions)

    def _sample(
        self,
        moment: Moment,
        camera: Camera,
        global_from_cam: FloatArray,
        pixels: npt.NDArray[np.intp] | None,
        offset_px: tuple[float, float],
    ) -> tuple[Float32, Hits]:
        rays, hits = self._hits(moment, camera, global_from_cam, pixels, offset_px)
        return np.minimum(radiance(moment, rays, hits, self._cloud_noise), 4.0), hits

    def _develop(
        self, colour: Float32, light: Light, rng: np.random.Generator, gain: float
    ) -> npt.NDArray[np.uint8]:
        """Turn radiance into an 8-bit image with a soft shoulder and grain."""
        scaled = colour * np.float32(light.exposure * gain * 1024.0)
        index = np.minimum(scaled, 4095.0).astype(np.uint16)
        response = _RESPONSE[index]
        height, width = response.shape[:2]
        shift = rng.integers(0, 512, 2)
        rows = (np.arange(height) + shift[0]) % 512
        columns = (np.arange(width) + shift[1]) % 512
        grain = self._grain[rows][:, columns]
        response += grain[..., None] * np.float32(light.noise)
        chroma = (
            self._grain[columns % 512][:, rows % 512].T
            if height == width
            else self._grain[rows][:, columns[::-1]]
        )
        response[..., 0] += chroma * np.float32(light.noise * 0.5)
        response[..., 2] -= chroma * np.float32(light.noise * 0.5)
        return np.asarray(cv2.convertScaleAbs(np.clip(response, 0.0, 255.0)), dtype=np.uint8)


def _response_curve() -> Float32:
    """Return grey levels (4096,) for exposures of 0 to 4: soft shoulder, gamma, some contrast."""
    exposure = np.arange(4096) / 1024.0
    screen = np.power(1.0 - np.exp(-1.7 * exposure), 1 / 2.2)
    steep = screen * screen * (3.0 - 2.0 * screen)
    return np.asarray(255.0 * (0.45 * screen + 0.55 * steep), dtype=np.float32)


_RESPONSE = _response_curve()


def _edge_mask(moment: Moment, hits: Hits, shape_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return (H*W,) True where a neighbour shows another object, material, plane or depth."""
    face = hits.face.reshape(shape_hw)
    distance = hits.distance_m.reshape(shape_hw)
    world = moment.world
    key = (world.owner[face] * 16 + world.material[face] + 64).astype(np.int32)
    key[face < 0] = -1
    mask = np.zeros(shape_hw, bool)
    for axis in (0, 1):
        here = tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))
        there = tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))
        differs = key[here] != key[there]
        differs |= np.abs(distance[here] - distance[there]) > 0.06 * distance[here]
        rest = np.nonzero((face[here] != face[there]) & ~differs)
        first, second = moment.normals[face[here][rest]], moment.normals[face[there][rest]]
        differs[rest] = np.abs(np.einsum("mc,mc->m", first, second)) < 0.9
        mask[here] |= differs
        mask[there] |= differs
    return mask.ravel()
