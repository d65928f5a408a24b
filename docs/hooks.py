"""What the site shows and docs/ does not hold: the settings of conf/, the notebooks, and pictures of data/.

Pages are written so that they can be read in the repository too: a picture is `../data/pictures/NAME`, a notebook is
`../notebooks/NAME.ipynb`, and both are found again in the site. nbconvert and mkdocs-jupyter would do for notebooks
what 20 lines do here, with a dozen packages, and load scripts from the network.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CONF, PICTURES, NOTEBOOKS = ROOT / "conf", ROOT / "data" / "pictures", ROOT / "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for picture in sorted(PICTURES.glob("*.png")):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        page, pictures = notebook_page(notebook)
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page))
        for name, png in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=png))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    markdown = re.sub(r"<!-- include (\S+) -->", lambda found: included(ROOT / found[1]), markdown)
    markdown = markdown.replace("<!-- rooms -->", rooms()) if "<!-- rooms -->" in markdown else markdown
    markdown = re.sub(r"\]\(\.\./data/pictures/", "](pictures/", markdown)
    markdown = re.sub(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", r"](notebooks/\1.md)", markdown)
    markdown = re.sub(r"\[(-?[\d.]+), (-?[\d.]+)\]", r"[\1,&nbsp;\2]", markdown)  # an interval stays on one line
    return re.sub(r"<!-- settings of (\w+) -->", lambda found: settings(CONF / found[1]), markdown)


def rooms() -> str:
    """Return a table of the rooms of the package, from the top floor down, each with the first sentence of its
    docstring. The floors are those that a test keeps."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text())
    named = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"]
    floors = ast.literal_eval(named[0].value)
    lines = ["| floor | room | what it is |", "|---|---|---|"]
    for number, names in reversed([*enumerate(floors)]):
        for name in names:
            lines.append(f"| {number} | `{name}` | {first_sentence(f'lvcd.{name}')} |")
    return "\n".join(lines)


def included(file: Path) -> str:
    """Return a page made elsewhere, without its title."""
    return file.read_text().partition("\n")[2]


# --- notebooks --------------------------------------------------------------------------------------------------------


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by name."""
    parts, pictures = [], {}
    for number, cell in enumerate(json.loads(path.read_text())["cells"]):
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for place, output in enumerate(cell.get("outputs", ())):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{number}-{place}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![output of the code above]({name})")
            else:
                text = "".join(output.get("text") or data["text/plain"])
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts), pictures


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(tree: Path) -> str:
    """Return Markdown tables of all groups and options of a tree of conf/: those of its main file, then each group."""
    main = tree / f"{tree.name}.yaml"
    chosen = {k: v for entry in read(main)[0]["defaults"] if isinstance(entry, dict) for k, v in entry.items()}
    folders = sorted(folder for folder in tree.rglob("*") if any(folder.glob("*.yaml")))
    groups = {str(folder.relative_to(tree)): sorted(folder.glob("*.yaml")) for folder in folders}
    files = [(main, ""), *((file, f"{g}.") for g, choices in groups.items() for file in choices)]
    known: dict[str, str] = {}  # what one file says of an option, for those that only set it
    targets: dict[str, list[str]] = {}  # what is made of the options that begin so
    for file, prefix in files:
        for name, value, text in options(file, prefix):
            known[name] = known.get(name) or text
            if name.endswith("_target_"):
                targets.setdefault(name.removesuffix("_target_"), []).append(value)
    for name in known:
        start, _, key = name.rpartition(".")
        found = (meaning(target, key) for target in targets.get(f"{start}.", ()))
        known[name] = known[name] or next(filter(None, found), "")
    parts = [f"### {tree.name}.yaml", table(options(main, ""), known)]
    for group, choices in groups.items():
        anchor, default = f"{tree.name}-{group.replace('/', '-')}", chosen.get(group)
        parts.append(f"### {group}= {{ #{anchor} }}")
        if "/" in group:
            parts.append(f"Chosen by `{group.partition('/')[0]}=`.")
        else:
            parts.append(f"The default is `{group}={default}`." if default else "Not set by default.")
        for file in choices:
            parts.append(f"#### {group}={file.stem} {{ #{anchor}-{file.stem} }}")
            parts.append(about(file))
            parts.append(table(options(file, f"{group}."), known))
    return "\n\n".join(part for part in parts if part)


@cache
def read(file: Path) -> tuple[dict[str, Any], yaml.MappingNode]:
    """Return what a file says, and its nodes, which know their lines."""
    text = file.read_text()
    return yaml.safe_load(text) or {}, yaml.compose(text)


def about(file: Path) -> str:
    """Return the comment at the head of a file. Lines with a command become code."""
    lines: list[str] = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        text = escaped(line.lstrip("# "))
        if "@package" not in text:
            lines.append(f"\n\n`{text}`\n\n" if re.match(r"(python|lvcd|srun|torchrun) ", text) else text)
    return "\n".join(lines)


def options(file: Path, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield each option as one would type it, its value there, and what it means; `_target_` is among them."""
    value, node = read(file)
    if not isinstance(node, yaml.MappingNode):
        return
    if package := re.search(r"@package (\S+)", file.read_text()):
        prefix = "" if package[1] == "_global_" else f"{package[1]}."
    yield from under(value, node, prefix, file.read_text().splitlines())


def under(
    value: dict[str, Any], node: yaml.MappingNode, prefix: str, lines: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the options of a mapping, and of those in it. A comment belongs to the last option on its line."""
    target = value.get("_target_", "")
    entries = [(key.value, key.start_mark.line, item) for key, item in node.value]
    last = {line: key for key, line, _ in entries}
    for key, line, item in entries:
        if key == "defaults":
            continue
        comment = re.search(r"\s#\s*(.+)$", lines[line])
        beside = escaped(comment[1]) if comment and last[line] == key else ""
        name, inner = f"{prefix}{key}", value[key]
        if isinstance(item, yaml.MappingNode) and inner:
            made = inner.get("_target_", "")
            alone = item.flow_style and len(inner.keys() - {"_target_"}) == 1  # then the comment is its one option's
            if made or (beside and not alone):
                yield name, made.rpartition(".")[2], beside or first_sentence(made)
            on_lines = [""] * len(lines) if item.flow_style and not alone else lines
            yield from under(inner, item, f"{name}.", on_lines)
            continue
        shown = yaml.safe_dump(inner, default_flow_style=True, width=10_000, sort_keys=False).split("\n...")[0].strip()
        yield name, shown, beside or meaning(target, key)


def table(rows: Iterable[tuple[str, str, str]], known: dict[str, str]) -> str:
    lines = []
    for name, value, text in rows:
        if not name.endswith("_target_"):
            same = re.fullmatch(r"\$\{([\w.]+)\}", value)  # the value of another option
            text = text or known.get(name, "") or (f"as `{same[1]}`" if same else "")
            lines.append(f"| `{name}` | {f'`{value}`' if value else ''} | {text} |")
    return "\n".join(["| option | value | meaning |", "|---|---|---|", *lines]) if lines else ""


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


# --- what the code says of an option ----------------------------------------------------------------------------------


@cache
def package() -> griffe.Object:
    loaded = griffe.load("lvcd", search_paths=[ROOT / "src"])
    assert isinstance(loaded, griffe.Object)
    return loaded


@cache
def made_by(target: str) -> griffe.Object | None:
    """Return the class or function of this package that a `_target_` names."""
    library, _, path = target.partition(".")
    try:
        found = package()[path] if library == "lvcd" else None
    except KeyError:
        return None
    return found.final_target if isinstance(found, griffe.Alias) else found


def first_sentence(target: str) -> str:
    found = made_by(target)
    if found is None:
        return f"see `{target}`"
    if not found.docstring:
        return ""
    return escaped(re.split(r"(?<=\.)\s", " ".join(found.docstring.value.split()))[0])


def meaning(target: str, key: str) -> str:
    """Return what the code says of an argument: the text under a field, the comment beside a parameter, or the entry
    of a docstring."""
    found = made_by(target)
    if found is None:
        return f"see `{target}`" if target and not target.startswith("lvcd.") else ""
    field = found.members.get(key)
    if field is not None and field.docstring:
        return escaped(" ".join(field.docstring.value.split()))
    if beside := re.search(rf"^\s*{key}\s*:[^#\n]*(?:\n\s*)?#\s*(.+)$", found.source, re.MULTILINE):
        return escaped(beside[1])
    texts = [part.docstring.value for part in (found, found.members.get("__init__")) if part and part.docstring]
    entry = re.search(rf"^\s*`?{key}`?(?::\s|\s\s+)(.+)$", "\n".join(texts), re.MULTILINE)
    return escaped(entry[1]) if entry else ""
