# SPDX-License-Identifier: Apache-2.0
"""One replay from end to end: bag, detector process, playback, submission, score.

The reference time of an answer is its own stamp (the newest camera's): its boxes go to the global
frame with the bag's pose at that time. Objects are not moved to the sample's time, a few
milliseconds later. Answers are matched to samples by exact stamp; only where `max_age_s` allows it,
a sample without one gets the newest answer to earlier images, as a vehicle would use it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdistill_ros.command_line.terminal import progress_bar
from simdistill_ros.core.frames import EGO_FRAME, inverse
from simdistill_ros.core.model_card import load_model_card
from simdistill_ros.replay.answers import Answer, AnswerBook
from simdistill_ros.replay.bag_storage import BagMessage
from simdistill_ros.replay.detector_link import DetectorLink
from simdistill_ros.replay.evaluation import evaluate_submission
from simdistill_ros.replay.faults.parse import FaultyStream, format_fault
from simdistill_ros.replay.machine import describe_environment
from simdistill_ros.replay.nuscenes_reader import load_nuscenes
from simdistill_ros.replay.options import ReplayOptions, check_options
from simdistill_ros.replay.playback import (
    NANOSECONDS,
    PlaybackRecord,
    StepOptions,
    StepSet,
    drain,
    play_realtime,
    play_step,
    step_sets,
)
from simdistill_ros.replay.pose_track import PoseTrack
from simdistill_ros.replay.recording import Recording, recorded_topics
from simdistill_ros.replay.report import latencies_of_samples, latency_statistics
from simdistill_ros.replay.sample_record import SampleRecord
from simdistill_ros.replay.scene_bags import Scene, find_or_make_bags, read_scene
from simdistill_ros.replay.session import Session, detector_session, model_facts, wait_for_detector
from simdistill_ros.replay.streaming import (
    finished_after,
    finished_by_clock,
    newest_finished,
    streaming_facts,
)
from simdistill_ros.replay.submission import Record, records_from_detections, write_submission
from simdistill_ros.resources import DEFAULT_MODEL, model_folder

# Pictures come after the boxes; a detector that draws none is not waited for longer.
RECORDING_TIMEOUT_S = 5.0


@dataclass
class ReplayResult:
    """What came of a replay.

    Attributes:
        metrics: What `metrics.json` holds.
        scenes: What was played.
        answers: Sample token -> the node's answer.
        submission: The file that was scored.
        tables: The devkit's tables; None without a dataroot.
    """

    metrics: dict[str, Any]
    scenes: list[Scene]
    answers: dict[str, Answer]
    submission: Path
    tables: Any


def run_replay(options: ReplayOptions) -> ReplayResult:
    """Replay, collect, score; leaves results and facts in `options.out`.

    These are results_nusc.json, metrics.json, timing.json and, of a model, its card.

    Raises:
        ValueError: If an option or the bag is unusable.
        OSError: If files are missing.
        DetectorDiedError: If the detector's process ends early or never appears.
    """
    check_options(options)
    nusc = load_nuscenes(options.dataroot, options.version) if options.dataroot else None
    scenes = [read_scene(bag, options) for bag in find_or_make_bags(options, nusc)]
    cameras, _ = model_facts(options)
    record = PlaybackRecord()
    with detector_session(options) as session:
        link = session.link
        link.advertise([topic for scene in scenes for topic in scene.bag.topics.values()])
        wait_for_detector(session, options, cameras, options.start_timeout_s)
        for scene in scenes:
            with _recording(session, scene, options):
                _play(session, scene, options, cameras, record)
    answers = _answers_of_samples(scenes, cameras, link.answers, options.max_age_s)
    results = {
        sample.token: _records(answers.get(sample.token), sample, scene.poses)
        for scene in scenes
        for sample in scene.samples
    }
    submission = options.out / "results_nusc.json"
    write_submission(submission, results)
    metrics = {
        **_scores(options, nusc, submission, list(results)),
        **_streaming(options, nusc, scenes, link.answers, record),
        "samples": len(results),
        "answered": len(answers),
        "lost": [token for token in results if token not in answers],
        **_playback_facts(link, record),
        "run": _run_facts(options, scenes),
        "environment": describe_environment(),
    }
    samples = [sample for scene in scenes for sample in scene.samples]
    latencies = latencies_of_samples(samples, cameras, record.published_ns, link.answers.answers)
    (options.out / "timing.json").write_text(json.dumps({"latency_ms": latencies}, indent=2))
    _keep_model_card(options)
    (options.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return ReplayResult(metrics, scenes, answers, submission, nusc)


def _scores(
    options: ReplayOptions, nusc: Any, submission: Path, tokens: Sequence[str]
) -> dict[str, Any]:
    if nusc is None:
        return {}
    return evaluate_submission(nusc, submission, tokens, options.out / "evaluation")


def _streaming(
    options: ReplayOptions,
    nusc: Any,
    scenes: Sequence[Scene],
    book: AnswerBook,
    record: PlaybackRecord,
) -> dict[str, Any]:
    """Return the streaming score, where there is one."""
    latency_s = options.streaming_latency_s
    if nusc is None or (options.mode == "step" and latency_s is None):
        return {}
    chosen: dict[str, tuple[SampleRecord, Answer]] = {}
    results: dict[str, list[Record]] = {s.token: [] for scene in scenes for s in scene.samples}
    for number, scene in enumerate(scenes):
        if latency_s is None:
            finished = finished_by_clock(book.answers, record.clocks[number])
        else:
            finished = finished_after(book.answers, latency_s)
        there = newest_finished(scene, finished)
        chosen |= there
        for token, (sample, answer) in there.items():
            results[token] = _records(answer, sample, scene.poses)
    submission = options.out / "results_streaming.json"
    write_submission(submission, results)
    folder = options.out / "evaluation" / "streaming"
    scores = evaluate_submission(nusc, submission, list(results), folder)
    return {"streaming": streaming_facts(chosen, scores, latency_s)}


def _playback_facts(link: DetectorLink, record: PlaybackRecord) -> dict[str, Any]:
    return {
        "republished": record.republished,
        "answers_received": len(link.answers.answers),
        "refused": link.answers.refused,
        "latency_ms": latency_statistics(record.published_ns, link.answers.answers),
        "stages_ms": {
            stage: round(sorted(values)[len(values) // 2], 3)
            for stage, values in link.stage_ms.items()
            if stage != "sensor_age"  # the bag's stamps are years old
        },
    }


def _play(
    session: Session,
    scene: Scene,
    options: ReplayOptions,
    cameras: Sequence[str],
    record: PlaybackRecord,
) -> None:
    what = f"{options.mode} {scene.samples[0].scene}"
    stream = FaultyStream(scene.bag, options.faults)
    with progress_bar(what, len(scene.samples)) as bar:

        def finish_step(step: StepSet) -> None:
            session.link.wait_for_recording(step.stamp_ns, RECORDING_TIMEOUT_S)
            bar.update(1)

        if options.mode == "step":
            patience = StepOptions(options.timeout_s, options.attempts)
            sets = step_sets(stream, scene.samples, cameras)
            play_step(
                session.link,
                sets,
                patience,
                check_alive=session.check_alive,
                record=record,
                on_done=finish_step,
            )
            return

        def count(message: BagMessage) -> None:
            bar.update(int(message.topic == "/nuscenes/sample"))

        last = scene.samples[-1]
        play_realtime(
            session.link,
            stream,
            rate=options.rate,
            until_ns=max(last.stamp_ns, *last.camera_stamps_ns.values()),
            check_alive=session.check_alive,
            record=record,
            on_message=count,
        )
        drain(session.link, session.check_alive, options.timeout_s)


@contextlib.contextmanager
def _recording(session: Session, scene: Scene, options: ReplayOptions) -> Iterator[None]:
    """Record what happens in the block, if that is asked for."""
    if not options.record:
        yield
        return
    folder = options.out / "recording" / scene.samples[0].scene
    shutil.rmtree(folder, ignore_errors=True)
    heard = recorded_topics(options.external_node or "detector", overlays=options.overlays)
    facts = {**_run_facts(options, [scene]), **describe_environment()}
    is_step = options.mode == "step"
    texts = {key: str(value) for key, value in facts.items()}
    with Recording(folder, scene.bag.topics, heard, is_step=is_step, facts=texts) as recording:
        session.link.recording = recording
        try:
            yield
        finally:
            session.link.recording = None


def _answers_of_samples(
    scenes: Sequence[Scene], cameras: Sequence[str], book: AnswerBook, max_age_s: float
) -> dict[str, Answer]:
    max_age_ns = round(max_age_s * NANOSECONDS)
    found = {
        sample.token: book.newest(sample.reference_stamp_ns(cameras), max_age_ns)
        for scene in scenes
        for sample in scene.samples
    }
    return {token: answer for token, answer in found.items() if answer is not None}


def _records(answer: Answer | None, sample: SampleRecord, poses: PoseTrack) -> list[Record]:
    if answer is None:
        return []
    detections = answer.detections
    if detections.frame != EGO_FRAME:
        raise ValueError(
            f"expected detections in {EGO_FRAME}, got {detections.frame!r}; set output_frame"
        )
    global_from_ego = poses.at(detections.stamp_ns)
    ego_at_sample_from_ego = inverse(poses.at(sample.stamp_ns)) @ global_from_ego
    return records_from_detections(
        detections,
        sample.token,
        global_from_frame=global_from_ego,
        ego_from_frame=ego_at_sample_from_ego,
    )


def _keep_model_card(options: ReplayOptions) -> None:
    kept = options.out / "model.yaml"
    kept.unlink(missing_ok=True)
    if not options.oracle:
        shutil.copyfile(model_folder(options.model) / kept.name, kept)


def _run_facts(options: ReplayOptions, scenes: Sequence[Scene]) -> dict[str, Any]:
    weights = None
    if not options.oracle:
        card = load_model_card(model_folder(options.model))
        weights = card.weights.sha256 if card.weights else "untrained"
    return {
        "detector": "oracle" if options.oracle else f"model {options.model or DEFAULT_MODEL}",
        "weights": weights,
        "mode": options.mode,
        "rate": options.rate if options.mode == "realtime" else None,
        "input": options.input,
        "max_age_s": options.max_age_s,
        "fixed_frame": options.fixed_frame,
        "score_threshold": options.score_threshold,
        "faults": [format_fault(fault) for fault in options.faults] or None,
        "version": options.version,
        "scenes": [scene.samples[0].scene for scene in scenes],
    }
