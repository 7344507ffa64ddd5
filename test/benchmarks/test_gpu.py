# SPDX-License-Identifier: Apache-2.0
"""`make gpu`: its code path runs on the CPU, needs few packages, and stops in time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import plain_pydantic
from benchmarks.gpu.cards import CARDS_FILE, NAMES, card_of, shipped
from benchmarks.gpu.timing import Budget
from benchmarks.tables import render

ROOT = Path(__file__).resolve().parents[2]
# What a machine with torch, triton, numpy and opencv may lack.
ABSENT = ("pydantic", "yaml", "safetensors", "simplejpeg", "rclpy", "scipy", "PIL")
RUN_WITHOUT = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""
PLAIN_CARD = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
from benchmarks.gpu.cards import NAMES, card_of
def plain(value):
    fields = getattr(value, "__dict__", None)
    if fields is None or isinstance(value, type):
        return [plain(item) for item in value] if isinstance(value, tuple) else value
    return {{k: plain(v) for k, v in fields.items() if not k.startswith("_")}}
import json
cards = [card_of(name) for name in NAMES]
derived = [(c.classes, c.feature_hw, c.head_shape_xy, c.head_cell_m) for c in cards]
print(json.dumps([[plain(card) for card in cards], derived]))
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_whole_run_works_on_the_cpu_without_any_other_package(tmp_path: Path) -> None:
    result = run(RUN_WITHOUT, "--device", "cpu", "--quick", "--out", str(tmp_path))

    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = tmp_path.glob("*.json")
    written = json.loads(file.read_text())
    assert written["gpu_skipped"] == []
    measured = {(row["model"], row["precision"]) for row in written["gpu_models"]}
    assert measured == {
        *((model, "fp32") for model in NAMES),
        *(("swint-256x704", half) for half in ("fp16", "bf16")),
    }
    assert all(check["passed"] for check in written["gpu_checks"])
    assert len(written["gpu_checks"]) > 40
    page = render(tmp_path)
    assert "| swint-256x704 | fp16 |" in page
    assert "checks against the CPU, 0 failed" in page


def test_a_machine_without_cuda_is_told_what_to_do() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")

    result = run("import runpy; runpy.run_module('benchmarks.gpu', run_name='__main__')")

    assert result.returncode == 2
    assert "sees no CUDA device" in result.stderr
    assert "--device cpu --quick" in result.stderr


def test_what_no_longer_fits_the_budget_is_left_out_by_name() -> None:
    budget = Budget(5.0)

    assert budget.run("short", "first", lambda: 1, guess_s=1) == 1
    assert budget.run("long", "second", lambda: 2, guess_s=60) is None
    assert budget.run("short", "third", lambda: 3, guess_s=60) == 3  # the first took no time
    assert budget.skipped == ["second"]


def test_the_plain_cards_are_the_shipped_models() -> None:
    assert json.loads(CARDS_FILE.read_text()) == json.loads(json.dumps(shipped())), (
        "run `python -m benchmarks.gpu.cards`"
    )


def test_cards_without_pydantic_hold_what_pydantic_reads() -> None:
    result = run(PLAIN_CARD)

    assert result.returncode == 0, result.stderr
    plain, derived = json.loads(result.stdout)
    for name, values, facts in zip(NAMES, plain, derived, strict=True):
        card = card_of(name)
        whole = json.loads(card.model_dump_json())
        assert values == {key: whole[key] for key in values}
        assert set(whole) - set(values) <= {
            key for key, value in whole.items() if value is None
        } | {"legacy"}
        expected = (card.classes, card.feature_hw, card.head_shape_xy, card.head_cell_m)
        assert facts == json.loads(json.dumps(expected))


def test_the_stand_in_leaves_an_installed_pydantic_alone() -> None:
    import pydantic

    plain_pydantic.install()

    assert sys.modules["pydantic"] is pydantic
