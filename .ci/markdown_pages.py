"""A hook of MkDocs: beside each page, its text as Markdown (`getting-started.md`), as `llms.txt` links it.

A page of the reference says little before its docstrings are filled in, so there the finished page is turned back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markdownify import markdownify


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Write the page's text into the site.

    Args:
        output: The finished HTML.
        page: The page, as MkDocs knows it.
        config: MkDocs' configuration.

    Returns:
        The HTML, unchanged.
    """
    text: str = page.markdown
    if "\n::: " in text:
        text = markdownify(page.content, heading_style="ATX", code_language="python")
        text = re.sub(r"\[¶\]\([^)]*\)", "", text)  # links of headings to themselves
    target = Path(config["site_dir"], page.file.src_uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text.strip() + "\n", encoding="utf-8")
    return output
