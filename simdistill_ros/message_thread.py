# SPDX-License-Identifier: Apache-2.0
"""A thread that waits for the messages of a few subscriptions and nothing else.

rclpy's executor makes a new list of everything that the node has, subscriptions, timers, services
and events, and does so twice for each message; that costs several times what receiving the message
does. Images come 72 times a second and transforms oftener, so they have a thread and a list of
their own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy

from simdistill_ros.polled_subscription import PolledSubscription

# A context that ends may not wake the thread: it looks for itself this often.
LOOK_NS = 100_000_000


class MessageSource(Protocol):
    """Whoever wants the messages of some subscriptions; all is called on the thread."""

    @property
    def subscriptions(self) -> Mapping[str, PolledSubscription]:
        """What to wait for, by any name; as it is when the thread starts."""

    def on_message(self, name: str, data: bytes) -> None:
        """Take the bytes of a message of the subscription of that name."""

    def on_error(self, name: str, error: BaseException) -> None:
        """Take what `on_message` or taking a message raised; the thread goes on."""

    def after_round(self) -> None:
        """Do what time brings: called after messages were taken, and at least every `LOOK_NS`."""


class MessageThread:
    """Hands each serialized message of its sources to them, on a thread of its own."""

    def __init__(self, context: Any, sources: Sequence[MessageSource], name: str) -> None:
        """Prepare, but do not start, the thread.

        Args:
            context: Of the node; the thread ends with it.
            sources: Whom to hand messages to; of those that wait, the first ones' come first.
            name: Name of the thread.
        """
        self._context = context
        self._sources = sources
        self._subscriptions = [
            (source, name, polled)
            for source in sources
            for name, polled in source.subscriptions.items()
        ]
        self._stopping = False
        self._wake = GuardCondition(None, None, context)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the subscriptions may be destroyed then."""
        self._stopping = True
        with contextlib.suppress(_rclpy.InvalidHandle):  # ended with its context
            self._wake.trigger()
        self._thread.join()
        self._wake.destroy()

    def _run(self) -> None:
        while self._is_wanted():
            try:
                with self._context.handle:
                    wait_set = _rclpy.WaitSet(
                        len(self._subscriptions), 1, 0, 0, 0, 0, self._context.handle
                    )
                    while self._is_wanted():
                        self._take(self._ready(wait_set))
            except Exception as error:
                if not self._is_wanted():
                    return  # what it waited for has ended
                for source, name, _ in self._subscriptions:
                    source.on_error(name, error)
                time.sleep(LOOK_NS / 1e9)

    def _is_wanted(self) -> bool:
        return not self._stopping and bool(self._context.ok())

    def _ready(self, wait_set: Any) -> set[int]:
        """Wait; return the pointers of the subscriptions that have messages."""
        handles = [polled.subscription.handle for _, _, polled in self._subscriptions]
        wait_set.clear_entities()
        with contextlib.ExitStack() as held:  # a context that ends destroys what nobody holds
            for handle in (*handles, self._wake.handle):
                held.enter_context(handle)
            for handle in handles:
                wait_set.add_subscription(handle)
            wait_set.add_guard_condition(self._wake.handle)
            wait_set.wait(LOOK_NS)
            return set(wait_set.get_ready_entities("subscription"))

    def _take(self, ready: set[int]) -> None:
        for source, name, polled in self._subscriptions:
            if polled.subscription.handle.pointer not in ready:
                continue
            for data in polled.take():
                try:
                    source.on_message(name, data)
                except Exception as error:
                    source.on_error(name, error)
        for source in self._sources:
            source.after_round()
