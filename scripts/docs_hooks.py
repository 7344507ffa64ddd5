# SPDX-License-Identifier: Apache-2.0
"""What MkDocs does here besides its own: pages from files outside docs/, and links to them.

A page that has its place elsewhere (CHANGELOG.rst, CONTRIBUTING.md, ...) or that is written by the
code (the API reference, the list of parameters) is made when the site is built. Links are written
for a reader of the repository; in the site a link to a file outside docs/ leads to that file's
page, or to a copy of it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
COPIES = "source"  # where the site keeps copies of files that pages link to
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
PARAMETERS = "config/detector.yaml"
CODE_BLOCK = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)

# Page of the site: the file of the repository whose text it is.
ELSEWHERE = {
    "changelog.md": "CHANGELOG.rst",
    "contributing.md": "CONTRIBUTING.md",
    "training.md": "training/README.md",
    "benchmarks.md": "benchmarks/README.md",
}


def reference_pages() -> dict[str, str]:
    """Return page of the API reference → the package's folder, for every package."""
    packages = [ROOT / "simdistill_ros", ROOT / "training" / "simdistill_training"]
    pages = {}
    for file in sorted(file for package in packages for file in package.rglob("__init__.py")):
        folder = file.parent.relative_to(ROOT)
        name = ".".join(part for part in folder.parts if part != "training")
        pages[f"reference/{name}.md"] = folder.as_posix()
    return pages


REFERENCE = reference_pages()


def on_config(config: Any) -> Any:
    """Put the API reference into the menu."""
    pages = [{Path(uri).stem: uri} for uri in REFERENCE]
    config.nav[-1:-1] = [{"API": pages}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    for uri, source in ELSEWHERE.items():
        files.append(File.generated(config, uri, content=_plain_markdown(source)))
    for uri, folder in REFERENCE.items():
        content = reference_page(Path(uri).stem, folder)
        files.append(File.generated(config, uri, content=content))
    files.append(File.generated(config, "parameters.md", content=parameters_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at the files they mean, wherever these are in the site."""
    source = ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def move(link: str) -> str:
        return _link_in_site(link, source, page.file.src_uri, config, files)

    return rewrite_links(markdown, move)


def rewrite_links(markdown: str, move: Callable[[str], str]) -> str:
    """Apply `move` to the targets of links outside code blocks."""
    parts = CODE_BLOCK.split(markdown)
    parts[::2] = [
        LINK.sub(lambda found: found[1] + move(found[2]) + found[3], part) for part in parts[::2]
    ]
    return "".join(parts)


def _link_in_site(link: str, source: str, page_uri: str, config: Any, files: Files) -> str:
    if "://" in link or link.startswith("mailto:"):
        return link
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    target = _uri_in_site(path, config, files)
    return link if target is None else posixpath.relpath(target, posixpath.dirname(page_uri) or ".")


def _uri_in_site(path: str, config: Any, files: Files) -> str | None:
    """Return where a file of the repository is in the site; None leaves the link to MkDocs."""
    pages = {elsewhere: uri for uri, elsewhere in ELSEWHERE.items()}
    pages |= {folder: uri for uri, folder in REFERENCE.items()}
    pages |= {"README.md": "index.md", PARAMETERS: "parameters.md"}
    if path in pages:
        return pages[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if not (ROOT / path).is_file():
        return None
    uri = f"{COPIES}/{path}"
    if uri.endswith(".md"):
        return None
    if files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return uri


def _plain_markdown(source: str) -> str:
    """Return a file's text; of reStructuredText, only what Markdown shares with it."""
    text = (ROOT / source).read_text()
    if source.endswith(".rst"):
        title, *rest = [line for line in text.splitlines() if not re.fullmatch(r"\^+", line)]
        text = f"# {title}\n" + "\n".join(rest) + "\n"
    return text


def reference_page(package: str, folder: str) -> str:
    """Return a page that shows the docstrings of a package and its modules."""
    modules = [f"{package}.{path.stem}" for path in sorted((ROOT / folder).glob("[!_]*.py"))]
    heads = "\n\n".join(f"## {name}\n\n::: {name}" for name in modules)
    # Who searches wants a page that explains, before one that lists.
    front = "---\nsearch:\n  boost: 0.2\n---\n\n"
    return f"{front}# {package}\n\n::: {package}\n\n{heads}\n"


def parameters_page() -> str:
    """Return the page that shows the node's parameter file."""
    return (
        f"# All parameters\n\nThe file `{PARAMETERS}` as it is: every parameter with its default, "
        "unit and meaning. A test holds it equal to what the node declares.\n\n"
        f"```yaml\n{(ROOT / PARAMETERS).read_text()}```\n"
    )
