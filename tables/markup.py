"""Text into Markdown and LaTeX: escaping, bold, and whole files or none."""

from tabulate import tabulate

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
          "±": r"$\pm$", "—": "---", "−": "$-$", "↓": r"$^{\downarrow}$", "†": r"$^{\dagger}$",
          "‡": r"$^{\ddagger}$", "×": r"$\times$"}  # fmt: skip
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]#|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def latex(text: str) -> str:
    """Any text as LaTeX prints it literally."""
    return "".join(_LATEX.get(character, character) for character in text)


def markdown(text: str) -> str:
    """Any text as Markdown prints it literally, inside a table cell too."""
    return " ".join(text.translate(_MARKDOWN).split())


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A pipe table; the first column to the left, numbers to the right. Cells are taken as they are."""
    alignment = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(rows, headers=header, tablefmt="pipe", colalign=alignment, disable_numparse=True)
