# SPDX-License-Identifier: Apache-2.0
import pytest

from simdistill_ros.replay.answers import AnswerBook
from simdistill_ros.replay.bag_storage import Bag
from simdistill_ros.replay.nuscenes_reader import CAMERA_CHANNELS, samples_of_scene
from simdistill_ros.replay.nuscenes_to_bag import BagOptions, write_scene_bag
from simdistill_ros.replay.playback import (
    PlaybackRecord,
    StepOptions,
    play_realtime,
    play_step,
    step_sets,
)

CAMERAS = tuple(channel.lower() for channel in CAMERA_CHANNELS)


@pytest.fixture(scope="module")
def scene(tiny_nusc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "scene-0001"
    write_scene_bag(tiny_nusc, "scene-0001", folder, BagOptions())
    return Bag(folder), samples_of_scene(tiny_nusc, "scene-0001")


class FakeLink:
    """Answers a set when its newest image has been published often enough."""

    def __init__(self, needed=1, silent=()):
        self.answers = AnswerBook()
        self.published = []
        self.clock = []
        self._needed = needed
        self._silent = silent

    def publish(self, message):
        self.published.append(message)
        same = [m for m in self.published if m == message]
        is_image = "/image_rect" in message.topic
        if is_image and len(same) >= self._needed and message.stamp_ns not in self._silent:
            self.answers.answers[message.stamp_ns] = object()

    def publish_clock(self, stamp_ns):
        self.clock.append(stamp_ns)

    def spin(self, until, timeout_s):
        return until()


def play(scene, link, attempts=3):
    record = PlaybackRecord()
    play_step(
        link,
        step_sets(*scene, CAMERAS),
        StepOptions(timeout_s=0.0, attempts=attempts),
        check_alive=lambda: None,
        record=record,
    )
    return record


def test_step_has_six_images_and_infos_of_exactly_the_keyframe(scene):
    bag, samples = scene
    for step, sample in zip(step_sets(bag, samples, CAMERAS), samples, strict=True):
        images = [m for m in step.images if "/image_rect" in m.topic]
        assert {m.topic.split("/")[1]: m.stamp_ns for m in images} == sample.camera_stamps_ns
        assert len(step.images) == 12
        assert step.stamp_ns == sample.reference_stamp_ns(CAMERAS)


def test_transforms_up_to_the_sample_are_published_before_its_images(scene):
    link = FakeLink()
    play(scene, link)
    first_image = next(i for i, m in enumerate(link.published) if "/image_rect" in m.topic)
    stamps = {m.stamp_ns for m in link.published[:first_image] if m.topic == "/tf"}
    assert set(scene[1][0].camera_stamps_ns.values()) <= stamps
    assert "/tf_static" in {m.topic for m in link.published[:first_image]}


def test_every_transform_is_published_once(scene):
    link = FakeLink()
    play(scene, link)
    transforms = [m for m in link.published if m.topic == "/tf"]
    assert len(transforms) == len(list(scene[0].messages(["/tf"])))


def test_answered_sets_are_sent_once(scene):
    record = play(scene, FakeLink())
    assert (record.republished, record.lost) == (0, [])
    assert list(record.published_ns) == [s.reference_stamp_ns(CAMERAS) for s in scene[1]]


def test_unanswered_set_is_sent_again(scene):
    record = play(scene, FakeLink(needed=2))
    assert (record.republished, record.lost) == (3, [])


def test_set_that_is_never_answered_is_lost_and_the_next_is_played(scene):
    silent = {scene[1][1].reference_stamp_ns(CAMERAS)}
    record = play(scene, FakeLink(silent=silent), attempts=2)
    assert record.lost == ["sample_1"]
    assert record.republished == 1


def test_playback_ends_when_the_detector_has_died(scene):
    def check_alive():
        raise RuntimeError("dead")

    with pytest.raises(RuntimeError, match="dead"):
        play_step(
            FakeLink(),
            step_sets(*scene, CAMERAS),
            StepOptions(),
            check_alive=check_alive,
            record=PlaybackRecord(),
        )


def test_realtime_plays_all_in_order_up_to_the_last_sample(scene):
    bag, samples = scene
    link, seen = FakeLink(), []
    play_realtime(
        link,
        bag,
        rate=100.0,
        until_ns=samples[1].stamp_ns,
        check_alive=lambda: None,
        record=PlaybackRecord(),
        on_message=seen.append,
    )
    expected = [m for m in bag.messages() if m.stamp_ns <= samples[1].stamp_ns]
    assert link.published == expected == seen
    assert link.clock == sorted(link.clock)
    assert link.clock[-1] <= samples[1].stamp_ns
