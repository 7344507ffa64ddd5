# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from simdistill_ros.core.gaussian import draw_gaussian, gaussian_patch, gaussian_radius


@pytest.mark.reference("11_gaussian")
def test_reference_gaussian_radii_are_the_published_ones(reference):
    sizes = reference.array("input.size_wl_cells")
    expected, final = reference.array("output.radius"), reference.array("output.radius_final")
    for index, overlap in enumerate(reference.config["min_overlaps"]):
        radii = gaussian_radius(sizes, overlap)
        np.testing.assert_allclose(radii, expected[index], rtol=1e-6, atol=1e-6)
        whole = np.maximum(reference.config["min_radius"], radii.astype(int))
        assert np.array_equal(whole, final[index])


@pytest.mark.reference("11_gaussian")
def test_reference_gaussians_are_drawn_as_published(reference):
    sequence = reference.array("output.heatmap_sequence")
    heatmap = np.zeros(sequence.shape[1:], dtype=np.float32)
    for (column, row, radius), expected in zip(
        reference.array("input.centers_xyr"), sequence, strict=True
    ):
        draw_gaussian(heatmap, (row, column), radius)
        np.testing.assert_allclose(heatmap, expected, rtol=1e-6, atol=1e-6)
    half = reference.array("output.heatmap_k0p5")
    peak = np.unravel_index(half.argmax(), half.shape)
    (radius,) = (
        radius
        for column, row, radius in reference.array("input.centers_xyr")
        if (row, column) == peak
    )
    heatmap = np.zeros(half.shape, dtype=np.float32)
    draw_gaussian(heatmap, peak, radius, peak=0.5)
    np.testing.assert_allclose(heatmap, half, rtol=1e-6, atol=1e-6)
    patch = reference.array("output.gaussian_2d_5x9_sigma1p3")
    np.testing.assert_allclose(gaussian_patch((5, 9), 1.3), patch, rtol=1e-6, atol=1e-6)


def test_larger_value_stays_where_peaks_overlap():
    heatmap = np.zeros((5, 5))
    draw_gaussian(heatmap, (2, 2), 2)
    before = heatmap.copy()
    draw_gaussian(heatmap, (2, 3), 2, peak=0.5)
    assert heatmap[2, 2] == 1.0
    assert (heatmap >= before).all()
    assert heatmap[2, 3] == max(before[2, 3], 0.5)


def test_radius_zero_draws_one_cell():
    heatmap = np.zeros((3, 3))
    draw_gaussian(heatmap, (0, 2), 0)
    assert heatmap.sum() == heatmap[0, 2] == 1.0


def test_peak_outside_the_map_is_refused():
    with pytest.raises(ValueError, match="a cell inside"):
        draw_gaussian(np.zeros((3, 4)), (3, 0), 1)
