# SPDX-License-Identifier: Apache-2.0
import json
import re

import pytest
from page_reader import metric_values

from simdistill_ros.report.cli import main
from simdistill_ros.report.compare import changed_frames
from simdistill_ros.report.page import write_report
from simdistill_ros.report.run_data import load_run
from simdistill_ros.report.tables import difference


def rows_of(page):
    """Row title -> its data-values, of the table of scores."""
    rows = re.findall(r'<tr><th scope="row">(\w+) <small>.*?</tr>', page.read_text())
    pattern = r'<tr><th scope="row">{} <small>.*?</tr>'
    return {
        name: [
            float(value)
            for value in re.findall(
                r'data-value="([^"]+)"', re.search(pattern.format(name), page.read_text())[0]
            )
        ]
        for name in rows
    }


@pytest.fixture
def comparison(run_folder, worse_folder, tmp_path):
    out = tmp_path / "compare.html"
    assert main(["--compare", str(run_folder), str(worse_folder), "--out", str(out)]) == 0
    return out


def test_both_runs_have_their_own_numbers_and_the_difference(comparison, run_folder, worse_folder):
    first, second = (
        json.loads((folder / "metrics.json").read_text()) for folder in (run_folder, worse_folder)
    )
    shown = metric_values(comparison)
    for prefix, metrics in (("a", first), ("b", second)):
        assert shown[f"{prefix}.mAP"] == metrics["mAP"]
        assert shown[f"{prefix}.car.ATE"] == metrics["per_class"]["car"]["ATE"]
    for name in ("mAP", "NDS", "mATE", "mAVE"):
        a, b, change = rows_of(comparison)[name]
        assert (a, b) == (first[name], second[name])
        assert change == pytest.approx(b - a)
    assert first["mAP"] > second["mAP"]


def test_less_precision_is_worse_and_less_error_is_better():
    assert "worse" in difference(0.5, 0.4, more_is_better=True)
    assert "better" in difference(0.5, 0.4, more_is_better=False)
    assert "same" in difference(0.5, 0.5, more_is_better=True)
    assert "-" in difference(None, 0.5, more_is_better=True)
    tiny = difference(0.5, 0.4996, more_is_better=True)
    assert "same" in tiny
    assert "+0.000" in tiny


def test_a_run_without_warnings_has_no_heading_of_its_own(
    run_folder, worse_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("simdistill_ros.report.compare.notes", lambda metrics: "")
    out = tmp_path / "compare.html"

    assert main(["--compare", str(run_folder), str(worse_folder), "--out", str(out)]) == 0

    assert "<h3>A</h3>" not in out.read_text()


def test_the_comparison_needs_no_network(comparison):
    for value in re.findall(r"\b(?:src|href)=[\"']([^\"']*)", comparison.read_text()):
        assert value.startswith(("#", "data:")) or "://" not in value


def test_the_frames_that_changed_most_lead_to_the_viewers_of_both_runs(
    run_folder, worse_folder, nusc, tmp_path
):
    page = write_report(run_folder, nusc)
    (worse_folder / "report.html").unlink(missing_ok=True)
    runs = [load_run(folder, nusc) for folder in (run_folder, worse_folder)]

    changes = changed_frames(*runs, tmp_path)

    assert changes
    assert [c.change for c in changes] == sorted(c.change for c in changes)
    assert all(c.change for c in changes)
    totals = [sum(c.mistakes[run] for c in changes) for run in (0, 1)]
    assert totals[1] > totals[0]  # the second run is the worse
    for change in changes:
        path, _, fragment = change.links[0].partition("#frame=")
        assert (tmp_path / path).resolve() == page.resolve()
        assert fragment in {sample.token for sample in runs[0].samples}
        assert change.links[1] == ""  # it has no page of its own here


def test_the_page_is_written_again_from_the_folder_alone(run_folder, capsys):
    (run_folder / "report.html").unlink(missing_ok=True)
    assert main([str(run_folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert (run_folder / "report.html").stat().st_size > 100_000


def test_a_folder_that_is_no_run_is_an_error_that_says_so(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "expected a replay's folder with metrics.json" in capsys.readouterr().err


def test_scores_of_another_tool_are_an_error_that_says_what_is_missing(tmp_path, capsys):
    (tmp_path / "metrics.json").write_text('{"mAP": 0.5, "samples": 3}')
    (tmp_path / "results_nusc.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    assert "got no run, answered, lost" in capsys.readouterr().err


def test_a_run_that_was_not_scored_is_an_error_that_names_the_fix(tmp_path, capsys):
    (tmp_path / "metrics.json").write_text('{"samples": 3}')
    assert main([str(tmp_path)]) == 2
    assert "--dataroot" in capsys.readouterr().err
