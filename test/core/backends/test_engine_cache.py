# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: what is used, what is refused, and what is said about it."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faults.engine_faults import ENGINE_FAULTS, EngineFault, StoredEngine

from simdistill_ros.core.backends import engine_cache
from simdistill_ros.core.backends.base import BackendError
from simdistill_ros.core.backends.engine_cache import EngineCache, EngineKey, default_folder

KEY = EngineKey(
    onnx_sha256="a" * 64,
    flavour="tensorrt",
    version="10.3.0",
    gpu="Orin",
    compute_capability="8.7",
    precision="fp16",
    flags="strongly typed",
)
ROOT = Path(__file__).resolve().parents[3]
ENGINE = bytes(range(256)) * 64


class Builder:
    """Builds the same engine and counts how often."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self) -> bytes:
        self.builds += 1
        return ENGINE


@pytest.fixture
def build() -> Builder:
    return Builder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "engines"


@pytest.fixture
def stored(folder: Path, build: Builder) -> tuple[Path, Path]:
    """Engine and side-car of a cache that was filled once."""
    assert EngineCache(folder).engine("tiny image", KEY, build) == ENGINE
    (file,) = folder.glob("*.engine")
    build.builds = 0
    return file, file.with_suffix(".json")


@pytest.fixture(autouse=True)
def _hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_an_engine_is_built_once_and_read_from_then_on(folder: Path, build: Builder) -> None:
    for _ in range(3):
        assert EngineCache(folder).engine("tiny image", KEY, build) == ENGINE
    assert build.builds == 1


def test_the_first_build_says_that_there_is_none_yet_and_where(
    folder: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    EngineCache(folder).engine("tiny image", KEY, build)
    assert f"tiny image, which can take minutes: there is none yet in {folder}" in caplog.text
    (file,) = folder.glob("*.engine")
    assert f"engine kept: {file}" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flavour": "tensorrt_rtx"}, "flavour was tensorrt, is tensorrt_rtx"),
        ({"precision": "fp32"}, "precision was fp16, is fp32"),
        ({"flags": "TF32"}, "flags was strongly typed, is TF32"),
    ],
)
def test_another_key_builds_another_engine_and_says_what_changed(
    stored: tuple[Path, Path],
    folder: Path,
    build: Builder,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, str],
    message: str,
) -> None:
    cache = EngineCache(folder)
    cache.engine("tiny image", replace(KEY, **change), build)
    assert build.builds == 1
    assert message in caplog.text
    cache.engine("tiny image", KEY, build)  # the one before is still there
    assert build.builds == 1


@pytest.mark.parametrize("fault", ENGINE_FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_an_engine_that_cannot_be_used_is_refused_by_name_and_built_again(
    stored: tuple[Path, Path],
    folder: Path,
    build: Builder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: EngineFault,
) -> None:
    planted = StoredEngine(*stored, KEY, monkeypatch)
    fault.plant(planted)
    caplog.clear()
    for _ in range(2):
        assert EngineCache(folder).engine("tiny image", planted.key, build) == ENGINE
    assert fault.words in caplog.text
    assert build.builds == (1 if fault.is_kept else 2)


def test_a_process_that_dies_while_it_writes_leaves_nothing_that_is_used(
    folder: Path, build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced = os.replace
    calls = []

    def die_at_the_side_car(source: str, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replaced(source, target)

    monkeypatch.setattr(os, "replace", die_at_the_side_car)
    with pytest.raises(KeyboardInterrupt):
        EngineCache(folder).engine("tiny image", KEY, build)
    monkeypatch.undo()
    assert [path.suffix for path in calls] == [".engine", ".json"]  # the side-car vouches: last
    EngineCache(folder).engine("tiny image", KEY, build)
    assert build.builds == 2
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_full_disk_costs_the_cache_not_the_service_and_the_warning_names_the_folder(
    folder: Path,
    build: Builder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert EngineCache(folder).engine("tiny image", KEY, build) == ENGINE
    assert f"could not be kept in {folder} (No space left on device)" in caplog.text
    assert "engine_folder" in caplog.text
    assert [path.suffix for path in folder.iterdir()] == [".lock"]  # no part of a file is left


BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from simdistill_ros.core.backends.engine_cache import EngineCache, EngineKey

def build():
    with open(sys.argv[2], "a") as file:
        file.write("built\\n")
    time.sleep(2.0)
    return b"engine"

key = EngineKey("0" * 64, "tensorrt", "10.3.0", "Orin", "8.7", "fp16", "none")
print(EngineCache(Path(sys.argv[1])).engine("tiny image", key, build).decode())
"""


def test_of_two_processes_at_once_one_builds_and_the_other_waits_for_it(
    folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "builds"
    command = [sys.executable, "-c", BUILD_SLOWLY, str(folder), str(log)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["engine\n"] * 2
    assert log.read_text() == "built\n"


@pytest.fixture
def other_builder(folder: Path) -> Iterator[None]:
    """Another process that holds the lock of the engine."""
    import fcntl

    folder.mkdir(parents=True)
    with (folder / f"tiny-image-fp16-{KEY.digest}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("other_builder")
def test_a_builder_that_never_ends_is_waited_for_no_longer_than_said(
    folder: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    cache = EngineCache(folder, patience_s=10, wait=waits.append)
    with pytest.raises(BackendError, match=r"building the engine of tiny image for 10 s.*\.lock"):
        cache.engine("tiny image", KEY, build)
    assert sum(waits) == pytest.approx(10, abs=2 * engine_cache.POLL_S)
    assert caplog.text.count("waiting for another process that builds tiny image") == 1
    assert build.builds == 0


def test_engines_of_different_graphs_and_odd_names_do_not_meet(
    folder: Path, build: Builder
) -> None:
    cache = EngineCache(folder)
    cache.engine("../odd name/ image", KEY, build)
    cache.engine("../odd name/ bev", KEY, build)
    assert build.builds == 2
    assert len(list(folder.glob("*.engine"))) == 2


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert default_folder() == Path("/some/cache/simdistill_ros/engines")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/driver")
    assert default_folder() == Path("/home/driver/.cache/simdistill_ros/engines")


def test_the_folder_is_for_its_user_only(folder: Path, stored: tuple[Path, Path]) -> None:
    assert folder.stat().st_mode & 0o077 == 0
    assert stored[0].stat().st_mode & 0o077 == 0
