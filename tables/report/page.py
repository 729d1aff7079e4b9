"""Render a report to one self-contained HTML page and to Markdown."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tables.rendering import grid as grids
from tables.rendering import markup
from tables.rendering.grid import Grid

FOLDER = Path(__file__).resolve().parent
SIDE_BY_SIDE = 4  # a section with at least as many tables has one narrow table per dataset
REMOVED = {"metadata", "script", "title"}  # SVG elements that a page does not show or must not run


@dataclass(frozen=True)
class FigureImage:
    """A figure: the stem of its file, its caption, its SVG without and with the caption inside."""

    name: str
    caption: str
    svg: str
    captioned_svg: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report, shown in the order of these fields; all text is unescaped.

    Attributes:
        anchor: its id in the page.
        commands: lines for a shell.
        wraps: whether its tables hold sentences, which are wrapped.
    """

    anchor: str
    title: str
    text: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    items: Sequence[str] = ()
    commands: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    figures: Sequence[FigureImage] = ()
    wraps: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """The report: title, a line under it, a note in a box, and the sections."""

    title: str
    subtitle: str
    note: str
    sections: Sequence[Section]


def to_html(page: Page) -> str:
    """One file with its style and script inside; its content security policy forbids loading anything."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined,
                              keep_trailing_newline=True)  # fmt: skip
    environment.filters["inline_svg"] = inline_svg
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.jinja").render(
        page=page,
        style=(FOLDER / "report.css").read_text(encoding="utf-8"),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        side_by_side=SIDE_BY_SIDE,
    )


def inline_svg(figure: FigureImage) -> Markup:
    """The SVG as an element of a page: without prolog, scripts and namespaces; its ids get the prefix of its name."""
    root = ElementTree.fromstring(figure.svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in REMOVED:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        values = {_local(name): value for name, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({k: _prefix_ids(k, v, figure.name) for k, v in values.items() if not k.startswith("on")})
    root.attrib |= {"role": "img", "aria-label": figure.caption}
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _prefix_ids(attribute: str, value: str, prefix: str) -> str:
    """An attribute's value with prefixed ids; a link to anything but an id or inline image data is removed."""
    if attribute == "id":
        return f"{prefix}-{value}"
    if attribute == "href":
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value if value.startswith("data:image/") else ""
    return re.sub(r"url\(#", f"url(#{prefix}-", value)


def to_markdown(page: Page) -> str:
    """The same content; it links to figures/NAME.svg, which have their captions inside."""
    parts = [f"# {markup.markdown(page.title)}", markup.markdown(page.subtitle)]
    parts += [f"> **{markup.markdown(page.note)}**"] if page.note else []
    for section in page.sections:
        parts.append(f"## {markup.markdown(section.title)}")
        parts += [markup.markdown(text) for text in section.text]
        if section.facts:
            rows = [[markup.markdown(name), markup.markdown(value)] for name, value in section.facts]
            parts.append(markup.markdown_table(["what", "value"], rows))
        if section.items:
            parts.append("\n".join(f"- {markup.markdown(item)}" for item in section.items))
        if section.commands:
            parts.append(_fenced("\n".join(section.commands)))
        parts += [grids.to_markdown(grid).strip() for grid in section.grids]
        for figure in section.figures:
            parts.append(f"![{markup.markdown(figure.caption)}](figures/{quote(figure.name)}.svg)")
    return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    """A code block; its fence is longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"
