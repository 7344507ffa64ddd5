# SPDX-License-Identifier: Apache-2.0
from simdistill_ros.core.boxes import empty_detections
from simdistill_ros.replay.answers import Answer
from simdistill_ros.replay.report import latency_statistics


def answer(received_ns):
    return Answer(empty_detections("base_link", 1, ("car",)), received_ns)


def test_latency_runs_from_the_newest_image_to_the_answer():
    published = {1: 1_000_000, 2: 5_000_000, 3: 9_000_000}
    statistics = latency_statistics(published, {1: answer(11_000_000), 2: answer(25_000_000)})
    assert statistics == {"median": 15.0, "p95": 19.5, "max": 20.0, "count": 2}


def test_answers_to_nothing_published_do_not_count():
    assert latency_statistics({}, {1: answer(5)}) == {}
