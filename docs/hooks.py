# ruff: noqa: INP001  # for mkdocs, which reads it by its path
"""For mkdocs: README is the first page, and files outside of docs/ that a page links to are in the site too."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
COPIES = "repository"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README as index.md, and below repository/ what the pages link to outside of docs/."""
    wanted = ["README.md", *(target for page in (ROOT / "docs").glob("*.md") for target in _targets(page))]
    for path in wanted:  # which grows meanwhile
        place = _in_the_site(path)
        if not path.startswith("docs/") and files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, content=(ROOT / path).read_bytes()))
            wanted += _targets(ROOT / path)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Point each link to another file of the repository to where that is in the site."""
    place = page.file.src_uri
    if place == "index.md":
        source = "README.md"
    elif place.startswith(f"{COPIES}/"):
        source = place.removeprefix(f"{COPIES}/")
    else:
        source = f"docs/{place}"

    def there(link: re.Match[str]) -> str:
        target = os.path.normpath(Path(source).parent / link[1])
        return "](" + os.path.relpath(_in_the_site(target), Path(place).parent)

    return LINK.sub(there, markdown)


def _targets(page: Path) -> list[str]:
    """Return the paths, from the repository's top, of the files that a page links to."""
    if page.suffix != ".md":
        return []
    folder = page.parent.relative_to(ROOT)
    return [os.path.normpath(folder / link) for link in LINK.findall(page.read_text())]


def _in_the_site(path: str) -> str:
    """Return where a file of the repository is in the site. mkdocs leaves out names that begin with a dot."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{COPIES}/{path.lstrip('.')}"
