"""Hooks of mkdocs: pages made from the code come along, and links out of docs/ stay right.

All other links are checked by mkdocs itself.
"""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import docs_reference

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parent
PICTURES = {".svg", ".png"}
OUTWARD = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)\s#]+)[^)\s]*\)")


def on_files(files: "Files", *, config: "MkDocsConfig", **_: object) -> "Files":
    """Add the reference, whose pages no file holds."""
    from mkdocs.structure.files import File  # only there where a site is made

    for name, make in docs_reference.PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, *, config: "MkDocsConfig", files: "Files", **_: object) -> str:
    """Take pictures from elsewhere in the repository along; name other files instead of linking."""

    def kept(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        if PurePosixPath(target).suffix not in PICTURES:
            return f"{text} (`{target}`)" if text != target else f"`{target}`"
        from mkdocs.structure.files import File  # only there where a site is made

        if files.get_file_from_path(target) is None:
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
        return f"{mark}[{text}]({target})"

    return OUTWARD.sub(kept, markdown)
