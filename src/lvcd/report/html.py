"""Pages of one file, in one style: nothing is fetched, and no text that was read is taken for HTML."""

from __future__ import annotations

import html
import re
from importlib.resources import files


def escape(words: object) -> str:
    return html.escape(str(words), quote=True)


def template(package: str, name: str = "page.html") -> list[str]:
    """A package's page in the house's style, cut at its places: <!--name-->."""
    page = files(package).joinpath(name).read_text()
    style = files(__package__).joinpath("house.css").read_text()
    return re.split(r"(<!--[a-z]+-->)", page.replace("<!--style-->", style))
