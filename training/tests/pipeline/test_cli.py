# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import cv2
import pytest

from simdistill_training.cli import main
from simdistill_training.overfit import few_samples, overfit

VERSION = "v1.0-mini"


def data_options(dataroot, cache):
    options = ["--dataroot", str(dataroot), "--version", VERSION, "--train", "sim_train"]
    return [*options, "--val", "sim_val", "--set", f"data.cache={cache}", "--smoke"]


def test_train_evaluate_and_resume_from_the_command_line(dataroot, cache, tmp_path, capsys):
    run = tmp_path / "run"
    train = ["train", "student-baseline-tiny", *data_options(dataroot, cache), "--out", str(run)]
    for assignment in ("start.encoder=''", "schedule.steps=4", "schedule.warmup_steps=1"):
        train += ["--set", assignment]
    assert main([*train, "--accelerator", "cpu"]) == 0
    assert main([*train, "--accelerator", "cpu"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*train, "--accelerator", "cpu", "--resume"]) == 0
    assert main(["evaluate", str(run), "--out", str(tmp_path / "scores"), "--workers", "0"]) == 0
    assert "mAP" in capsys.readouterr().out
    assert (tmp_path / "scores" / "results_nusc.json").is_file()


def test_view_data_draws_cameras_and_targets(dataroot, cache, tmp_path):
    for name, extra in (("augmented", []), ("plain", ["--plain"])):
        arguments = ["view-data", "teacher-tiny", *data_options(dataroot, cache), *extra]
        assert main([*arguments, "--count", "1", "--out", str(tmp_path / name)]) == 0
        (file,) = (tmp_path / name).glob("*.png")
        assert cv2.imread(str(file)).shape == (128, 3 * 176 + 128, 3)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.learning_rate=-1", "expected above 0"),
        ("optimizer.lr=1", "no such key"),
        ("schedule", "KEY=VALUE"),
    ],
)
def test_wrong_override_ends_with_a_message(assignment, message, capsys):
    assert main(["train", "teacher-tiny", "--set", assignment]) == 2
    assert message in capsys.readouterr().err


def test_missing_dataroot_ends_with_a_message_that_names_it(tmp_path, capsys):
    assert main(["train", "teacher-tiny", "--smoke", "--dataroot", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_overfitting_one_sample_learns_it(experiment_named, card, tmp_path):
    experiment = experiment_named("teacher-tiny")
    metrics = overfit(experiment, card, tmp_path, count=1, steps=50)
    assert 0.2 < metrics["mAP_of_present_classes"] <= metrics["ceiling"]["mAP_of_present_classes"]


def test_samples_to_overfit_can_be_named(experiment_named, card, index):
    experiment = experiment_named("teacher-tiny")
    token = str(index.tokens[1])
    assert len(few_samples(experiment, card, (token,), 2)) == 1
    with pytest.raises(ValueError, match="nobody"):
        few_samples(experiment, card, ("nobody",), 2)


def test_missing_image_ends_the_training_with_sample_and_path(dataroot, cache, tmp_path, capsys):
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / VERSION).symlink_to(dataroot / VERSION)
    arguments = ["view-data", "teacher-tiny", *data_options(lost, cache), "--count", "1"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "CAM_FRONT" in message
    assert "sample " in message


def test_help_does_not_wait_for_torch():
    script = "import sys, simdistill_training.cli as c; c.parser(); print('torch' in sys.modules)"
    command = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
