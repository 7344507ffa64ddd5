# SPDX-License-Identifier: Apache-2.0
"""The commands and the Python of the documentation, run as they stand on generated scenes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("embreex")
pytest.importorskip("nuscenes")
pytest.importorskip("rclpy")
sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))  # for runs to report on

from code_blocks import SHELL, Block, all_blocks, commands_of
from noisy_run import Noise, write_noisy_run
from own_commands import own_command, run

from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.scenes.config import GeneratorConfig
from simdistill_ros.scenes.generate import generate_dataroot

ROOT = Path(__file__).resolve().parents[2]
VERSION = "v1.0-mini"


def place(block: Block) -> str:
    return block.place


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted: the repository, DATA, and runs on it."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("models", "config"):
        (folder / name).symlink_to(ROOT / name)
    sizes = {"scenes": 1, "val_scenes": 1, "width": 320, "height": 180, "duration_s": 1.0}
    data = GeneratorConfig(out=folder / "DATA", antialias="none", version=VERSION, **sizes)
    generate_dataroot(data)
    nusc = load_nuscenes(folder / "DATA", VERSION)
    for name, noise in (("mini", 0.3), ("baseline", 0.9), ("distilled", 0.4)):
        write_noisy_run(nusc, folder / "out" / name, Noise(offset_m=noise))
    shutil.copy(ROOT / "config" / "detector.yaml", folder / "my_rig.yaml")
    return folder


@pytest.fixture(autouse=True)
def _in_the_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    # For the processes that a command starts, where the packages are not installed.
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'training'}")


@pytest.mark.parametrize("block", [b for b in all_blocks(*SHELL) if b.is_run], ids=place)
def test_commands_run_as_they_stand(block: Block) -> None:
    for words in commands_of(block.text):
        command = own_command(words)
        assert command, f"{words[0]}: mark the block, this test runs the project's commands only"
        assert run(*command) == 0, " ".join(words)


@pytest.mark.parametrize("block", all_blocks("python"), ids=place)
def test_python_runs_as_it_stands(block: Block) -> None:
    exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})
