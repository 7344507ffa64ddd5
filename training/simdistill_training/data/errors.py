# SPDX-License-Identifier: Apache-2.0
"""What is said about a sample whose files cannot be used."""

from __future__ import annotations

from pathlib import Path


class BrokenSampleError(RuntimeError):
    """A file of a sample is missing or damaged."""

    def __init__(self, token: str, path: Path, cause: str) -> None:
        """Name the sample, the file and what is wrong with it."""
        super().__init__(
            f"sample {token}: {path}: {cause}; repair the file, or set data.skip_broken: true"
        )
        self.token = token
        self.path = path
        self.cause = cause

    def __reduce__(self) -> tuple[type[BrokenSampleError], tuple[str, Path, str]]:
        """Let the error travel between processes."""
        return type(self), (self.token, self.path, self.cause)
