# SPDX-License-Identifier: Apache-2.0
from simdistill_ros.core.boxes import empty_detections
from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.report import latencies_of_samples, latency_statistics
from simdistill_ros.replay.sample_record import SampleRecord


def answer(received_ns):
    return Answer(empty_detections("base_link", 1, ("car",)), received_ns)


def test_latency_runs_from_the_newest_image_to_the_answer():
    published = {1: 1_000_000, 2: 5_000_000, 3: 9_000_000}
    statistics = latency_statistics(published, {1: answer(11_000_000), 2: answer(25_000_000)})
    assert statistics == {"median": 15.0, "p95": 19.5, "max": 20.0, "count": 2}


def test_answers_to_nothing_published_do_not_count():
    assert latency_statistics({}, {1: answer(5)}) == {}


def test_each_answered_sample_has_its_latency():
    samples = [
        SampleRecord("a", "s", 5, {"cam_front": 1, "cam_back": 2}),
        SampleRecord("b", "s", 9, {"cam_front": 3, "cam_back": 4}),
    ]
    cameras = ("cam_front", "cam_back")
    published = {2: 1_000_000, 4: 2_000_000}
    latencies = latencies_of_samples(samples, cameras, published, {2: answer(4_500_000)})
    assert latencies == {"a": 3.5}
