"""A report as data, and the two languages that it is printed in: one self-contained HTML page, and Markdown."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from tables.rendering import grid as grids
from tables.rendering import markup
from tables.rendering.grid import Grid

HERE = Path(__file__).resolve().parent
SIDE_BY_SIDE = 4  # so many tables of a section are narrow ones, a dataset each
NOT_DRAWN = {"metadata", "script", "title"}  # of an SVG: what a page does not show, or must not run


@dataclass(frozen=True)
class Picture:
    """A figure: its file's stem, its caption, itself as SVG, and again with the caption inside, as its file has it."""

    name: str
    caption: str
    svg: str
    captioned: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report, printed in the order of these fields; all text is unescaped.

    Attributes:
        anchor: its address in the page.
        wordy: whether its tables hold sentences more than numbers.
        commands: lines for a shell.
    """

    anchor: str
    title: str
    text: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    items: Sequence[str] = ()
    commands: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    pictures: Sequence[Picture] = ()
    wordy: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report: its title, a line under it, what a reader must know first, and its sections."""

    title: str
    subtitle: str
    note: str
    sections: Sequence[Section]


def to_html(page: Page) -> str:
    """One file that loads nothing: its style and script stand in it, and its policy allows no other."""
    style, script = (HERE / "report.css").read_text(), (HERE / "report.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<li><a href="#{html.escape(s.anchor)}">{html.escape(s.title)}</a></li>' for s in page.sections)
    note = f'<p class="note"><strong>{html.escape(page.note)}</strong></p>\n' if page.note else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(page.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{html.escape(page.title)}</h1>\n<p>{html.escape(page.subtitle)}</p>\n{note}"
        f"<nav><ul>{links}</ul></nav>\n</header>\n<main>\n"
        + "\n".join(map(_html_section, page.sections))
        + f"\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _html_section(section: Section) -> str:
    parts = [f'<section id="{html.escape(section.anchor)}">\n<h2>{html.escape(section.title)}</h2>']
    parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
    if section.facts:
        pairs = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in section.facts)
        parts.append(f"<dl>\n{pairs}\n</dl>")
    if section.items:
        parts.append("<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in section.items) + "\n</ul>")
    if section.commands:
        parts.append("<pre><code>" + html.escape("\n".join(section.commands)) + "</code></pre>")
    kind = "table wordy" if section.wordy else "table"
    tables = [f'<div class="{kind}" tabindex="0">\n{grids.to_html(grid)}</div>' for grid in section.grids]
    parts += [f'<div class="side">\n{"".join(tables)}</div>'] if len(tables) >= SIDE_BY_SIDE else tables
    for picture in section.pictures:
        caption = html.escape(picture.caption)
        parts.append(f"<figure>\n{inline_svg(picture)}\n<figcaption>{caption}</figcaption>\n</figure>")
    return "\n".join(parts) + "\n</section>"


def inline_svg(picture: Picture) -> str:
    """An SVG as part of a page: no prolog, script or namespace, and its ids are its own among all pictures'."""
    root = ElementTree.fromstring(picture.svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in NOT_DRAWN:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        values = {_local(name): value for name, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({k: _own_ids(k, v, picture.name) for k, v in values.items() if not k.startswith("on")})
    root.attrib |= {"role": "img", "aria-label": picture.caption}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _own_ids(attribute: str, value: str, prefix: str) -> str:
    if attribute == "id":
        return f"{prefix}-{value}"
    if attribute == "href":
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value if value.startswith("data:image/") else ""
    return re.sub(r"url\(#", f"url(#{prefix}-", value)


def to_markdown(page: Page) -> str:
    """The same content; pictures are the files figures/NAME.svg beside it, with their captions inside."""
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
        for picture in section.pictures:
            parts.append(f"![{markup.markdown(picture.caption)}](figures/{quote(picture.name)}.svg)")
    return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"
