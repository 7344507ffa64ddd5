# SPDX-License-Identifier: Apache-2.0
"""A thread that waits for the messages of a few subscriptions and nothing else.

rclpy's executor makes a new list of everything that the node has, subscriptions, timers, services
and events, and does so twice for each message; that costs several times what receiving the message
does. Images come 72 times a second, so they have a thread and a list of their own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy

from simdistill_ros.polled_subscription import PolledSubscription

# A context that ends may not wake the thread: it looks for itself this often.
LOOK_NS = 200_000_000


class MessageThread:
    """Hands each serialized message of some subscriptions to a callback, on a thread of its own."""

    def __init__(
        self,
        context: Any,
        subscriptions: Mapping[str, PolledSubscription],
        on_message: Callable[[str, bytes], None],
        on_error: Callable[[str, BaseException], None],
        name: str,
    ) -> None:
        """Prepare, but do not start, the thread.

        Args:
            context: Of the node; the thread ends with it.
            subscriptions: What to wait for, by any name.
            on_message: Called with the subscription's name and the bytes of a message.
            on_error: Called with the name and what `on_message` raised; the thread goes on.
            name: Name of the thread.
        """
        self._context = context
        self._subscriptions = subscriptions
        self._on_message = on_message
        self._on_error = on_error
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
        try:
            with self._context.handle:
                wait_set = _rclpy.WaitSet(
                    len(self._subscriptions), 1, 0, 0, 0, 0, self._context.handle
                )
                while not self._stopping and self._context.ok():
                    self._take(self._ready(wait_set))
        except Exception:
            if not self._stopping and self._context.ok():
                raise

    def _ready(self, wait_set: Any) -> list[str]:
        """Wait; return the names of the subscriptions that have messages."""
        handles = {name: one.subscription.handle for name, one in self._subscriptions.items()}
        wait_set.clear_entities()
        with contextlib.ExitStack() as held:  # a context that ends destroys what nobody holds
            for handle in (*handles.values(), self._wake.handle):
                held.enter_context(handle)
            for handle in handles.values():
                wait_set.add_subscription(handle)
            wait_set.add_guard_condition(self._wake.handle)
            wait_set.wait(LOOK_NS)
            ready = wait_set.get_ready_entities("subscription")
            return [name for name, handle in handles.items() if handle.pointer in ready]

    def _take(self, names: list[str]) -> None:
        for name in names:
            for data in self._subscriptions[name].take():
                try:
                    self._on_message(name, data)
                except Exception as error:
                    self._on_error(name, error)
