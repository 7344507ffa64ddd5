# SPDX-License-Identifier: Apache-2.0
"""What a replay can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simdistill_ros.core.frames import GLOBAL_FRAME
from simdistill_ros.replay.faults.fault import Fault

MODES = ("step", "realtime")


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, against what, and how.

    Attributes:
        out: Folder for bag, submission, metrics and logs.
        dataroot: nuScenes folder; None with a bag alone, which then is not scored.
        version: Its table folder.
        split: Only scenes of this split; None for all.
        scenes: Only these scenes; empty for all.
        bag: Bag or folder of bags to play instead of making one.
        model: Name or folder of the model; "" for the default.
        device: Device of the network.
        oracle: Ground truth in place of the network.
        external_node: Name of a detector that runs already; None to start one.
        mode: `step` or `realtime`.
        rate: Speed of `realtime`.
        input: `compressed` or `raw` images.
        fixed_frame: The node's; "" leaves ego motion between cameras uncorrected.
        score_threshold: Boxes below are not published.
        start_timeout_s: Wait for the detector to be there.
        timeout_s: Wait for an answer in `step`.
        max_age_s: How much older than a sample's images those of its answer may be; with 0 only
            answers to the sample itself count.
        attempts: Times a set is sent in `step` before it counts as lost.
        limit: Only the first keyframes of each scene; None for all.
        domain_id: DDS domain; None for a random one on this machine only.
        faults: Planted into the stream, in this order.
        streaming_latency_s: Give a `step` replay a streaming score too, as if every answer took so
            long; None for none. A `realtime` replay has one of its own.
        report: Write report.html, the run as a web page.
        record: Write recording/<scene>: what was played and what the detector said.
        overlays: Have the detector draw its overlays, for the recording.
    """

    out: Path
    dataroot: Path | None = None
    version: str = "v1.0-mini"
    split: str | None = None
    scenes: tuple[str, ...] = ()
    bag: Path | None = None
    model: str = ""
    device: str = "cpu"
    oracle: bool = False
    external_node: str | None = None
    mode: str = "step"
    rate: float = 1.0
    input: str = "compressed"
    fixed_frame: str = GLOBAL_FRAME
    score_threshold: float = 0.05
    start_timeout_s: float = 120.0
    timeout_s: float = 20.0
    attempts: int = 3
    max_age_s: float = 0.0
    limit: int | None = None
    domain_id: int | None = None
    faults: tuple[Fault, ...] = ()
    streaming_latency_s: float | None = None
    report: bool = True
    record: bool = False
    overlays: bool = False


def check_options(options: ReplayOptions) -> None:
    """Refuse options that contradict each other.

    Raises:
        ValueError: Naming the option.
    """
    if options.dataroot is None and options.bag is None:
        raise ValueError("expected --dataroot or --bag, got neither")
    if options.oracle and options.dataroot is None:
        raise ValueError("--oracle needs the --dataroot its ground truth is in")
    if options.oracle and options.external_node is not None:
        raise ValueError("--oracle starts its own node; leave out --external-node")
    if options.mode not in MODES:
        raise ValueError(f"--mode: expected one of {', '.join(MODES)}, got {options.mode!r}")
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit: expected at least 1, got {options.limit}")
    if options.max_age_s < 0:
        raise ValueError(f"--max-age-s: expected 0 or more, got {options.max_age_s}")
    if options.rate <= 0:
        raise ValueError(f"--rate: expected a positive number, got {options.rate}")
    if options.overlays and not options.record:
        raise ValueError("--overlays are for the recording: add --record")
    _check_faults(options)


def _check_faults(options: ReplayOptions) -> None:
    for fault in options.faults:
        if fault.needs_realtime and options.mode == "step":
            raise ValueError(
                f"--fault {fault.name} changes only when messages come, and a step replay waits "
                "for every answer: add --mode realtime"
            )
    latency_s = options.streaming_latency_s
    if latency_s is not None and (latency_s < 0 or options.mode != "step"):
        raise ValueError(
            "--streaming-latency-s: expected 0 or more and --mode step (a realtime replay measures "
            f"its own), got {latency_s} in mode {options.mode}"
        )
