# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from simdistill_ros.scenes.ground import LABEL_M, Extent, Surface, make_texture, semantic_mask
from simdistill_ros.scenes.roads import Profile, Road, make_main_road
from simdistill_ros.scenes.terrain import make_terrain
from simdistill_ros.scenes.town import Town, build_town, crop_around

PROFILE = Profile(lane=3.5, bike=1.0, parking=2.5, sidewalk=3.0)


@pytest.fixture(scope="module")
def town() -> Town:
    return build_town(5)


def _label(town: Town, xy: np.ndarray) -> int:
    column, row = np.round(town.raster.extent.pixels(xy, LABEL_M)).astype(int)
    return int(town.raster.labels[row, column])


def test_positive_offset_lies_to_the_left_of_the_road() -> None:
    centre = np.stack([np.arange(11.0), np.zeros(11)], 1)
    road = Road(centre, np.zeros(11), PROFILE)
    np.testing.assert_allclose(road.point(4.0, 2.0), [4.0, 2.0])
    np.testing.assert_allclose(road.point(4.0, -2.0), [4.0, -2.0])


def test_main_road_has_straights_and_bends_but_no_hairpin() -> None:
    road = make_main_road(np.random.default_rng(0), 400.0, PROFILE)
    curvature = np.abs(np.diff(road.heading_rad))
    assert (curvature < 1e-9).any()
    assert 1 / 140.0 < curvature.max() <= 1 / 50.0


def test_terrain_slope_is_the_gradient_of_its_height() -> None:
    terrain = make_terrain(np.random.default_rng(0), 1.0)
    xy, step = np.array([37.0, -12.0]), np.array([1e-4, 0.0])
    along_x = (terrain.height(xy + step) - terrain.height(xy - step)) / 2e-4
    assert terrain.slope(xy)[0] == pytest.approx(float(along_x), abs=1e-6)


def test_hills_are_gentle_but_not_flat(town: Town) -> None:
    heights = town.terrain.height(town.main.centre)
    slopes = np.linalg.norm(town.terrain.slope(town.main.centre), axis=1)
    assert np.ptp(heights) > 0.4
    assert slopes.max() < 0.12
    assert heights.min() >= town.terrain.lowest_m


def test_asphalt_is_under_the_lane_and_sidewalk_beside_it(town: Town) -> None:
    road = town.main
    s = next(s for s in np.arange(20.0, 300.0, 5.0) if not road.near_crossing(float(s), 8.0))
    assert _label(town, road.point(s + 0.5, 1.0)) in (int(Surface.ASPHALT), int(Surface.PATCH))
    sidewalk = road.point(s, road.profile.curb + road.profile.sidewalk / 2)
    assert _label(town, sidewalk) == int(Surface.SIDEWALK)


def test_no_scenery_stands_in_a_lane(town: Town) -> None:
    for placed in town.scenery:
        offset = np.linalg.norm(town.main.centre - np.asarray(placed.xy), axis=1).min()
        assert offset > town.main.profile.lane, placed.xy


def test_towns_of_one_seed_are_equal_and_of_another_differ(town: Town) -> None:
    build_town.cache_clear()
    np.testing.assert_array_equal(build_town(5).raster.labels, town.raster.labels)
    assert build_town(6).raster.labels.shape != town.raster.labels.shape


def test_crop_lies_on_whole_texels_inside_the_town(town: Town) -> None:
    crop = crop_around(town.main.centre[100:120], 30.0, town.raster.extent)
    assert crop.x_min / 1.6 == pytest.approx(round(crop.x_min / 1.6))
    assert crop.x_max <= town.raster.extent.x_max


def test_texture_shows_paint_brighter_than_asphalt_and_blurs_with_footprint(town: Town) -> None:
    crop = crop_around(town.main.centre[100:110], 20.0, town.raster.extent)
    texture = make_texture(town.raster, crop, np.random.default_rng(0))
    xy = np.random.default_rng(1).uniform(
        [crop.x_min, crop.y_min], [crop.x_max, crop.y_max], (4000, 2)
    )
    labels = np.array([_label(town, point) for point in xy])
    sharp = texture.sample(xy.astype(np.float32), np.full(len(xy), 0.01, np.float32)).mean(axis=1)
    paint, asphalt = labels == int(Surface.WHITE_PAINT), labels == int(Surface.ASPHALT)
    assert sharp[paint].mean() > 2.0 * sharp[asphalt].mean()
    blurred = texture.sample(xy.astype(np.float32), np.full(len(xy), 1.6, np.float32)).mean(axis=1)
    assert blurred[paint].mean() < 0.9 * sharp[paint].mean()  # mixed with the asphalt beside it


def test_raster_rows_run_from_north_to_south() -> None:
    extent = Extent(0.0, 0.0, 10.0, 20.0)
    assert extent.shape(0.1) == (200, 100)
    assert extent.pixels(np.array([0.05, 19.95]), 0.1) == pytest.approx([0.0, 0.0])


def test_semantic_mask_is_white_on_roads_and_black_beside_them(town: Town) -> None:
    mask = semantic_mask(town.raster)
    assert set(np.unique(mask)) == {0, 255}
    assert mask.shape == town.raster.extent.shape(0.1)
