# ruff: noqa: INP001  # for mkdocs, which reads it by its path

"""For mkdocs: README is the first page, and files outside of docs/ that a page links to are in the site too."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")
BESIDE = re.compile(r"(!?\[[^]]*\]\()(?!https?:|#|mailto:)([^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README as index.md, and below repository/ what the pages link to outside of docs/."""
    wanted = [found for page in sorted((ROOT / "docs").glob("*.md")) for found in OUTSIDE.findall(page.read_text())]
    readme = BESIDE.sub(lambda link: f"{link[1]}{_from_the_top(link[2], wanted)})", (ROOT / "README.md").read_text())
    files.append(File.generated(config, "index.md", content=readme))
    seen: set[str] = set()
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.endswith(".md"):
            text = (ROOT / path).read_text()
            folder = Path(path).parent
            wanted += [str(folder / link) for _, link in BESIDE.findall(text) if not link.startswith(("docs/", ".."))]
            up = "../" * len(Path(path).parts)
            files.append(File.generated(config, f"repository/{path}", content=text.replace("](docs/", f"]({up}")))
        else:
            files.append(File.generated(config, f"repository/{path}", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Point the links that leave docs/ to their copies."""
    return OUTSIDE.sub(r"](repository/\1", markdown)


def _from_the_top(link: str, wanted: list[str]) -> str:
    if link.startswith("docs/"):
        return link.removeprefix("docs/")
    wanted.append(link)
    return f"repository/{link}"
