# SPDX-License-Identifier: Apache-2.0
"""What the pages of a built site refer to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class HtmlPage(HTMLParser):
    """Anchors, links and loaded resources of one page."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text())

    def __hash__(self) -> int:
        return hash(self.path)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img", "iframe") and "src" in values:
            self.resources.append(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.resources.append(values["href"])

    def targets(self) -> list[tuple[Path, str]]:
        """Return file and anchor of each link that stays in the site."""
        parts = [urlsplit(link) for link in self.links]
        return [
            (_file(self.path, part.path), unquote(part.fragment))
            for part in parts
            if not part.scheme and not part.netloc
        ]


def _file(page: Path, link: str) -> Path:
    path = (page.parent / unquote(link)).resolve() if link else page
    return path / "index.html" if path.is_dir() else path


def read_site(folder: Path) -> dict[Path, HtmlPage]:
    """Return path → page; without the page for addresses that do not exist."""
    files = sorted(folder.resolve().rglob("*.html"))
    return {path: HtmlPage(path) for path in files if path.name != "404.html"}


def clicks_from(start: Path, pages: dict[Path, HtmlPage]) -> dict[Path, int]:
    """Return how many clicks away from the start each page is."""
    clicks = {start: 0}
    queue = deque([start])
    while queue:
        path = queue.popleft()
        for target, _ in pages[path].targets():
            if target in pages and target not in clicks:
                clicks[target] = clicks[path] + 1
                queue.append(target)
    return clicks
