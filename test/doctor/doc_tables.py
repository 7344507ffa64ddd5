# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/doctor.md, made from the checks and the planted faults.

Write them anew with: PYTHONPATH=.:test/doctor python test/doctor/doc_tables.py
"""

from __future__ import annotations

import re
from pathlib import Path

from planted import CALIBRATION_AND_FRAMES, NO_OUTPUT, Planted

from simdistill_ros.doctor.checks.registry import SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def findings_table() -> str:
    lines = ["| finding | severity | meaning | what to do |", "|---|---|---|---|"]
    for title, checks in SECTIONS.items():
        lines.append(f"| **{title}** | | | |")
        lines += [
            f"| `{kind.code}` | {kind.severity.label} | {kind.meaning} | {kind.fix} |"
            for kind in dict.fromkeys(kind for check in checks for kind in check.kinds)
        ]
    return "\n".join(lines)


def complaints_table(faults: tuple[Planted, ...]) -> str:
    lines = ["| complaint | finding |", "|---|---|"]
    lines += [f"| {one.complaint[0].upper()}{one.complaint[1:]} | `{one.code}` |" for one in faults]
    return "\n".join(lines)


def tables() -> dict[str, str]:
    return {
        "findings": findings_table(),
        "calibration": complaints_table(CALIBRATION_AND_FRAMES),
        "no output": complaints_table(NO_OUTPUT),
    }


def block(name: str, page: str) -> re.Match[str]:
    pattern = rf"(<!-- begin {name} -->\n)(.*?)(\n<!-- end {name} -->)"
    match = re.search(pattern, page, re.DOTALL)
    assert match, f"{PAGE}: expected the marks of {name!r}"
    return match


def main() -> None:
    page = PAGE.read_text()
    for name, table in tables().items():
        match = block(name, page)
        page = page[: match.start(2)] + table + page[match.end(2) :]
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
