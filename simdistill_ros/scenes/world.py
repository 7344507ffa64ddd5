# SPDX-License-Identifier: Apache-2.0
"""All triangles of a scene, ready for rays; what moves is rebuilt for each instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from simdistill_ros.core.frames import rigid
from simdistill_ros.scenes.ground import Extent, GroundTexture
from simdistill_ros.scenes.light import Light
from simdistill_ros.scenes.mesh import Material, Mesh, MeshBuilder, merge_meshes
from simdistill_ros.scenes.motion import Track
from simdistill_ros.scenes.shapes import FloatArray, box
from simdistill_ros.scenes.stage import Actor
from simdistill_ros.scenes.terrain import Terrain
from simdistill_ros.scenes.town import Town

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

NOBODY = -1
_GROUND_CELL_M = 4.0
_MOVING_REACH_M = 95.0
_ALL_AROUND_M = 35.0
_FAR = np.float32(1e30)


@dataclass(frozen=True)
class Facing:
    """A horizontal sector of the ego frame: heading of its middle and half its width, radians."""

    heading_rad: float
    half_width_rad: float


@dataclass(frozen=True)
class Hits:
    """First intersections of M rays.

    Attributes:
        distance_m: (M,) float32; infinite-like (above 1e29) without a hit.
        face: (M,) int32 index into the world's face tables, -1 without a hit.
    """

    distance_m: Float32
    face: Int32

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Return (M,) True where a ray met something."""
        return np.asarray(self.face >= 0)


def _embree_scene(vertices: Float32, faces: Int32) -> EmbreeScene:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices), np.ascontiguousarray(faces))
    return scene


def _unit_normals(vertices: FloatArray, faces: Int32) -> Float32:
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.asarray(normals / np.maximum(lengths, 1e-12), dtype=np.float32)


class World:
    """Geometry, materials and light of one scene.

    Face tables list the faces of what stands still first, then those of each moving actor.

    Attributes:
        actors: Annotated objects; `owner` values index this list.
        terrain: Hills.
        texture: Albedo of the ground.
        light: Illumination.
        ego_track: Pose of the ego vehicle's rear axle.
        rgb: (F, 3) reflectance per face.
        material: (F,) `Material` per face.
        param: (F, 3) material parameters per face.
        owner: (F,) index of the actor per face, or `NOBODY`.
    """

    def __init__(
        self,
        *,
        town: Town,
        crop: Extent,
        texture: GroundTexture,
        light: Light,
        ego_track: Track,
        actors: list[Actor],
    ) -> None:
        """Collect all faces; scenery farther than 60 m outside `crop` is left out."""
        self.actors, self.terrain, self.texture = actors, town.terrain, texture
        self.light, self.ego_track = light, ego_track
        fixed = [index for index, actor in enumerate(actors) if actor.is_fixed]
        self._moving = [index for index, actor in enumerate(actors) if not actor.is_fixed]
        backdrop = merge_meshes(_backdrop(town, crop))
        placed = [_placed_actor(actors[index], town.terrain) for index in fixed]
        meshes = [backdrop, *placed]
        owners = [NOBODY, *fixed]
        self._fixed_mesh = merge_meshes(meshes)
        locals_ = [actors[index].model.mesh for index in self._moving]
        everything = [*meshes, *locals_]
        counts = [len(mesh.faces) for mesh in everything]
        self.owner = np.repeat(np.array([*owners, *self._moving], np.int32), counts)
        self.rgb = np.concatenate([mesh.rgb for mesh in everything])
        self.material = np.concatenate([mesh.material for mesh in everything])
        self.param = np.concatenate([mesh.param for mesh in everything])
        starts = np.cumsum([0, *counts])
        self._first_face = {
            index: int(starts[len(meshes) + rank]) for rank, index in enumerate(self._moving)
        }
        self._local_normals = {
            index: _unit_normals(mesh.vertices, mesh.faces)
            for index, mesh in zip(self._moving, locals_, strict=True)
        }
        normals = np.zeros((int(starts[-1]), 3), np.float32)
        normals[: len(self._fixed_mesh.faces)] = _unit_normals(
            self._fixed_mesh.vertices, self._fixed_mesh.faces
        )
        self._normals = normals
        self._fixed_scene = _embree_scene(
            self._fixed_mesh.vertices.astype(np.float32), self._fixed_mesh.faces
        )

    def global_from_ego(self, time_s: float) -> FloatArray:
        """Return the ego pose (4, 4), tilted with the ground."""
        x, y, yaw = self.ego_track.pose(time_s)
        forward = np.array([np.cos(yaw), np.sin(yaw)])
        left = np.array([-forward[1], forward[0]])
        here = np.array([x, y])
        wheels = here + np.array([[0.0, 0.8], [0.0, -0.8], [2.7, 0.8], [2.7, -0.8]]) @ np.stack(
            [forward, left]
        )
        heights = self.terrain.height(wheels)
        pitch_slope = float(heights[2:].mean() - heights[:2].mean()) / 2.7
        roll_slope = float(heights[::2].mean() - heights[1::2].mean()) / 1.6
        x_axis = np.array([*forward, pitch_slope])
        x_axis /= np.linalg.norm(x_axis)
        z_axis = np.cross(x_axis, np.array([*left, roll_slope]))
        z_axis /= np.linalg.norm(z_axis)
        rotation = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], axis=1)
        return rigid(rotation, [x, y, float(heights[:2].mean())])

    def at(self, time_s: float, facing: Facing | None = None) -> Moment:
        """Return the world frozen at a time.

        Args:
            time_s: Seconds since the scene's first keyframe.
            facing: Leave out moving actors that are far away and well outside this sector, where
                neither they nor their shadows are seen; None keeps all within reach.
        """
        ego_x, ego_y, ego_yaw = self.ego_track.pose(time_s)
        normals, vertices, faces, ids = self._normals, [], [], []
        offset = 0
        for index in self._moving:
            actor = self.actors[index]
            x, y, z, yaw = actor.centre(time_s, self.terrain)
            distance = float(np.hypot(x - ego_x, y - ego_y))
            if distance > _MOVING_REACH_M:
                continue
            if facing is not None and distance > _ALL_AROUND_M:
                bearing = np.arctan2(y - ego_y, x - ego_x) - ego_yaw - facing.heading_rad
                if np.cos(bearing) < np.cos(facing.half_width_rad):
                    continue
            c, s = np.cos(yaw), np.sin(yaw)
            rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
            mesh, first = actor.model.mesh, self._first_face[index]
            vertices.append(mesh.vertices @ rotation.T + [x, y, z])
            faces.append(mesh.faces + offset)
            ids.append(np.arange(first, first + len(mesh.faces), dtype=np.int32))
            normals[ids[-1]] = self._local_normals[index] @ rotation.T.astype(np.float32)
            offset += len(mesh.vertices)
        if not vertices:
            return Moment(self, time_s, self._fixed_scene, None, np.zeros(0, np.int32), normals)
        scene = _embree_scene(
            np.concatenate(vertices).astype(np.float32), np.concatenate(faces).astype(np.int32)
        )
        return Moment(self, time_s, self._fixed_scene, scene, np.concatenate(ids), normals)


@dataclass(frozen=True)
class Moment:
    """The world at one time. Making the next one makes this one's moving normals stale.

    Attributes:
        world: What does not change.
        time_s: The time.
        fixed_scene: Ray structure of what stands still.
        moving_scene: Ray structure of what moves, or None.
        moving_face: Face-table index of each triangle of `moving_scene`.
        normals: (F, 3) unit normals in the global frame.
    """

    world: World
    time_s: float
    fixed_scene: EmbreeScene
    moving_scene: EmbreeScene | None
    moving_face: Int32
    normals: Float32

    def trace(self, origins: Float32, directions: Float32) -> Hits:
        """Return the first hits of rays (M, 3), (M, 3) in the global frame; directions are unit."""
        result = self.fixed_scene.run(origins, directions, output=True)
        distance, face = result["tfar"], result["primID"]
        if self.moving_scene is not None:
            moving = self.moving_scene.run(origins, directions, output=True)
            nearer = np.flatnonzero((moving["primID"] >= 0) & (moving["tfar"] < distance))
            distance[nearer] = moving["tfar"][nearer]
            face[nearer] = self.moving_face[moving["primID"][nearer]]
        distance[face < 0] = _FAR
        return Hits(distance, face)

    def occluded(self, origins: Float32, directions: Float32) -> npt.NDArray[np.bool_]:
        """Tell for each ray whether anything lies on it."""
        blocked = np.asarray(self.fixed_scene.run(origins, directions, query="OCCLUDED") >= 0)
        if self.moving_scene is not None:
            blocked |= self.moving_scene.run(origins, directions, query="OCCLUDED") >= 0
        return blocked


def _placed_actor(actor: Actor, terrain: Terrain) -> Mesh:
    x, y, z, yaw = actor.centre(0.0, terrain)
    return actor.model.mesh.placed((x, y, z), yaw)


def _backdrop(town: Town, crop: Extent) -> list[Mesh]:
    """Return ground, sidewalks, nearby scenery and a far skyline."""
    meshes = [_ground_mesh(town.terrain, crop), town.sidewalks]
    for placed in town.scenery:
        x, y = placed.xy
        near_x = crop.x_min - 60.0 < x < crop.x_max + 60.0
        if near_x and crop.y_min - 60.0 < y < crop.y_max + 60.0:
            meshes.append(placed.mesh)
    meshes.append(_skyline(town, crop))
    return meshes


def _ground_mesh(terrain: Terrain, crop: Extent) -> Mesh:
    """Return the ground as a grid over `crop`, with a lower plane that reaches to the horizon."""
    columns = int(np.ceil((crop.x_max - crop.x_min) / _GROUND_CELL_M)) + 1
    rows = int(np.ceil((crop.y_max - crop.y_min) / _GROUND_CELL_M)) + 1
    x, y = np.meshgrid(
        np.linspace(crop.x_min, crop.x_max, columns), np.linspace(crop.y_min, crop.y_max, rows)
    )
    xy = np.stack([x.ravel(), y.ravel()], axis=1)
    vertices = np.concatenate([xy, terrain.height(xy)[:, None]], axis=1)
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    corner = (row * columns + column).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + columns], 1),
            np.stack([corner + 1, corner + columns + 1, corner + columns], 1),
        ]
    ).astype(np.int32)
    builder = MeshBuilder()
    builder.add("ground", (vertices, faces), (0.4, 0.4, 0.4), Material.GROUND)
    middle = ((crop.x_min + crop.x_max) / 2, (crop.y_min + crop.y_max) / 2, terrain.lowest_m - 0.6)
    builder.add("plain", box(middle, (4000.0, 4000.0, 0.2)), (0.42, 0.45, 0.36))
    return builder.build()


def _skyline(town: Town, crop: Extent) -> Mesh:
    """Return far blocks that close the view between the town's own buildings."""
    rng = np.random.default_rng([town.seed, 911])
    middle = np.array([(crop.x_min + crop.x_max) / 2, (crop.y_min + crop.y_max) / 2])
    reach = max(crop.x_max - crop.x_min, crop.y_max - crop.y_min) / 2
    builder = MeshBuilder()
    for angle in np.arange(0.0, 2 * np.pi, 0.11):
        distance = reach + float(rng.uniform(60.0, 200.0))
        xy = middle + distance * np.array([np.cos(angle), np.sin(angle)])
        if float(np.linalg.norm(town.main.centre - xy, axis=1).min()) < 35.0:
            continue
        size = rng.uniform([18.0, 18.0, 5.0], [50.0, 40.0, 34.0])
        grey = float(rng.uniform(0.4, 0.7))
        block = box((xy[0], xy[1], size[2] / 2 - 4.0), list(size))
        builder.add(
            "skyline", block, (grey, grey * 0.98, grey * 0.95), Material.FACADE, (0.0, 3.3, 3.0)
        )
    return builder.build()
