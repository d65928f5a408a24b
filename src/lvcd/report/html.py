"""HTML pages of one file: nothing is fetched, and no text that was read from a file is taken for HTML.

A room has NAME.html, a template that extends this package's page.html, with NAME.css and NAME.js beside it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src {style}; script-src {script}; base-uri 'none'; "
    "form-action 'none'"
)
"""Content security policy of every page: its own style and script, known by their hashes, and data: URIs."""


def page(package: str, name: str, title: str, data: Any = None, **values: Any) -> Iterator[str]:
    """Yield the text of a page, in parts.

    package, name: where the page's NAME.html, NAME.css and NAME.js are. data: for the script, as JSON in the element
    with the id "data". values: what the template names. All text is escaped unless it is `Markup`.
    """
    style = Markup(_read(__package__, "page.css") + _read(package, f"{name}.css"))
    script = Markup(_read(package, f"{name}.js"))
    policy = Markup(POLICY.format(style=_source(style), script=_source(script)))
    template = _environment().get_template(f"{package}/{name}.html")
    stream = template.stream(title=title, style=style, script=script, policy=policy, data=data, **values)
    stream.enable_buffering(100)
    return iter(stream)


def fragment(package: str, name: str, **values: Any) -> Markup:
    """Return the text of a template that is part of a page."""
    return Markup(_environment().get_template(f"{package}/{name}.html").render(**values))


def breaking(words: str) -> Markup:
    """Escape a name, whose line may break after an underscore and before a capital that follows a small letter."""
    return Markup("<wbr>").join(re.split(r"(?<=_)|(?<=[a-z])(?=[A-Z])", words))


def _source(text: str) -> str:
    """Return the policy's name of an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(package: str | None, file: str) -> str:
    assert package
    return files(package).joinpath(file).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    def load(name: str) -> str:
        package, _, file = name.partition("/")
        return _read(package, file)

    environment = Environment(
        loader=FunctionLoader(load), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breaking"] = breaking
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment
