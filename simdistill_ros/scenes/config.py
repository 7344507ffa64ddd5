# SPDX-License-Identifier: Apache-2.0
"""What a generated dataroot is made of; checked on construction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SWEEPS = ("none", "lidar", "all")
ANTIALIAS = ("none", "edges", "full")
PREDEFINED_SPLITS = frozenset(
    ("train", "val", "test", "mini_train", "mini_val", "train_detect", "train_track")
)


@dataclass(frozen=True)
class GeneratorConfig:
    """Options of `generate_dataroot`.

    Attributes:
        out: Folder of the dataroot; created, existing files of the same names are replaced.
        scenes: Number of scenes.
        val_scenes: How many of them, taken from the end, form the validation split.
        seed: Seed of everything that towns and looks do not fix.
        width: Image width in pixels.
        height: Image height in pixels; must keep 16:9 within two percent.
        duration_s: Length of a scene; keyframes are half a second apart.
        sweeps: `none`: keyframes only; `lidar`: 20 Hz LiDAR too; `all`: also 12 Hz cameras.
        version: Name of the folder with the tables.
        train_split: Name of the training split in `splits.json`.
        val_split: Name of the validation split in `splits.json`.
        towns: Town seeds of training scenes, used in turn; empty: one town per scene.
        val_towns: The same for validation scenes; empty: seeds that training never draws.
        looks: Object looks of training scenes, used in turn.
        val_looks: The same for validation scenes; empty: looks that training never draws.
        jobs: Processes.
        antialias: `edges`: two more samples where geometry changes; `full`: 2x2 samples everywhere.
        jpeg_quality: 1 to 100.
        annotation_range_m: Objects farther from the ego vehicle are not annotated.
        traffic: Density of traffic and pedestrians; 1 is a busy street.
    """

    out: Path
    scenes: int = 2
    val_scenes: int = 1
    seed: int = 0
    width: int = 800
    height: int = 450
    duration_s: float = 20.0
    sweeps: str = "none"
    version: str = "v1.0-mini"
    train_split: str = "sim_train"
    val_split: str = "sim_val"
    towns: tuple[int, ...] = ()
    val_towns: tuple[int, ...] = ()
    looks: tuple[int, ...] = (0, 1, 2, 3)
    val_looks: tuple[int, ...] = ()
    jobs: int = 1
    antialias: str = "edges"
    jpeg_quality: int = 92
    annotation_range_m: float = 75.0
    traffic: float = 1.0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: Naming the option, what was expected and what was given.
        """
        _expect(self.scenes >= 1, "scenes", "at least 1", self.scenes)
        _expect(0 <= self.val_scenes <= self.scenes, "val_scenes", "0 to scenes", self.val_scenes)
        _expect(self.seed >= 0, "seed", "0 or more", self.seed)
        _expect(
            min(self.width, self.height) >= 16,
            "width, height",
            "16 or more",
            (self.width, self.height),
        )
        aspect = self.width / self.height / (16 / 9)
        _expect(
            0.98 <= aspect <= 1.02,
            "width x height",
            "an aspect ratio of 16:9",
            f"{self.width}x{self.height}",
        )
        _expect(0.0 < self.duration_s <= 25.0, "duration_s", "above 0, at most 25", self.duration_s)
        _expect(self.sweeps in SWEEPS, "sweeps", " or ".join(SWEEPS), self.sweeps)
        _expect(self.antialias in ANTIALIAS, "antialias", " or ".join(ANTIALIAS), self.antialias)
        _expect(self.jobs >= 1, "jobs", "at least 1", self.jobs)
        _expect(1 <= self.jpeg_quality <= 100, "jpeg_quality", "1 to 100", self.jpeg_quality)
        _expect(
            self.annotation_range_m > 0, "annotation_range_m", "above 0", self.annotation_range_m
        )
        _expect(0.0 < self.traffic <= 2.0, "traffic", "above 0, at most 2", self.traffic)
        _expect(len(self.looks) > 0, "looks", "at least one seed", self.looks)
        seeds = (*self.towns, *self.val_towns, *self.looks, *self.val_looks)
        _expect(all(value >= 0 for value in seeds), "towns and looks", "seeds of 0 or more", seeds)
        for name in (self.train_split, self.val_split):
            _expect(
                name not in PREDEFINED_SPLITS,
                "split name",
                "a name that nuscenes-devkit does not reserve (it ignores splits.json for "
                + ", ".join(sorted(PREDEFINED_SPLITS))
                + ")",
                name,
            )
        _expect(
            self.train_split != self.val_split,
            "split names",
            "two different names",
            self.train_split,
        )

    @property
    def keyframes(self) -> int:
        """Return the number of keyframes of each scene."""
        return int(self.duration_s * 2.0 + 1e-9) + 1

    def plan(self, index: int) -> ScenePlan:
        """Return what distinguishes scene `index`."""
        first_val = self.scenes - self.val_scenes
        is_val = index >= first_val
        rank = index - first_val if is_val else index
        if is_val:
            towns = self.val_towns or (500_000 + self.seed * 1_000 + rank,)
            looks = self.val_looks or (900_000, 900_001)
        else:
            towns, looks = self.towns or (self.seed * 1_000 + rank,), self.looks
        return ScenePlan(
            index=index,
            name=f"scene-sim-{self.seed:03d}-{index:04d}",
            split=self.val_split if is_val else self.train_split,
            town=towns[rank % len(towns)],
            look=looks[rank % len(looks)],
        )


@dataclass(frozen=True)
class ScenePlan:
    """Index, name, split, town seed and look seed of one scene."""

    index: int
    name: str
    split: str
    town: int
    look: int


def _expect(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {got!r}")
