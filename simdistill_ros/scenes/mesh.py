# SPDX-License-Identifier: Apache-2.0
"""Coloured triangle meshes: named parts, materials, and finished object models.

Colours are linear reflectances in [0, 1]; `linear_rgb` converts from the usual screen values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from simdistill_ros.scenes.shapes import FloatArray, IntArray, Shape

Rgb = tuple[float, float, float]


class Material(IntEnum):
    """How a face answers to light; `shading` gives each one its meaning."""

    MATTE = 0
    PAINT = 1
    GLASS = 2
    LAMP = 3
    FACADE = 4
    FOLIAGE = 5
    GROUND = 6
    MASONRY = 7
    REFLECTOR = 8


def linear_rgb(rgb: Sequence[float]) -> npt.NDArray[np.float32]:
    """Convert screen colours in [0, 1] to linear reflectance."""
    return np.power(np.clip(np.asarray(rgb, dtype=np.float64), 0.0, 1.0), 2.2).astype(np.float32)


@dataclass(frozen=True)
class Mesh:
    """Triangles with one colour, material and parameter set per face.

    Attributes:
        vertices: (V, 3) metres, float64.
        faces: (F, 3) int32 vertex indices.
        rgb: (F, 3) linear reflectance, float32.
        material: (F,) uint8 values of `Material`.
        param: (F, 3) float32; meaning depends on the material (facade: base height, storey height,
            window pitch).
    """

    vertices: FloatArray
    faces: IntArray
    rgb: npt.NDArray[np.float32]
    material: npt.NDArray[np.uint8]
    param: npt.NDArray[np.float32]

    def placed(self, position: Sequence[float], yaw_rad: float) -> Mesh:
        """Return the mesh turned about z by `yaw_rad` and moved to `position` (x, y, z) metres."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        vertices = self.vertices @ rotation.T + np.asarray(position, dtype=np.float64)
        return Mesh(vertices, self.faces, self.rgb, self.material, self.param)


def merge_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Join meshes into one, in order.

    Raises:
        ValueError: If `meshes` is empty.
    """
    if not meshes:
        raise ValueError("expected at least one mesh to merge, got none")
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    shifted = [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)]
    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        faces=np.concatenate(shifted).astype(np.int32),
        rgb=np.concatenate([mesh.rgb for mesh in meshes]),
        material=np.concatenate([mesh.material for mesh in meshes]),
        param=np.concatenate([mesh.param for mesh in meshes]),
    )


@dataclass
class MeshBuilder:
    """Collects named parts and returns them as one mesh."""

    _meshes: list[Mesh] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        shape: Shape,
        rgb: Sequence[float],
        material: Material = Material.MATTE,
        param: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        """Add a part; `rgb` are screen colours in [0, 1]."""
        vertices, faces = shape
        count = len(faces)
        self._meshes.append(
            Mesh(
                vertices=vertices,
                faces=faces,
                rgb=np.broadcast_to(linear_rgb(rgb), (count, 3)).copy(),
                material=np.full(count, int(material), dtype=np.uint8),
                param=np.broadcast_to(np.asarray(param, dtype=np.float32), (count, 3)).copy(),
            )
        )
        if name not in self._names:
            self._names.append(name)

    def add_mesh(self, name: str, mesh: Mesh) -> None:
        """Add a finished mesh as one part."""
        self._meshes.append(mesh)
        if name not in self._names:
            self._names.append(name)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts added so far, without repetition."""
        return tuple(self._names)

    def build(self) -> Mesh:
        """Return all parts as one mesh."""
        return merge_meshes(self._meshes)


@dataclass(frozen=True)
class ObjectModel:
    """One annotated object, origin at the centre of its tight box, x along its heading.

    Attributes:
        class_name: One of the ten detection classes.
        category: nuScenes category name.
        variant: Word for the kind of object, e.g. `sedan`.
        mesh: Faces in the box frame.
        size_lwh_m: Extents of the mesh along x, y and z.
        part_names: Names of the parts.
        with_rider: True for cycles that carry a person.
        posture: `standing`, `moving` or `sitting` for pedestrians, else empty.
    """

    class_name: str
    category: str
    variant: str
    mesh: Mesh
    size_lwh_m: tuple[float, float, float]
    part_names: tuple[str, ...]
    with_rider: bool = False
    posture: str = ""


def finish_model(
    builder: MeshBuilder,
    class_name: str,
    category: str,
    variant: str,
    *,
    with_rider: bool = False,
    posture: str = "",
) -> ObjectModel:
    """Centre the parts on their extents and return the model."""
    mesh = builder.build()
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centred = Mesh(
        mesh.vertices - (low + high) / 2.0, mesh.faces, mesh.rgb, mesh.material, mesh.param
    )
    length, width, height = (float(extent) for extent in high - low)
    return ObjectModel(
        class_name,
        category,
        variant,
        centred,
        (length, width, height),
        builder.part_names,
        with_rider,
        posture,
    )
