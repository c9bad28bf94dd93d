"""Templates -> self-contained HTML files, with escaping on: names of clips and classes are untrusted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.system.files import read_text

NOTHING = "\N{EN DASH}"
HERE = Path(__file__).parent
SCRIPTS = ("timeline_data.js", "timeline_pictures.js", "timeline.js")


def render(template: str, content: Mapping[str, Any], *, timeline: str = "") -> str:
    """A page as HTML; its only script is named by its hash in the page's security policy.

    Args:
        template: Name of a file here that extends base.html.
        content: Its variables; "name" is the title.
        timeline: The data of the timeline as JSON that is safe inside a script element; "" for a page without a script.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(share=_share_text, thousands="{:,}".format)
    # as an HTML parser reads it, on any system
    script = "".join(read_text(HERE / name).replace("\r\n", "\n") for name in SCRIPTS) if timeline else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    own = {"style": read_text(HERE / "page.css"), "script": script, "script_hash": f"'sha256-{digest}'"}
    return environment.get_template(template).render(content, data=timeline, **own)


def _share_text(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
