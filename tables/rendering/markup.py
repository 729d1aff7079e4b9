"""Escape text for Markdown and LaTeX.

LaTeX has a table of its own: pylatexenc also writes macros that need packages or font encodings, such as \\cyra."""

import unicodedata

from tabulate import tabulate

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
          "|": r"\textbar{}", "*": "{*}", "[": "{[}", "]": "{]}",  # * and [ would belong to \\ before them
          "\N{NO-BREAK SPACE}": "~", "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''",
          "…": r"\ldots{}", "§": r"\S{}", "¶": r"\P{}", "©": r"\copyright{}", "•": r"$\bullet$", "°": r"$^{\circ}$",
          "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
          "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
          "±": r"$\pm$", "−": "$-$", "×": r"$\times$", "÷": r"$\div$", "·": r"$\cdot$", "≥": r"$\geq$", "≤": r"$\leq$",
          "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$", "∈": r"$\in$", "√": r"$\surd$", "∑": r"$\sum$",
          "←": r"$\leftarrow$", "→": r"$\rightarrow$", "↑": r"$^{\uparrow}$", "↓": r"$^{\downarrow}$",
          "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "µ": r"$\mu$"}  # fmt: skip
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi"
_CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"  # the others look like Latin ones
for _name in f"{_GREEK} omega {_CAPITALS}".split():
    _case = "SMALL" if _name.islower() else "CAPITAL"
    _LATEX[unicodedata.lookup(f"GREEK {_case} LETTER {_name.upper().replace('LAMBDA', 'LAMDA')}")] = rf"$\{_name}$"
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
            "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"}  # fmt: skip
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]#|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def latex(text: str) -> str:
    """Escape text for any font encoding, without packages; a character without a macro becomes its code: [U+4E2D]."""
    return "".join(map(_latex_character, " ".join(unicodedata.normalize("NFC", text).split())))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if " " <= character <= "\N{TILDE}":
        return character
    kind, _, rest = unicodedata.decomposition(character).rpartition(">")
    parts = [chr(int(code, 16)) for code in rest.split()]
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    if not parts:
        return f"{{[}}U+{ord(character):04X}{{]}}"
    simpler = "".join(map(_latex_character, parts))
    return f"\\text{kind[1:]}script{{{simpler}}}" if kind in ("<super", "<sub") else simpler


def markdown(text: str) -> str:
    """Escape text, also for the cells of a table."""
    return " ".join(text.translate(_MARKDOWN).split())


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A pipe table of escaped cells; the first column is left-aligned, the others right-aligned."""
    alignment = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(rows, headers=header, tablefmt="pipe", colalign=alignment, disable_numparse=True)
