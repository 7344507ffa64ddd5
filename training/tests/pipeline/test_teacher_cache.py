# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch

from simdistill_training.data.build import open_index, training_dataset, training_loader
from simdistill_training.networks import run_teacher
from simdistill_training.strict import config_as_dict, config_from_dict
from simdistill_training.teacher.cache import TeacherCache, cache_folder
from simdistill_training.teacher.outputs import TeacherOutputs
from simdistill_training.train import build_module


@pytest.fixture
def taught(experiment_named, teacher_run, tmp_path):
    """The full method on two views of each sample, with a cache."""
    experiment = experiment_named("student-simdistill-tiny", steps=3)
    return replace(
        experiment,
        data=replace(experiment.data, views=2),
        teacher_checkpoint=str(teacher_run),
        teacher_cache=str(tmp_path / "cache"),
    )


def first_batch(experiment, card):
    dataset = training_dataset(experiment, card, open_index(experiment.data))
    return next(iter(training_loader(experiment, dataset)))


def outputs(value=1.0):
    maps = torch.full((2, 3, 4, 4), value)
    return TeacherOutputs(maps, 2 * maps, 3 * maps, [{"heatmap": maps}, {"heatmap": -maps}])


def test_views_are_the_same_for_every_seed_and_every_pass(taught, card):
    index = open_index(taught.data)
    other = replace(taught, run=replace(taught.run, seed=7))
    ours, theirs = (training_dataset(e, card, index) for e in (taught, other))
    first, again = ours[3, 0], theirs[101, 0]
    assert first.view == again.view == 1
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.input_from_bev, again.input_from_bev)
    assert not np.array_equal(first.images, ours[4, 0].images)


def test_free_augmentation_differs_from_draw_to_draw(taught, card):
    free = replace(taught, data=replace(taught.data, views=0), teacher_cache="")
    dataset = training_dataset(free, card, open_index(free.data))
    assert dataset[1, 0].view == dataset[3, 0].view == -1
    assert not np.array_equal(dataset[1, 0].images, dataset[3, 0].images)


def test_teacher_is_asked_once_for_each_view(taught, card, monkeypatch):
    module = build_module(taught, card)
    batch = first_batch(taught, card)
    teacher = module._teacher[0]
    calls = []
    forward = teacher.forward

    def counted(*arguments):
        calls.append(1)
        return forward(*arguments)

    monkeypatch.setattr(teacher, "forward", counted)
    for _ in range(2):
        module.losses(batch, 1.0)
    assert len(calls) == 1
    asked = run_teacher(teacher, module.pixels(batch.images), batch)
    kept = module._teacher_cache.read(list(zip(batch.tokens, batch.views, strict=True)))
    for ours, theirs in zip(kept[:3], asked[:3], strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=2e-3, atol=2e-3)
    for task, expected in zip(kept.heads, asked.heads, strict=True):
        for name, maps in expected.items():
            torch.testing.assert_close(task[name].float(), maps, rtol=2e-3, atol=2e-3)


def test_kept_maps_come_back_in_the_order_of_the_batch(tmp_path):
    cache = TeacherCache(tmp_path)
    camera = torch.stack([torch.full((3, 4, 4), value) for value in (1.0, 5.0)])
    cache.write([("a", 0), ("b", 1)], outputs()._replace(camera_bev=camera))
    read = cache.read([("b", 1), ("a", 0)])
    assert read.camera_bev[0].eq(5.0).all()
    assert read.camera_bev[1].eq(1.0).all()
    assert [float(task["heatmap"].max()) for task in read.heads] == [1.0, -1.0]


def test_kept_maps_are_read_while_the_student_trains_in_mixed_precision_on_the_cpu(tmp_path):
    cache = TeacherCache(tmp_path)
    cache.write([("a", 0), ("b", 0)], outputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read = cache.read([("b", 0), ("a", 0)])
    assert read.camera_bev.dtype is torch.float16
    assert read.camera_bev.equal(cache.read([("b", 0), ("a", 0)]).camera_bev)


def test_missing_view_and_damaged_file_are_not_read(tmp_path):
    cache = TeacherCache(tmp_path)
    cache.write([("a", 0), ("b", 0)], outputs())
    assert cache.read([("a", 1)]) is None
    file = next(tmp_path.glob("a-0*"))
    file.write_bytes(file.read_bytes()[:100])
    assert cache.read([("a", 0)]) is None


def test_value_beyond_half_precision_is_refused(tmp_path):
    with pytest.raises(OverflowError, match=r"camera_bev reaches 100000"):
        TeacherCache(tmp_path).write([("a", 0), ("b", 0)], outputs(1e5))


def test_other_teacher_or_other_data_has_another_folder(tmp_path, taught, card):
    teacher = build_module(taught, card)._teacher[0]
    before = cache_folder(tmp_path, teacher, taught.data)
    assert cache_folder(tmp_path, teacher, taught.data) == before
    assert cache_folder(tmp_path, teacher, replace(taught.data, views=3)) != before
    with torch.no_grad():
        next(teacher.parameters()).add_(1.0)
    assert cache_folder(tmp_path, teacher, taught.data) != before


def test_cache_without_fixed_views_is_refused(taught):
    data = config_as_dict(taught)
    data["data"]["views"] = 0
    with pytest.raises(ValueError, match=r"data\.views: expected 1 or more with a teacher_cache"):
        config_from_dict(type(taught), data, "test")
