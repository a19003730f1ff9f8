r"""Tables for LaTeX, with booktabs. pdflatex reads them as they are: what it has no letter for is written as U+XXXX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from kdrun.report.sheet import Sheet
from kdrun.report.text import plain

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}",
}  # fmt: skip
LETTERS = {
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\ldots{}", "‘": "`", "’": "'",
    "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "•": r"\textbullet{}",
    "²": "$^2$", "³": "$^3$", "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$", "−": "$-$", "°": r"$^\circ$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "→": r"$\to$", "←": r"$\leftarrow$",
    "√": r"$\surd$", "∞": r"$\infty$", "✓": r"$\surd$", "µ": r"$\mu$",
}  # fmt: skip
# Greek letters that TeX names otherwise than Unicode does, or does not name since Latin has them.
GREEK = {"lamda": "lambda", "omicron": "o", "final sigma": "varsigma"}
LATIN_CAPITALS = {
    "alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K", "mu": "M", "nu": "N",
    "omicron": "O", "rho": "P", "tau": "T", "chi": "X",
}  # fmt: skip
ACCENTS = frozenset("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
OWN_LETTERS = frozenset("ßæøœåłÆØŒÅŁ")
NUMBER = re.compile(r"(?<![\w.])(-?)(\d+(?:\.\d+)?)(?:e(-?\d+))?")


def latex_table(sheet: Sheet, caption: str, label: str) -> str:
    """A sheet as a floating table, its notes below it. No text of it is read as a command.

    `label` is what references call it: letters, digits, `-` and `:`, anything else becomes `-`.
    """
    alignment = "".join("r" if column in sheet.numeric else "l" for column in range(len(sheet.headings)))
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(caption)}}}",
        rf"  \label{{{re.sub(r'[^A-Za-z0-9:-]', '-', label)}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        f"    {_line([latex(name) for name in sheet.headings])}",
        r"    \midrule",
        *_body(sheet),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(rf"  \par\smallskip {{\footnotesize {latex(note)}}}" for note in sheet.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _body(sheet: Sheet) -> list[str]:
    lines = []
    for place, row in enumerate(sheet.rows):
        cells = [_number(cell) if column in sheet.numeric else latex(cell) for column, cell in enumerate(row)]
        if place in sheet.stressed:
            cells = [rf"\textbf{{{cell}}}" if cell else cell for cell in cells]
        lines.append(f"    {_line(cells)}")
        if place in sheet.ruled and place + 1 < len(sheet.rows):
            lines.append(r"    \midrule")
    return lines


def _line(cells: Sequence[str]) -> str:
    # What stands in brackets, or a star, after the end of a row would be taken for its argument.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return rf"{guard}{' & '.join(cells)} \\"


def _number(cell: str) -> str:
    """A cell of numbers, with real minus signs and powers of ten."""
    return NUMBER.sub(_mathematics, latex(cell))


def _mathematics(found: re.Match[str]) -> str:
    sign, digits, exponent = found.groups()
    if exponent:
        return rf"${sign}{digits}\times10^{{{exponent}}}$"
    return f"${sign}{digits}$" if sign else digits


def latex(text: str) -> str:
    """The text as it stands, in LaTeX: no command, ligature or unknown letter comes of it."""
    characters = plain(unicodedata.normalize("NFC", text))
    return re.sub(r"--+", lambda dashes: "{}".join(dashes[0]), "".join(map(_character, characters)))


def _character(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    if char.isascii() or char in OWN_LETTERS or _is_accented(char):
        return char
    return LETTERS.get(char) or _greek(char) or rf"\texttt{{U+{ord(char):04X}}}"


def _is_accented(char: str) -> bool:
    """Whether every font of LaTeX has the letter: a Latin one with an accent."""
    parts = unicodedata.normalize("NFD", char)
    return parts[0].isascii() and len(parts) == 2 and parts[1] in ACCENTS


def _greek(char: str) -> str:
    """A Greek letter in mathematics; empty for any other."""
    found = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+|FINAL SIGMA)", unicodedata.name(char, ""))
    if not found:
        return ""
    name = GREEK.get(found[2].lower(), found[2].lower())
    if found[1] == "CAPITAL":
        capital = LATIN_CAPITALS.get(name)
        return rf"$\mathrm{{{capital}}}$" if capital else rf"$\{name.capitalize()}$"
    return "o" if name == "o" else rf"$\{name}$"
