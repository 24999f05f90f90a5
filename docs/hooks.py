"""Hooks of mkdocs: documents outside docs/ become pages too, so that each text and picture exists once."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "*.md",
    "checkpoints/*/README.md",
    "examples/*.webp",
    "examples/*.png",
    "examples/*/README.md",
    "examples/results/**/*.png",
    "examples/results/theory/README.md",
)
CODE = re.compile(r"<code>[^<]*</code>")  # within text; in a block there are tags
FLAG = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
LINK = re.compile(r"\]\(\.\./(?!\.)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents and pictures of the repository; its README stands for the front page, which docs/ has."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if name != "README.md":
                files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that lead out of docs/ in the repository lead to the same document within the site."""
    inside = Path(page.file.src_dir or "") == Path(config.docs_dir)
    return LINK.sub("](", markdown) if inside else re.sub(r"\]\(docs/", "](", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mark the flags in a text, so that no line ends within one."""
    return CODE.sub(lambda code: FLAG.sub(r'<span class="flag">\g<0></span>', code[0]), html)
