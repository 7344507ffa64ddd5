# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import numpy as np
import pytest
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes

from simdistill_training.data import index as index_module
from simdistill_training.data.index import find_or_build_index, load_index
from simdistill_training.data.splits import samples_of_split
from simdistill_training.data.tables import TablesError, table_rows

VERSION = "v1.0-mini"


def annotations_of(nusc, token):
    rows = [nusc.get("sample_annotation", name) for name in nusc.get("sample", token)["anns"]]
    return [row for row in rows if category_to_detection_name(row["category_name"])]


def test_index_holds_what_the_devkit_says(index, dataroot):
    nusc = NuScenes(VERSION, str(dataroot), verbose=False)
    assert set(index.tokens) == {row["token"] for row in nusc.sample}
    for sample, token in enumerate(index.tokens):
        rows = annotations_of(nusc, str(token))
        boxes = index.boxes_of(sample)
        np.testing.assert_allclose(index.box_centers_m[boxes], [row["translation"] for row in rows])
        np.testing.assert_allclose(
            index.box_sizes_lwh_m[boxes][:, [1, 0, 2]], [row["size"] for row in rows]
        )
        np.testing.assert_allclose(
            index.box_velocities_mps[boxes],
            [nusc.box_velocity(row["token"]) for row in rows],
            rtol=1e-6,
            atol=1e-5,
        )
        camera = nusc.get("sample_data", nusc.get("sample", str(token))["data"]["CAM_BACK"])
        assert index.files[sample, 3].decode() == camera["filename"]
        assert index.stamps_ns[sample, 3] == camera["timestamp"] * 1000


def test_sweeps_are_the_measurements_before_the_keyframe_newest_first(index):
    last = len(index) - 1
    sweeps = index.sweeps_of(last)
    stamps = index.sweep_stamps_ns[sweeps]
    assert len(stamps) == 10
    assert (np.diff(stamps) < 0).all()
    assert stamps[0] < index.stamps_ns[last, 6]


def test_index_is_built_once(dataroot, tmp_path, monkeypatch):
    first = find_or_build_index(dataroot, VERSION, tmp_path)
    monkeypatch.setattr("simdistill_training.data.index_builder.build_index", None)
    again = find_or_build_index(dataroot, VERSION, tmp_path)
    np.testing.assert_array_equal(first.box_centers_m, again.box_centers_m)


def test_index_is_rebuilt_when_a_table_changes(dataroot, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataroot / VERSION, copy / VERSION)
    before = find_or_build_index(copy, VERSION, tmp_path / "cache")
    file = copy / VERSION / "sample_annotation.json"
    rows = json.loads(file.read_text())
    rows[0]["translation"][0] += 1.0
    file.write_text(json.dumps(rows))
    after = find_or_build_index(copy, VERSION, tmp_path / "cache")
    moved = np.abs(after.box_centers_m - before.box_centers_m)
    assert moved.sum() == pytest.approx(1.0)


def test_index_of_another_schema_is_refused(dataroot, tmp_path, monkeypatch):
    find_or_build_index(dataroot, VERSION, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    monkeypatch.setattr(index_module, "SCHEMA_VERSION", 99)
    with pytest.raises(ValueError, match="schema 99"):
        load_index(file)


def test_missing_version_names_what_there_is(dataroot, tmp_path):
    with pytest.raises(TablesError, match=r"v1\.0-trainval.*holds v1\.0-mini"):
        find_or_build_index(dataroot, "v1.0-trainval", tmp_path)


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a"', '{"a": 1}', "", "[1, "])
def test_damaged_table_is_an_error_that_names_the_file(tmp_path, text):
    file = tmp_path / "sample.json"
    file.write_text(text)
    with pytest.raises(TablesError, match=r"sample\.json"):
        list(table_rows(file))


def test_rows_are_read_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("simdistill_training.data.tables.CHUNK_CHARACTERS", 7)
    rows = [{"token": f"row {n}", "values": [n, -n / 3]} for n in range(20)]
    file = tmp_path / "table.json"
    file.write_text(json.dumps(rows, indent=1))
    assert list(table_rows(file)) == rows


def test_split_may_be_scene_names(index, dataroot):
    names = index.scene_names.tolist()
    both = samples_of_split(index, dataroot, VERSION, ",".join(names))
    assert len(both) == len(index)
    train = samples_of_split(index, dataroot, VERSION, "sim_train")
    val = samples_of_split(index, dataroot, VERSION, "sim_val")
    assert sorted([*train, *val]) == list(range(len(index)))


def test_unknown_split_names_the_known_ones(index, dataroot):
    with pytest.raises(ValueError, match="sim_train"):
        samples_of_split(index, dataroot, VERSION, "nothing")


def test_official_split_without_its_scenes_is_an_error(index, dataroot):
    with pytest.raises(ValueError, match="none of its scenes"):
        samples_of_split(index, dataroot, VERSION, "train")
