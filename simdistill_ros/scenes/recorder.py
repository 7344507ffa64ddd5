# SPDX-License-Identifier: Apache-2.0
"""Records one scene: every sensor at its own stamp, files on disk, rows for the tables."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg

from simdistill_ros.core.frames import quaternion_from_rotation
from simdistill_ros.scenes import tables
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.lidar import points_in_box, scan, sweep_in_global
from simdistill_ros.scenes.light import Float32
from simdistill_ros.scenes.render import Renderer
from simdistill_ros.scenes.rig import (
    CAMERA_PERIOD_US,
    KEYFRAME_PERIOD_US,
    LIDAR,
    LIDAR_PERIOD_US,
    Camera,
)
from simdistill_ros.scenes.scene import Scene
from simdistill_ros.scenes.shapes import FloatArray
from simdistill_ros.scenes.visibility import surface_points, visibility_token, visible_fractions
from simdistill_ros.scenes.world import Moment

_EPOCH_US = 1_700_000_000_000_000
_SCENE_GAP_US = 600_000_000
_SWEEPS_PER_KEYFRAME = KEYFRAME_PERIOD_US // LIDAR_PERIOD_US
_IMAGES_PER_KEYFRAME = 6
_SECTOR_MARGIN_RAD = 0.35


class Recorder:
    """Turns a scene into files and rows. Everything random comes from the scene's seeds."""

    def __init__(self, config: GeneratorConfig, scene: Scene) -> None:
        """Prepare; nothing is written before `record`."""
        self._config, self._scene = config, scene
        plan = scene.plan
        self._key = (config.seed, plan.name)
        self._rng = np.random.default_rng([config.seed, plan.index, plan.town, 99])
        self._start_us = _EPOCH_US + (config.seed * 10_000 + plan.index) * _SCENE_GAP_US
        self._log = f"{plan.name}-town-{plan.town}"
        size = (config.width, config.height)
        self._renderer = Renderer(size, config.antialias, scene.cloud_noise, self._rng)
        self._rows: tables.Tables = defaultdict(list)
        self._data: dict[str, list[tables.Row]] = defaultdict(list)
        self._annotations: dict[int, list[tables.Row]] = defaultdict(list)
        self._useful: set[int] = set()
        self._surface = [
            surface_points(actor.model.mesh, self._rng) for actor in scene.world.actors
        ]
        self._gains = {
            camera.channel: float(self._rng.uniform(0.92, 1.08)) for camera in scene.rig.cameras
        }

    def record(self, on_keyframe: Callable[[], None] = lambda: None) -> tables.Tables:
        """Render and write the whole scene.

        Args:
            on_keyframe: Called after each keyframe, for progress.

        Returns:
            The scene's rows of all tables but the vocabularies and `map`.
        """
        self._add_log_and_sensors()
        for index in range(self._config.keyframes):
            stamp_us = (
                self._start_us + index * KEYFRAME_PERIOD_US + int(self._rng.integers(-300, 301))
            )
            token = tables.make_token(*self._key, "sample", index)
            self._record_keyframe(token, stamp_us, index)
            self._rows["sample"].append(
                {"token": token, "timestamp": stamp_us, "scene_token": self._token("scene")}
            )
            on_keyframe()
        tables.link(self._rows["sample"])
        self._finish()
        return dict(self._rows)

    def _token(self, *parts: object) -> str:
        return tables.make_token(*self._key, *parts)

    def _time_s(self, stamp_us: int) -> float:
        return (stamp_us - self._start_us) / 1e6

    def _record_keyframe(self, sample: str, stamp_us: int, index: int) -> None:
        """Record the sweeps that lead up to a keyframe, then the keyframe itself."""
        if index and self._config.sweeps != "none":
            for step in range(_SWEEPS_PER_KEYFRAME - 1, 0, -1):
                sweep_us = stamp_us - step * LIDAR_PERIOD_US + int(self._rng.integers(-200, 201))
                self._record_lidar(self._moment(sweep_us), sample, sweep_us, is_key=False)
        for camera in self._scene.rig.cameras:
            fire_us = stamp_us - camera.lead_us + int(self._rng.integers(-400, 401))
            if index and self._config.sweeps == "all":
                for step in range(_IMAGES_PER_KEYFRAME - 1, 0, -1):
                    image_us = round(fire_us - step * CAMERA_PERIOD_US)
                    self._record_camera(camera, sample, image_us, is_key=False)
            self._record_camera(camera, sample, fire_us, is_key=True)
        moment = self._moment(stamp_us)
        points_global = self._record_lidar(moment, sample, stamp_us, is_key=True)
        self._annotate(moment, sample, points_global)

    def _moment(self, stamp_us: int) -> Moment:
        return self._scene.world.at(self._time_s(stamp_us))

    def _record_camera(self, camera: Camera, sample: str, stamp_us: int, *, is_key: bool) -> None:
        facing = camera.facing(self._config.width, _SECTOR_MARGIN_RAD)
        moment = self._scene.world.at(self._time_s(stamp_us), facing)
        picture = self._renderer.render(moment, camera, self._rng, self._gains[camera.channel])
        jpeg = simplejpeg.encode_jpeg(
            np.ascontiguousarray(picture.rgb), self._config.jpeg_quality, colorspace="RGB"
        )
        path = self._add_data(camera.channel, sample, stamp_us, is_key=is_key, suffix="jpg")
        path.write_bytes(jpeg)

    def _record_lidar(
        self, moment: Moment, sample: str, stamp_us: int, *, is_key: bool
    ) -> FloatArray:
        ego_from_lidar = self._scene.rig.ego_from_lidar
        sweep: Float32 = scan(moment, ego_from_lidar, self._rng)
        path = self._add_data(LIDAR, sample, stamp_us, is_key=is_key, suffix="pcd.bin")
        path.write_bytes(np.ascontiguousarray(sweep, dtype="<f4").tobytes())
        global_from_lidar = self._scene.world.global_from_ego(moment.time_s) @ ego_from_lidar
        return sweep_in_global(sweep, global_from_lidar)

    def _add_data(
        self, channel: str, sample: str, stamp_us: int, *, is_key: bool, suffix: str
    ) -> Path:
        """Add the sample_data and ego_pose rows of one file; return its path, folder made."""
        token = self._token("data", channel, stamp_us)
        folder = "samples" if is_key else "sweeps"
        name = f"{folder}/{channel}/{self._log}__{channel}__{stamp_us}.{suffix}"
        is_image = suffix == "jpg"
        self._data[channel].append(
            {
                "token": token,
                "sample_token": sample,
                "ego_pose_token": token,
                "calibrated_sensor_token": self._token("calibration", channel),
                "timestamp": stamp_us,
                "fileformat": "jpg" if is_image else "pcd",
                "is_key_frame": is_key,
                "height": self._config.height if is_image else 0,
                "width": self._config.width if is_image else 0,
                "filename": name,
            }
        )
        global_from_ego = self._scene.world.global_from_ego(self._time_s(stamp_us))
        self._rows["ego_pose"].append(
            {
                "token": token,
                "timestamp": stamp_us,
                "rotation": quaternion_from_rotation(global_from_ego[:3, :3]).tolist(),
                "translation": global_from_ego[:3, 3].tolist(),
            }
        )
        path = self._config.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _annotate(self, moment: Moment, sample: str, points_global: FloatArray) -> None:
        """Annotate every actor within range at a keyframe."""
        world = self._scene.world
        ego = world.global_from_ego(moment.time_s)[:2, 3]
        centres = np.array([actor.centre(moment.time_s, world.terrain) for actor in world.actors])
        centres = centres.reshape(-1, 4)
        near = np.linalg.norm(centres[:, :2] - ego, axis=1) < self._config.annotation_range_m
        chosen = [int(index) for index in np.flatnonzero(near)]
        if not chosen:
            return
        surfaces = np.stack([self._surface_at(index, centres[index]) for index in chosen])
        size = (self._config.width, self._config.height)
        fractions = visible_fractions(moment, self._scene.rig.cameras, size, chosen, surfaces)
        for index, fraction in zip(chosen, fractions, strict=True):
            points = self._count_points(index, centres[index], points_global)
            if points or fraction > 0:
                self._useful.add(index)
            self._add_annotation(
                index, sample, moment.time_s, centres[index], points, float(fraction)
            )

    def _surface_at(self, index: int, centre: FloatArray) -> FloatArray:
        c, s = np.cos(centre[3]), np.sin(centre[3])
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(self._surface[index] @ rotation.T + centre[:3])

    def _count_points(self, index: int, centre: FloatArray, points_global: FloatArray) -> int:
        size = self._scene.world.actors[index].model.size_lwh_m
        reach = max(size)
        near = np.flatnonzero(np.abs(points_global[:, 0] - centre[0]) < reach)
        near = near[np.abs(points_global[near, 1] - centre[1]) < reach]
        inside = points_in_box(points_global[near], centre[:3], size, float(centre[3]))
        return int(inside.sum())

    def _add_annotation(
        self,
        index: int,
        sample: str,
        time_s: float,
        centre: FloatArray,
        points: int,
        fraction: float,
    ) -> None:
        actor = self._scene.world.actors[index]
        length, width, height = actor.model.size_lwh_m
        attribute = actor.attribute(time_s)
        half_yaw = float(centre[3]) / 2
        self._annotations[index].append(
            {
                "token": self._token("annotation", index, sample),
                "sample_token": sample,
                "instance_token": self._token("instance", index),
                "visibility_token": visibility_token(fraction),
                "attribute_tokens": [tables.attribute_token(attribute)] if attribute else [],
                "translation": centre[:3].tolist(),
                "size": [width, length, height],
                "rotation": [float(np.cos(half_yaw)), 0.0, 0.0, float(np.sin(half_yaw))],
                "num_lidar_pts": points,
                "num_radar_pts": 0,
            }
        )

    def _add_log_and_sensors(self) -> None:
        plan, rig = self._scene.plan, self._scene.rig
        day = datetime.datetime.fromtimestamp(self._start_us / 1e6, tz=datetime.timezone.utc)
        self._rows["log"].append(
            {
                "token": self._token("log"),
                "logfile": self._log,
                "vehicle": "sim",
                "date_captured": day.strftime("%Y-%m-%d"),
                "location": f"sim-town-{plan.town}",
            }
        )
        sensors = [
            (camera.channel, camera.ego_from_cam, camera.image_from_cam.tolist())
            for camera in rig.cameras
        ]
        sensors.append((LIDAR, rig.ego_from_lidar, []))
        for channel, ego_from_sensor, intrinsic in sensors:
            self._rows["calibrated_sensor"].append(
                {
                    "token": self._token("calibration", channel),
                    "sensor_token": tables.sensor_token(channel),
                    "translation": ego_from_sensor[:3, 3].tolist(),
                    "rotation": quaternion_from_rotation(ego_from_sensor[:3, :3]).tolist(),
                    "camera_intrinsic": intrinsic,
                }
            )

    def _finish(self) -> None:
        """Link the rows, and leave out actors that no sensor ever met."""
        for rows in self._data.values():
            tables.link(rows)
            self._rows["sample_data"].extend(rows)
        for index in sorted(self._useful):
            rows = self._annotations[index]
            tables.link(rows)
            self._rows["sample_annotation"].extend(rows)
            self._rows["instance"].append(
                {
                    "token": rows[0]["instance_token"],
                    "category_token": tables.category_token(
                        self._scene.world.actors[index].model.category
                    ),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": rows[0]["token"],
                    "last_annotation_token": rows[-1]["token"],
                }
            )
        samples = self._rows["sample"]
        plan, light = self._scene.plan, self._scene.world.light.kind
        self._rows["scene"].append(
            {
                "token": self._token("scene"),
                "log_token": self._token("log"),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": plan.name,
                "description": f"Generated, {light}, town {plan.town}, look {plan.look}",
            }
        )
