# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from simdistill_ros.core.network.build import build_student
from simdistill_ros.core.network.student import BevFeatures
from simdistill_training import imitation, legacy_losses
from simdistill_training.distillation import (
    DistillationConfig,
    Distiller,
    FeatureTerm,
    LegacyTerms,
    MapChannels,
    PredictionTerm,
    Ramp,
)
from simdistill_training.targets import TargetConfig, TaskTargets, center_targets, object_mask
from simdistill_training.teacher.frozen import FrozenTeacher
from simdistill_training.teacher.outputs import TeacherOutputs
from simdistill_training.teacher.teacher import Teacher, TeacherConfig

STUDENT, TEACHER = MapChannels(6, 6, 8), MapChannels(6, 10, 8)
OFF, NO_PREDICTION = FeatureTerm(enabled=False), PredictionTerm(enabled=False)
ONLY = DistillationConfig(imd=OFF, cmd=OFF, mmd_feature=OFF, mmd_prediction=NO_PREDICTION)


@pytest.fixture
def targets(small_card, small_batch) -> list[TaskTargets]:
    return center_targets(small_batch.boxes, small_card, TargetConfig(max_objects=20))


def random_heads(card, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    channels = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
    return [
        {
            name: torch.randn(2, count, *card.head_shape_xy, generator=generator).requires_grad_()
            for name, count in (channels | {"heatmap": len(task.classes)}).items()
        }
        for task in card.tasks
    ]


@pytest.fixture
def student(small_card) -> tuple[BevFeatures, list[dict[str, torch.Tensor]]]:
    torch.manual_seed(1)
    maps = BevFeatures(*(torch.randn(2, c, 16, 16).relu().requires_grad_() for c in (6, 6, 8)))
    return maps, random_heads(small_card, 2)


@pytest.fixture
def teacher(small_card) -> TeacherOutputs:
    torch.manual_seed(3)
    maps = (torch.randn(2, c, 16, 16).relu().requires_grad_() for c in (6, 10, 8))
    return TeacherOutputs(*maps, random_heads(small_card, 4))


def test_finer_maps_are_compared_as_means_and_finer_scores_as_the_highest(
    student, teacher, targets
):
    config = DistillationConfig(mmd_prediction=PredictionTerm(box_weight=0.0))
    distiller = Distiller(replace(config, cmd=OFF), STUDENT, TEACHER).eval()
    maps, heads = student
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)
    below = torch.tensor([[0.0, 3.0], [1.0, 2.0]]).repeat(16, 16)

    def finer(values):
        return values.detach().repeat_interleave(2, -1).repeat_interleave(2, -2)

    fine_maps = BevFeatures(*(finer(values) + sign for values in maps))
    fine_heads = [{"heatmap": finer(task["heatmap"]) - below} for task in heads]
    expected = distiller(*student, teacher, targets)
    losses = distiller(fine_maps, fine_heads, teacher, targets)
    # These adapters are linear: the mean of adapted cells is the adapted mean.
    for name in ("imd", "mmd_feature", "mmd_prediction/classes"):
        torch.testing.assert_close(losses[name], expected[name])


def tensors_of(maps, heads):
    return [*maps, *(value for task in heads for value in task.values())]


def test_every_term_reaches_its_part_of_the_student_and_none_the_teacher(student, teacher, targets):
    distiller = Distiller(DistillationConfig(), STUDENT, TEACHER)
    losses = distiller(*student, teacher, targets)
    assert set(losses) == {
        "imd",
        "cmd",
        "mmd_feature",
        "mmd_prediction/classes",
        "mmd_prediction/boxes",
    }
    reached = {
        "imd": student[0].camera,
        "cmd": student[0].simulated_lidar,
        "mmd_feature": student[0].fused,
        "mmd_prediction/classes": student[1][0]["heatmap"],
        "mmd_prediction/boxes": student[1][0]["dim"],
    }
    inputs = tensors_of(*student)
    for name, loss in losses.items():
        assert loss > 0
        gradients = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
        touched = [own for own, grad in zip(inputs, gradients, strict=True) if grad is not None]
        assert any(own is reached[name] for own in touched)
        if "/" not in name:
            assert len(touched) == 1
    of_teacher = tensors_of(teacher[:3], teacher.heads)
    total = torch.stack(list(losses.values())).sum()
    assert all(grad is None for grad in torch.autograd.grad(total, of_teacher, allow_unused=True))


@pytest.mark.parametrize("name", ["imd", "cmd", "mmd_feature", "mmd_prediction"])
def test_each_term_has_its_own_switch_and_weight(name, student, teacher, targets):
    term = replace(getattr(DistillationConfig(), name), enabled=True)
    alone = replace(ONLY, **{name: term})
    torch.manual_seed(0)
    losses = Distiller(alone, STUDENT, TEACHER)(*student, teacher, targets)
    assert all(key.split("/")[0] == name for key in losses)
    assert alone.enabled == (name,)
    weights = {"class_weight": 2.0, "box_weight": 0.5} if "pred" in name else {"weight": 2.0}
    torch.manual_seed(0)
    doubled = replace(ONLY, **{name: replace(term, **weights)})
    for key, loss in Distiller(doubled, STUDENT, TEACHER)(*student, teacher, targets).items():
        torch.testing.assert_close(loss, 2 * losses[key])


def test_a_student_equal_to_the_teacher_has_nothing_to_learn(small_card, teacher, targets):
    same = BevFeatures(teacher.camera_bev, teacher.camera_bev, teacher.fused_bev)
    config = replace(DistillationConfig(), cmd=OFF)
    losses = Distiller(config, STUDENT, TEACHER)(same, teacher.heads, teacher, targets)
    for loss in losses.values():
        torch.testing.assert_close(loss, torch.zeros(()))


def test_object_mask_counts_differences_at_objects_only(student, teacher, targets):
    config = replace(ONLY, cmd=FeatureTerm(mask="objects", adapter="none"))
    channels = MapChannels(6, 10, 8)
    distiller = Distiller(config, channels, channels)
    mask = object_mask(targets)
    near, far = teacher.lidar_bev + (mask > 0), teacher.lidar_bev + (mask == 0)
    empty = student[0]._replace(simulated_lidar=far)
    assert distiller(empty, student[1], teacher, targets)["cmd"] == 0
    full = student[0]._replace(simulated_lidar=near)
    loss = distiller(full, student[1], teacher, targets)["cmd"]
    torch.testing.assert_close(loss, torch.ones(()))  # the weighted mean of ones
    term = replace(config.cmd, background=0.25)
    distiller = Distiller(replace(config, cmd=term), channels, channels)
    loss = distiller(empty, student[1], teacher, targets)["cmd"]
    outside = 1 - mask
    expected = 0.25 * outside[mask == 0].sum() / outside.sum()
    torch.testing.assert_close(loss, expected)


def test_teacher_mask_follows_the_teachers_scores(teacher, targets):
    mask = imitation.distillation_mask("teacher", targets, teacher.heads)
    best = torch.cat([task["heatmap"] for task in teacher.heads], 1).amax(1, keepdim=True)
    torch.testing.assert_close(mask, best.sigmoid().detach())
    both = imitation.distillation_mask("objects_or_teacher", targets, teacher.heads)
    torch.testing.assert_close(both, torch.maximum(mask, object_mask(targets)))


@pytest.mark.parametrize("kind", ["teacher_scale", "standardised"])
def test_normalised_distance_does_not_depend_on_the_teachers_scale(kind, student, teacher):
    own, truth = student[0].fused, teacher.fused_bev
    scale = torch.linspace(3, 30, 8)[:, None, None]
    before = imitation.normalised_pair(own, truth, kind)
    student_scale = scale if kind == "teacher_scale" else scale.flip(0)
    after = imitation.normalised_pair(own * student_scale, truth * scale, kind)
    for first, second in zip(before, after, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["teacher_scale", "standardised"])
def test_a_dead_channel_of_the_teacher_does_not_take_over(kind, student, teacher):
    own, truth = student[0].fused, teacher.fused_bev
    alive = [pair.square().mean() for pair in imitation.normalised_pair(own, truth, kind)]
    dead = truth.clone()
    dead[:, 3] = 1e-6 * truth[:, 3]
    with_dead = imitation.normalised_pair(own, dead, kind)
    for pair, usual in zip(with_dead, alive, strict=True):
        assert pair.square().mean() < 100 * usual


def test_channel_divergence_is_zero_for_the_same_pattern_at_another_level(teacher):
    truth = teacher.fused_bev
    torch.testing.assert_close(
        imitation.channel_divergence(truth + 3, truth, 2.0), torch.zeros(()), atol=1e-6, rtol=0
    )
    assert imitation.channel_divergence(truth.flip(-1), truth, 2.0) > 1e-3


def test_a_missed_peak_of_the_teacher_costs(small_card, teacher, targets):
    confident = [dict(task) for task in teacher.heads]
    confident[0] = dict(teacher.heads[0], heatmap=torch.full((2, 1, 16, 16), -6.0))
    missed = [dict(task) for task in confident]
    confident[0]["heatmap"] = confident[0]["heatmap"].clone()
    confident[0]["heatmap"][0, 0, 5, 5] = 6.0
    assert imitation.class_imitation(confident, confident, 2.0) == 0
    loss = imitation.class_imitation(missed, confident, 2.0)
    positives = sum((task["heatmap"].sigmoid() > 0.1).sum() for task in confident)
    torch.testing.assert_close(loss * positives, torch.tensor(6.0 * 0.9975), atol=0.1, rtol=0)


def test_boxes_are_imitated_at_real_objects_only(small_card, student, teacher, targets):
    term = PredictionTerm()
    before = imitation.box_imitation(student[1], teacher.heads, targets, term)
    changed = [
        {name: value.detach().clone() for name, value in task.items()} for task in student[1]
    ]
    for task, maps in zip(targets, changed, strict=True):
        at_objects = torch.zeros(2, 256, dtype=torch.bool)
        index = task.cell_index.where(task.mask, task.cell_index[:, :1])
        if task.mask.any():
            at_objects.scatter_(1, index, True)
        maps["dim"].flatten(2)[~at_objects[:, None].expand(-1, 3, -1)] += 9
    after = imitation.box_imitation(changed, teacher.heads, targets, term)
    torch.testing.assert_close(before, after)
    trusted = imitation.box_imitation(
        student[1], teacher.heads, targets, replace(term, trust_scores=True)
    )
    assert trusted != before


def test_a_teacher_without_boxes_is_imitated_in_its_heatmaps_only(student, teacher, targets):
    heatmaps = teacher._replace(heads=[{"heatmap": task["heatmap"]} for task in teacher.heads])
    config = replace(ONLY, mmd_prediction=PredictionTerm(box_weight=0.0))
    losses = Distiller(config, STUDENT, TEACHER)(*student, heatmaps, targets)
    assert losses["mmd_prediction/classes"] > 0 == losses["mmd_prediction/boxes"]
    config = replace(ONLY, mmd_prediction=PredictionTerm())
    with pytest.raises(ValueError, match="box_weight: expected 0"):
        Distiller(config, STUDENT, TEACHER)(*student, heatmaps, targets)


def test_channels_that_differ_need_an_adapter():
    config = replace(ONLY, cmd=FeatureTerm(adapter="none"))
    with pytest.raises(ValueError, match=r"distillation\.cmd: expected an adapter"):
        Distiller(config, STUDENT, TEACHER)


def test_a_disabled_term_has_no_adapter():
    assert list(Distiller(ONLY, STUDENT, TEACHER).parameters()) == []


def test_ramp_rises_holds_and_falls():
    ramp = Ramp(rise_from=0.1, rise_to=0.3, fall_from=0.5, end=0.0)
    factors = [ramp.factor(progress) for progress in (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)]
    assert factors == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0])
    assert Ramp().factor(0.0) == 1
    with pytest.raises(ValueError, match="expected 0 <= rise_from"):
        Ramp(rise_from=0.5, rise_to=0.2)


def test_published_forms_are_there_for_parity_and_off_by_default(student, teacher, targets):
    assert DistillationConfig().legacy == LegacyTerms()
    config = replace(
        DistillationConfig(),
        imd=OFF,
        mmd_feature=OFF,
        cmd=FeatureTerm(adapter="none"),
        legacy=LegacyTerms(cmd_over_all_elements=True, prediction_as_published=True),
    )
    channels = MapChannels(6, 10, 8)
    distiller = Distiller(config, channels, channels)
    maps = student[0]._replace(simulated_lidar=teacher.lidar_bev + 1)
    losses = distiller(maps, student[1], teacher, targets)
    expected = 100 * object_mask(targets, clipped=False).square().mean()
    torch.testing.assert_close(losses["cmd"], expected, atol=1e-4, rtol=1e-4)
    pairs = [
        legacy_losses.prediction_distillation(*parts)
        for parts in zip(student[1], teacher.heads, targets, strict=True)
    ]
    torch.testing.assert_close(losses["mmd_prediction/classes"], sum(pair[0] for pair in pairs))
    torch.testing.assert_close(
        losses["mmd_prediction/boxes"], 0.25 * sum(pair[1] for pair in pairs)
    )


def test_maps_of_half_precision_are_compared_in_full(student, teacher, targets):
    half = BevFeatures(*(value.detach().bfloat16() for value in student[0]))
    config = replace(DistillationConfig(), cmd=OFF)
    losses = Distiller(config, STUDENT, TEACHER)(half, student[1], teacher, targets)
    assert all(loss.dtype == torch.float32 for loss in losses.values())


def test_a_few_steps_pull_the_student_towards_the_teacher(
    small_card, small_batch, normalised_images, targets
):
    torch.manual_seed(0)
    teacher = FrozenTeacher(Teacher(small_card, TeacherConfig()))
    network = build_student(small_card)
    channels = small_card.lift.context_channels
    distiller = Distiller(
        DistillationConfig(mmd_prediction=NO_PREDICTION),
        MapChannels(channels, channels, small_card.fuser.channels),
        MapChannels(
            teacher.teacher.camera_channels,
            teacher.teacher.lidar_channels,
            teacher.teacher.fused_channels,
        ),
    )
    truth = teacher(
        normalised_images, small_batch.tables, small_batch.points, small_batch.input_from_bev
    )
    optimizer = torch.optim.AdamW([*network.parameters(), *distiller.parameters()], 3e-3)
    history = []
    for _ in range(8):
        pooled = network.pool(network.image_network(normalised_images), small_batch.tables)
        maps = network.bev_network.features(*pooled)
        losses = distiller(maps, network.bev_network.heads(maps.fused), truth, targets)
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    for name in ("imd", "cmd", "mmd_feature"):
        assert history[-1][name] < 0.8 * history[0][name], name
