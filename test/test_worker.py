# SPDX-License-Identifier: Apache-2.0
"""One thread, one slot."""

import threading

from simdistill_ros.worker import Worker

LONG_S = 10.0


def test_newest_item_wins_when_the_worker_is_busy() -> None:
    started, release, seen = threading.Event(), threading.Event(), []

    def process(item: int) -> None:
        started.set()
        release.wait(LONG_S)
        seen.append(item)
        if item == 3:
            done.set()

    done = threading.Event()
    worker: Worker[int] = Worker(process, lambda error: None, "test")
    worker.start()
    worker.submit(1)
    assert started.wait(LONG_S)
    assert not worker.submit(2)
    assert worker.submit(3)
    release.set()
    assert done.wait(LONG_S)
    assert worker.stop(LONG_S)

    assert seen == [1, 3]
    assert (worker.processed, worker.overtaken, worker.failed) == (2, 1, 0)


def test_an_exception_is_reported_and_the_thread_goes_on() -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def process(item: str) -> None:
        if item == "bad":
            raise RuntimeError("no luck")
        done.set()

    failed = threading.Event()

    def on_error(error: BaseException) -> None:
        errors.append(error)
        failed.set()

    worker: Worker[str] = Worker(process, on_error, "test")
    worker.start()
    worker.submit("bad")
    assert failed.wait(LONG_S)
    worker.submit("good")
    assert done.wait(LONG_S)
    worker.stop(LONG_S)

    assert [str(error) for error in errors] == ["no luck"]
    assert worker.failed == 1


def test_stop_drops_what_waits_and_ends_the_thread() -> None:
    release, started, seen = threading.Event(), threading.Event(), []

    def process(item: int) -> None:
        started.set()
        release.wait(LONG_S)
        seen.append(item)

    worker: Worker[int] = Worker(process, lambda error: None, "test")
    worker.start()
    worker.submit(1)
    started.wait(LONG_S)
    worker.submit(2)
    threading.Timer(0.05, release.set).start()

    assert worker.stop(LONG_S)
    assert seen == [1]


def test_a_worker_that_was_never_given_anything_stops() -> None:
    worker: Worker[int] = Worker(lambda item: None, lambda error: None, "test")
    worker.start()

    assert worker.stop(LONG_S)
