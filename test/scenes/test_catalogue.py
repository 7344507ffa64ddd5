# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from simdistill_ros.core.boxes import NUSCENES_CLASSES
from simdistill_ros.scenes.catalogue import build_object, build_posed_person

# Length, width and height in metres between which every object of a class must lie.
PLAUSIBLE_LWH_M = {
    "car": ((3.5, 1.6, 1.2), (5.8, 2.2, 2.6)),
    "truck": ((4.8, 1.8, 1.6), (9.5, 2.8, 4.2)),
    "construction_vehicle": ((3.8, 1.8, 2.5), (8.0, 3.8, 5.5)),
    "bus": ((9.0, 2.3, 2.8), (13.0, 2.8, 4.6)),
    "trailer": ((3.9, 1.9, 1.4), (13.5, 2.8, 4.4)),
    "barrier": ((0.3, 1.7, 0.7), (0.8, 2.9, 1.3)),
    "motorcycle": ((1.5, 0.5, 0.9), (2.5, 0.9, 2.0)),
    "bicycle": ((1.4, 0.4, 0.8), (2.0, 0.8, 2.1)),
    "pedestrian": ((0.2, 0.3, 0.8), (1.4, 0.9, 2.1)),
    "traffic_cone": ((0.1, 0.1, 0.5), (0.6, 0.6, 1.3)),
}


def _objects(class_name: str) -> list:
    return [
        build_object(class_name, look, np.random.default_rng([look, index]), variant=index)
        for look in range(3)
        for index in range(8)
    ]


@pytest.mark.parametrize("class_name", NUSCENES_CLASSES)
def test_every_object_has_at_least_three_parts(class_name: str) -> None:
    assert min(len(model.part_names) for model in _objects(class_name)) >= 3


@pytest.mark.parametrize("class_name", NUSCENES_CLASSES)
def test_box_is_tight_and_centred_on_the_mesh(class_name: str) -> None:
    for model in _objects(class_name):
        half = np.asarray(model.size_lwh_m) / 2
        np.testing.assert_allclose(model.mesh.vertices.max(axis=0), half, atol=1e-9)
        np.testing.assert_allclose(model.mesh.vertices.min(axis=0), -half, atol=1e-9)


@pytest.mark.parametrize("class_name", NUSCENES_CLASSES)
def test_sizes_are_plausible(class_name: str) -> None:
    low, high = (np.asarray(bound) for bound in PLAUSIBLE_LWH_M[class_name])
    for model in _objects(class_name):
        size = np.asarray(model.size_lwh_m)
        assert (size >= low).all(), (model.variant, size)
        assert (size <= high).all(), (model.variant, size)


def test_same_look_and_generator_give_the_same_object() -> None:
    first = build_object("car", 4, np.random.default_rng(9))
    second = build_object("car", 4, np.random.default_rng(9))
    np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)
    np.testing.assert_array_equal(first.mesh.rgb, second.mesh.rgb)


def test_another_look_gives_other_shapes() -> None:
    sizes = [build_object("car", look, np.random.default_rng(9), 0).size_lwh_m for look in (1, 2)]
    assert not np.allclose(sizes[0], sizes[1], atol=0.01)


def test_one_variant_has_one_shape_in_several_colours() -> None:
    models = [build_object("bus", 1, np.random.default_rng(seed), 2) for seed in range(6)]
    assert len({model.size_lwh_m for model in models}) == 1
    assert len({float(model.mesh.rgb[0].sum()) for model in models}) > 1


def test_front_of_a_car_carries_the_white_lamps_and_the_rear_the_red_ones() -> None:
    mesh = build_object("car", 0, np.random.default_rng(0)).mesh
    middle_x = mesh.vertices[mesh.faces].mean(axis=1)[:, 0]
    lamps = mesh.material == 3
    red = lamps & (mesh.rgb[:, 0] > 5 * mesh.rgb[:, 1])
    assert middle_x[red].max() < 0 < middle_x[lamps & ~red].min()


def test_riders_make_cycles_taller() -> None:
    models = [build_object("bicycle", 0, np.random.default_rng(seed), 0) for seed in range(12)]
    with_rider = [model.size_lwh_m[2] for model in models if model.with_rider]
    without = [model.size_lwh_m[2] for model in models if not model.with_rider]
    assert with_rider
    assert without
    assert min(with_rider) > max(without) + 0.3


def test_worker_has_a_category_of_its_own() -> None:
    worker = build_posed_person(0, np.random.default_rng(0), "worker", "standing")
    assert worker.category == "human.pedestrian.construction_worker"
    assert "vest_bands" in worker.part_names


def test_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="got 'tram'"):
        build_object("tram", 0, np.random.default_rng(0))
