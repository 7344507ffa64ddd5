# SPDX-License-Identifier: Apache-2.0
"""End the process soon after SIGINT or SIGTERM, whatever it is doing.

The first signal raises KeyboardInterrupt in the main thread, where clean-up follows; later ones are
ignored, because clean-up is under way. A library that loads or infers for long hears no exception:
for it a watchdog ends the process when the time is up. After clean-up the interpreter is not torn
down module by module: with a learning library that takes longer than all the rest.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

CLEAN_S = 1.2  # what clean-up has after the signal
LAST_WORDS_S = 0.3  # what `farewell` has after that


class ProcessEnd:
    """Handles SIGINT and SIGTERM from `install` until the process ends."""

    def __init__(self) -> None:
        """Prepare."""
        self.farewell: Callable[[], None] | None = None
        self.is_asked = False
        self._read_fd, self._write_fd = os.pipe()

    def install(self) -> None:
        """Take the signals over; before `rclpy.init`, whose handlers then call these."""
        os.set_blocking(self._write_fd, False)
        # The interpreter writes here at once, also while the main thread is inside a library.
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._watch, name="process_end", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.is_asked:
            self.is_asked = True
            raise KeyboardInterrupt

    def _watch(self) -> None:
        os.read(self._read_fd, 1)
        threading.Event().wait(CLEAN_S)
        print("still busy after the signal to end: ending now", file=sys.stderr)
        if self.farewell is not None:
            last_words = threading.Thread(target=self.farewell, daemon=True)
            last_words.start()
            last_words.join(LAST_WORDS_S)
        end_now()


def end_now() -> None:
    """End the process without waiting for its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
