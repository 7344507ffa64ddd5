# SPDX-License-Identifier: Apache-2.0
"""The command: exit status, report, JSON, pictures, and the page that describes it."""

from __future__ import annotations

import json

import cv2
import doc_tables
import numpy as np
import pytest
from planted import FAULTS
from recording import edit, edit_mounting, images_of, write_bag
from rig_stamp_faults import set_stamp
from rig_transform_faults import below_ground

from simdistill_ros.doctor.checks.registry import all_kinds
from simdistill_ros.doctor.cli import main, parse_arguments
from simdistill_ros.doctor.terminal import format_diagnosis

FAULTY = {
    "good": lambda entries: entries,
    "warning": edit_mounting("cam_back", below_ground),
    "error": edit(images_of("cam_back"), lambda message: set_stamp(message, 0)),
}


@pytest.fixture
def bag(recording, tmp_path):
    """Return a function that writes a healthy bag, or one with a warning or an error."""
    return lambda name: str(write_bag(FAULTY[name](recording), tmp_path / name))


def test_the_exit_status_tells_good_warnings_and_errors(bag, capsys):
    with_warning = bag("warning")
    assert main(["--bag", bag("good"), "--strict"]) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    assert main(["--bag", with_warning]) == 0
    assert main(["--bag", with_warning, "--strict"]) == 1
    assert main(["--bag", bag("error")]) == 1
    report = capsys.readouterr().out
    assert "ERROR stamp_zero" in report
    assert "cam_back: 20 of 20 images carry the stamp 0" in report
    assert "\033" not in report, "no colour where there is no terminal"


def test_the_json_holds_findings_with_evidence_and_the_measurements(bag, tmp_path):
    path = tmp_path / "sub" / "doctor.json"
    assert main(["--bag", bag("error"), "--json", str(path)]) == 1
    document = json.loads(path.read_text())
    (finding,) = [f for f in document["findings"] if f["severity"] == "error"]
    assert finding["code"] == "stamp_zero"
    assert finding["subjects"] == ["cam_back"]
    assert finding["evidence"] == {"zero": 20}
    assert document["errors"] == 1
    assert document["cameras"]["cam_front"]["rate_hz"] == pytest.approx(10.0, abs=0.01)
    assert document["cameras"]["cam_front"]["latency_ms"] == pytest.approx(30.0)
    assert document["cameras"]["cam_front"]["azimuth_deg"] == pytest.approx(0, abs=2)
    assert len(document["spreads_ms"]) == 20
    assert document["coverage"]["blind_deg"] == 0
    assert 5 <= document["coverage"]["cam_front+cam_front_left_deg"] <= 15
    assert document["sync"]["spread_max_ms"] == pytest.approx(43.0)


def test_json_on_standard_output_is_nothing_but_json(bag, capsys):
    main(["--bag", bag("good"), "--json"])
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["errors"] == document["warnings"] == 0
    assert document["sync"]["suggested_tolerance_ms"] == 50.0
    assert "nothing wrong was found" in captured.err


def test_pictures_show_cameras_rig_and_spread(bag, tmp_path):
    assert main(["--bag", bag("good"), "--out", str(tmp_path / "out")]) == 0
    for name in ("cameras.jpg", "rig.png", "spread.png"):
        pixels = cv2.imread(str(tmp_path / "out" / name))
        assert pixels is not None, name
        assert pixels.std() > 10, f"{name} is empty"


def test_a_bag_without_cameras_has_no_picture_but_a_report(recording, tmp_path, capsys):
    bag = write_bag([e for e in recording if e.topic.startswith("/tf")], tmp_path / "bag")
    assert main(["--bag", str(bag), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().out.count("nobody publishes /cam_") == 12 - 6
    assert list((tmp_path / "out").iterdir()) == []


def test_colours_are_used_only_when_asked_for(recording, examine):
    diagnosis = examine(edit_mounting("cam_back", below_ground)(recording))
    plain = format_diagnosis(diagnosis, "bag", color=False)
    colored = format_diagnosis(diagnosis, "bag", color=True)
    assert "\033" not in plain
    assert "\033[1;33mWARNING camera_misplaced\033[0m" in colored


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--bag", "no/such/bag"], "no/such/bag"),
        (["--bag", "x", "--params", "no/such/file.yaml"], "no/such/file.yaml"),
    ],
)
def test_what_cannot_be_looked_at_ends_with_two_and_one_line(arguments, complaint, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.splitlines()) == 1


def test_a_parameter_of_the_wrong_type_is_refused_as_the_node_refuses_it(tmp_path, capsys):
    path = tmp_path / "rig.yaml"
    path.write_text("detector:\n  ros__parameters:\n    sync:\n      tolerance_s: 1\n")
    assert main(["--bag", "x", "--params", str(path)]) == 2
    assert "sync.tolerance_s: expected a number with a decimal point" in capsys.readouterr().err


def test_help_has_examples_and_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    assert "doctor --params my_rig.yaml" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parse_arguments(["--bagg", "x"])
    assert parse_arguments(["--ros-args", "-r", "__node:=d"]).seconds == 10.0


def test_an_sqlite3_bag_reads_like_an_mcap_one(recording, tmp_path):
    from rosbags.rosbag2 import Reader, StoragePlugin, Writer

    from simdistill_ros.replay.bag_storage import bag_typestore

    source, copy = write_bag(recording, tmp_path / "mcap"), tmp_path / "sqlite3"
    store = bag_typestore()
    with (
        Reader(source) as reader,
        Writer(copy, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer,
    ):
        to_copy = {
            c.id: writer.add_connection(c.topic, c.msgtype, typestore=store)
            for c in reader.connections
        }
        for connection, stamp_ns, data in reader.messages():
            writer.write(to_copy[connection.id], stamp_ns, data)
    assert main(["--bag", str(copy), "--strict"]) == 0


def test_real_frames_have_no_error(dataroot, tmp_path):
    from simdistill_ros.replay.nuscenes_reader import load_nuscenes
    from simdistill_ros.replay.nuscenes_to_bag import BagOptions, write_bags

    nusc = load_nuscenes(dataroot, "v1.0-mini")
    options = BagOptions(lidar=False, keyframes=6)
    (bag,) = write_bags(nusc, ["scene-0916"], tmp_path, options)
    assert main(["--bag", str(bag), "--strict"]) == 0


@pytest.mark.parametrize("name", list(doc_tables.tables()))
def test_the_page_lists_what_doctor_finds(name):
    page = doc_tables.PAGE.read_text()
    assert doc_tables.block(name, page).group(2) == doc_tables.tables()[name], (
        "write the tables anew: PYTHONPATH=.:test/doctor python test/doctor/doc_tables.py"
    )


def test_kinds_have_different_names_and_explanations_that_exist():
    codes = [kind.code for kind in all_kinds()]
    assert len(set(codes)) == len(codes)
    assert {code for kind in all_kinds() for code in kind.explained_by} <= set(codes)
    assert {planted.code for planted in FAULTS} <= set(codes)


def test_the_horizon_of_a_level_camera_lies_at_its_principal_point(snapshots):
    from simdistill_ros.core.camera import CameraCalibration
    from simdistill_ros.core.frames import rigid
    from simdistill_ros.doctor.drawings import HORIZON_COLOR, draw_ground
    from simdistill_ros.doctor.overlap import PlacedPicture

    k = np.array([[400.0, 0, 239.5], [0, 400.0, 100.0], [0, 0, 1]])
    ego_from_cam = rigid([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [1.0, 0.0, 1.5])
    black = np.zeros((270, 480, 3), np.uint8)
    drawn = draw_ground(PlacedPicture(black, CameraCalibration(480, 270, k), ego_from_cam))
    rows = np.flatnonzero((np.abs(drawn[:, 20].astype(int) - HORIZON_COLOR) < 90).all(axis=1))
    assert rows.size
    assert rows.mean() == pytest.approx(100, abs=1.5)
