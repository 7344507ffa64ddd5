# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser; skipped where no Chromium is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from browser import Browser, find_chromium
from test_page import devkit_pixels

from simdistill_ros.report.compare import write_comparison


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    browser = Browser(executable, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def viewer(chromium, page):
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(page)
    chromium.wait_for("document.documentElement.dataset.drawn === '0'")
    yield chromium
    assert chromium.errors == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in chromium.requests)


def pixels_of_canvas(browser, selector):
    """A digest of what a canvas shows."""
    return browser.evaluate(
        f"document.querySelector('{selector}').toDataURL().split('').reduce("
        "(sum, c) => (sum * 31 + c.charCodeAt(0)) | 0, 0)"
    )


def counts(browser):
    return browser.evaluate("report.countsOf(report.state.frame)")


def shown(browser):
    return browser.evaluate("report.shownPredictions(report.frameAt(report.state.frame)).length")


def test_confusion_is_shown_by_distance_or_visibility_one_matrix_at_a_time(viewer):
    names = viewer.evaluate(
        "[...document.querySelectorAll('#confusion-of option')].map(o => o.text)"
    )
    assert names[0] == "all"
    assert "0-10 m" in names
    assert "80-100 % visible" in names
    visible = "[...document.querySelectorAll('[data-confusion]')].filter(c => c.offsetHeight > 0)"
    for number in (0, 1, len(names) - 1):
        viewer.evaluate(
            f"{{ const s = document.querySelector('#confusion-of'); s.value = '{number}';"
            "s.dispatchEvent(new Event('change')); }"
        )
        assert viewer.evaluate(f"{visible}.map(c => c.dataset.confusion)") == [str(number)]


def test_it_opens_and_draws_six_cameras_and_the_view_from_above(viewer):
    assert viewer.evaluate("document.querySelectorAll('#cameras canvas').length") == 6
    assert viewer.evaluate("document.querySelector('#bev').width") > 200
    colors = viewer.evaluate(
        "[...document.querySelectorAll('canvas')].map((canvas) => new Set(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data).size)"
    )
    assert len(colors) == 7
    assert min(colors) > 10
    assert viewer.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_boxes_are_projected_where_the_submission_says(viewer, run_folder, nusc):
    results = json.loads((run_folder / "results_nusc.json").read_text())["results"]
    compared = 0
    for number in range(2):
        token = viewer.evaluate(f"report.frameAt({number}).token")
        names = viewer.evaluate(f"report.frameAt({number}).cameras.map((c) => c.name)")
        frame = {"token": token, "cameras": [{"name": name, "width": 480} for name in names]}
        for index, record in enumerate(results[token]):
            for camera in range(6):
                expected = devkit_pixels(nusc, frame, camera, record)
                if expected is None:
                    continue
                drawn = np.array(viewer.evaluate(f"report.pixelsOf({number}, {camera}, {index})"))
                assert drawn[:, :2] / drawn[:, 2:] == pytest.approx(expected, rel=1e-4, abs=0.02)
                compared += 1
    assert compared > 20


def test_a_link_to_a_frame_opens_the_viewer_there(viewer, page):
    token = viewer.evaluate("report.frameAt(2).token")
    viewer.call("Page.navigate", url="about:blank")
    viewer.wait_for("location.protocol === 'about:'")
    viewer.call("Page.navigate", url=f"{page.resolve().as_uri()}#frame={token}")
    viewer.wait_for("document.documentElement?.dataset.drawn === '2'")

    other = viewer.evaluate("report.frameAt(1).token")
    viewer.evaluate(f"location.hash = 'frame={other}'")
    viewer.wait_for("document.documentElement.dataset.drawn === '1'")
    viewer.evaluate("location.hash = 'scores'")
    assert viewer.evaluate("report.state.frame") == 1


def test_arrow_keys_and_the_slider_scrub(viewer):
    first = pixels_of_canvas(viewer, "#bev")
    viewer.press("ArrowRight")
    viewer.wait_for("document.documentElement.dataset.drawn === '1'")
    assert pixels_of_canvas(viewer, "#bev") != first
    viewer.press("ArrowLeft")
    viewer.wait_for("document.documentElement.dataset.drawn === '0'")
    assert pixels_of_canvas(viewer, "#bev") == first
    viewer.evaluate(
        "(() => { const slider = document.getElementById('frame'); slider.value = 3;"
        "slider.dispatchEvent(new Event('input')); })()"
    )
    viewer.wait_for("document.documentElement.dataset.drawn === '3'")
    assert " 4 / " in viewer.evaluate("document.getElementById('frame-name').textContent")
    viewer.press("End")
    viewer.wait_for("document.documentElement.dataset.drawn === String(report.frameCount - 1)")
    viewer.press("Home")
    viewer.wait_for("document.documentElement.dataset.drawn === '0'")


def test_play_runs_through_the_frames(viewer):
    viewer.press(" ", " ")
    viewer.wait_for("Number(document.documentElement.dataset.drawn) >= 2")
    viewer.press(" ", " ")
    assert viewer.evaluate("report.state.playing") is None


def test_a_higher_score_shows_fewer_boxes_and_misses_more(viewer):
    before, many = counts(viewer), shown(viewer)
    viewer.evaluate("report.setCut(0.7)")
    after = counts(viewer)
    assert shown(viewer) < many
    assert after["missed"] > before["missed"]
    assert after["found"] + after["missed"] == before["found"] + before["missed"]
    viewer.evaluate("report.setCut(1)")
    assert (shown(viewer), counts(viewer)["found"]) == (0, 0)


def test_a_class_can_be_left_out(viewer):
    canvas, before = pixels_of_canvas(viewer, "#bev"), counts(viewer)
    viewer.evaluate("document.querySelector('[data-class=car]').click()")
    cars = "report.shownPredictions(report.frameAt(0)).filter((box) => box.label === 0).length"
    assert viewer.evaluate(cars) == 0
    assert pixels_of_canvas(viewer, "#bev") != canvas
    after = counts(viewer)
    assert after["found"] + after["missed"] < before["found"] + before["missed"]
    viewer.evaluate("document.querySelector('[data-class=car]').click()")
    assert counts(viewer) == before


def test_the_worst_frames_come_first_and_one_click_goes_there(viewer):
    worst = viewer.evaluate("report.worstFrames()")
    mistakes = [frame["mistakes"] for frame in worst]
    assert mistakes == sorted(mistakes, reverse=True)
    assert mistakes[0] == viewer.evaluate(f"report.countsOf({worst[0]['number']}).mistakes")
    viewer.evaluate("document.querySelector('#worst button').click()")
    viewer.wait_for(f"document.documentElement.dataset.drawn === '{worst[0]['number']}'")
    viewer.press("w", "w")
    viewer.wait_for(f"document.documentElement.dataset.drawn === '{worst[1]['number']}'")


def test_found_objects_in_the_page_are_those_of_its_tables(viewer, run_folder, nusc):
    from simdistill_ros.report.breakdown import RunGroups, total
    from simdistill_ros.report.run_data import load_run

    all_ = total(RunGroups.of(load_run(run_folder, nusc)).by_class)
    frames = range(len(nusc.sample))
    by_frame = [viewer.evaluate(f"report.countsOf({number})") for number in frames]
    assert sum(frame["found"] for frame in by_frame) == all_.found
    assert sum(frame["false"] for frame in by_frame) == all_.false


def test_pointing_at_a_box_from_above_tells_its_numbers(viewer):
    texts = viewer.evaluate(
        """(() => {
          const canvas = document.getElementById("bev");
          const tip = document.getElementById("tip");
          const { left, top, width } = canvas.getBoundingClientRect();
          const texts = new Set();
          for (let x = 4; x < width; x += 4) for (let y = 4; y < width; y += 4) {
            const place = { clientX: left + x, clientY: top + y };
            canvas.dispatchEvent(new PointerEvent("pointermove", place));
            texts.add(tip.hidden ? "" : tip.textContent);
          }
          canvas.dispatchEvent(new PointerEvent("pointerleave"));
          return [...texts, tip.hidden];
        })()"""
    )
    assert texts.pop() is True
    assert "" in texts
    assert any("score" in text and "found" in text for text in texts)
    assert any("visible 80-100 %" in text for text in texts)


def test_a_camera_grows_on_a_click_and_shrinks_on_escape(viewer):
    width = "document.querySelectorAll('#cameras canvas')[1].clientWidth"
    small = viewer.evaluate(width)
    viewer.evaluate("document.querySelectorAll('#cameras figure')[1].click()")
    assert viewer.evaluate(width) > 2 * small
    viewer.press("Escape")
    assert viewer.evaluate(width) == small


def test_the_comparison_opens_without_a_complaint(chromium, run_folder, worse_folder, tmp_path):
    chromium.errors.clear()
    chromium.open(write_comparison(run_folder, worse_folder, tmp_path / "compare.html"))
    assert chromium.evaluate("document.querySelectorAll('svg').length") >= 4
    assert chromium.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert chromium.errors == []
