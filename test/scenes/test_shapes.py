# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from simdistill_ros.scenes.shapes import Shape, ball, box, frustum, moved, slab, tube


def _is_closed(shape: Shape) -> bool:
    """Tell whether every edge belongs to an even number of triangles."""
    faces = shape[1]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    return bool((counts % 2 == 0).all())


def _extent(shape: Shape) -> list[float]:
    return (shape[0].max(axis=0) - shape[0].min(axis=0)).tolist()


@pytest.mark.parametrize(
    "shape",
    [
        box((0, 0, 0), (1, 2, 3)),
        frustum((-2, 2, 1, 0), (-1, 1, 0.5, 1)),
        tube((0, 0, 0), (0, 0, 1), 0.5),
        slab([(0, 0), (2, 0), (2, 1), (0, 1)], 0.5, 0.1),
    ],
    ids=["box", "frustum", "tube", "slab"],
)
def test_shape_has_no_holes(shape: Shape) -> None:
    assert _is_closed(shape)


def test_box_has_the_size_and_centre_asked_for() -> None:
    shape = box((1, 2, 3), (3, 4, 5))
    assert _extent(shape) == [3, 4, 5]
    np.testing.assert_allclose(shape[0].mean(axis=0), [1, 2, 3])


def test_tube_keeps_its_radius_along_a_slanted_axis() -> None:
    vertices, _ = tube((0, 0, 0), (3, 0, 4), 0.5, sides=12)
    axis = np.array([0.6, 0.0, 0.8])
    distance = np.linalg.norm(vertices - np.outer(vertices @ axis, axis), axis=1)
    np.testing.assert_allclose(distance[:24], 0.5)


def test_bevel_shrinks_the_outer_faces_only() -> None:
    vertices, _ = slab([(-1, -1), (1, -1), (1, 1), (-1, 1)], 1.0, 0.2)
    outer = np.abs(vertices[:, 1]) == 1.0
    assert np.abs(vertices[outer][:, 0]).max() < 0.9
    assert np.abs(vertices[~outer][:, 0]).max() == pytest.approx(1.0)


def test_ball_touches_its_radii_in_z() -> None:
    assert _extent(ball((0, 0, 0), (1, 2, 3), rings=4, sides=8)) == pytest.approx([2, 4, 6])


def test_quarter_turn_takes_x_to_y() -> None:
    shape = moved(box((2, 0, 0), (0.1, 0.1, 0.1)), (0, 0, 1), yaw_rad=np.pi / 2)
    np.testing.assert_allclose(shape[0].mean(axis=0), [0, 2, 1], atol=1e-12)


def test_positive_pitch_lowers_the_front() -> None:
    shape = moved(box((2, 0, 0), (0.1, 0.1, 0.1)), (0, 0, 0), pitch_rad=np.pi / 2)
    np.testing.assert_allclose(shape[0].mean(axis=0), [0, 0, -2], atol=1e-12)
