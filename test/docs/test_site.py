# SPDX-License-Identifier: Apache-2.0
"""The documentation is a whole: nothing in it leads nowhere, and nothing in it is out of reach."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from simdistill_ros import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this file
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))  # for the browser

from browser import Browser, find_chromium
from html_links import clicks_from, read_site

ROOT = Path(__file__).resolve().parents[2]


def test_every_link_of_the_site_leads_to_a_file_and_an_anchor_that_exist(site: Path) -> None:
    pages = read_site(site)
    broken = [
        f"{page.path.relative_to(site)} → {target.name}#{anchor}"
        for page in pages.values()
        for target, anchor in page.targets()
        if not target.is_file()
        or (anchor and target in pages and anchor not in pages[target].anchors)
    ]
    assert len(pages) > 30
    assert broken == []


def test_every_page_is_at_most_two_clicks_from_the_start(site: Path) -> None:
    pages = read_site(site)
    clicks = clicks_from(site.resolve() / "index.html", pages)
    assert {str(path.relative_to(site)) for path in pages if clicks.get(path, 99) > 2} == set()


def test_the_start_page_itself_names_every_other_page(site: Path) -> None:
    """Its text, not the menu around it."""
    text = (ROOT / "docs" / "index.md").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in text]
    assert missing == ["index.md"]


def test_nothing_of_the_site_is_loaded_from_elsewhere(site: Path) -> None:
    outside = [
        (page.path.name, resource)
        for page in read_site(site).values()
        for resource in page.resources
        if resource.startswith(("http:", "https:", "//"))
    ]
    assert outside == []


def test_every_picture_is_small_and_has_a_description(site: Path) -> None:
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 300_000] == []
    texts = "".join(
        path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    )
    assert [path.name for path in pictures if f"images/{path.name})" not in texts] == []
    assert "![](" not in texts


def test_the_search_finds_a_page_when_the_site_is_opened_as_files(
    site: Path, tmp_path: Path
) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    browser = Browser(chromium, tmp_path / "profile")
    try:
        browser.open(site / "index.html")
        browser.evaluate(
            "document.querySelector('#__search').click();"
            "const field = document.querySelector('input.md-search__input');"
            "field.focus(); field.value = 'firing order';"
            "field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true}))"
        )
        browser.wait_for("document.querySelector('.md-search-result__list a') !== null")
        assert browser.errors == []
        assert [url for url in browser.requests if url.startswith("http")] == []
    finally:
        browser.close()


@pytest.mark.parametrize(
    "text", ["[gone](gone.md)", "[no such heading](index.md#gone)", "[code](../simdistill_ros)"]
)
def test_a_broken_link_fails_the_build(tmp_path: Path, text: str) -> None:
    pytest.importorskip("mkdocs", reason="MkDocs is not installed (requirements/docs.txt)")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{text}\n")
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(tmp_path / "docs"),
        site_dir=str(tmp_path / "site"),
        plugins=[],
        hooks=[],
        nav=[{"Start": "index.md"}],
    )
    with pytest.raises(Abort):
        build(config)


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    title = paper["title"]
    assert title in (ROOT / "docs" / "cite.md").read_text()
