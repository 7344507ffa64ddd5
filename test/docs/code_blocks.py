# SPDX-License-Identifier: Apache-2.0
"""The code blocks of the Markdown pages, and what they say of themselves.

A block of commands is run by a test as it stands, unless

* its first line is `# Needs ...` (a vehicle, a GPU, a ROS distribution, nuScenes, ...):
  the reader sees it; or
* the line above it is `<!-- covered by FILE::NAME -->`: that test (or, of a file that is no Python,
  that text) runs the same. Several are separated by commas.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"(?:^<!-- covered by (?P<covered>.+?) -->\n)?"
    r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
NEEDS = re.compile(
    r"# Needs (a vehicle|a GPU|a ROS distribution|nuScenes|a download|several machines|"
    r"a quiet machine)\b.*"
)
SHELL = ("bash", "sh")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Its file.
        line: Line of its opening fence.
        info: What stands behind the fence.
        text: What is between the fences.
        covered_by: The tests that run it elsewhere.
    """

    page: Path
    line: int
    info: str
    text: str
    covered_by: tuple[str, ...]

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def needs(self) -> str:
        """What a machine of the tests does not have; empty: nothing."""
        found = NEEDS.fullmatch(self.text.partition("\n")[0])
        return found[1] if found else ""

    @property
    def is_run(self) -> bool:
        """Whether a test has to run it as it stands."""
        return not self.needs and not self.covered_by


def pages() -> list[Path]:
    """The pages whose code blocks are checked."""
    names = ("README.md", "CONTRIBUTING.md", "training/README.md", "benchmarks/README.md")
    return [*(ROOT / name for name in names), *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("fence")) + 1,
            found["info"].strip(),
            found["text"],
            tuple(name.strip() for name in (found["covered"] or "").split(",") if name.strip()),
        )
        for found in FENCE.finditer(text)
    ]


def all_blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages that are in one of these languages; none: all blocks."""
    found = [block for page in pages() for block in blocks_of(page)]
    return [block for block in found if not languages or block.info in languages]


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without comments and assignments."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s(?:&&|\||;)\s", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
                words.pop(0)
            if ">" in words:  # where the output goes is the shell's business
                words = words[: words.index(">")]
            if words:
                yield words


def inline_code() -> Iterator[tuple[str, str]]:
    """Yield (page, text) of the code in the prose of all pages."""
    for page in pages():
        prose = FENCE.sub("", page.read_text())
        for found in re.finditer(r"(?<!`)`([^`]+)`(?!`)", prose):
            yield page.name, " ".join(found[1].split())
