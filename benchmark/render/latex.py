"""Tables in LaTeX with booktabs: a file that compiles as it is, or goes into a paper by \\input."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmark.render.layout import Sheet, Style

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_\hspace{0pt}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "`": r"\`{}",
    "/": r"/\hspace{0pt}", "[": "{[}", "]": "{]}", "-": "-{}",
    # named, since some look like others
    "\N{EM DASH}": "--", "\N{EN DASH}": "--", "\N{MINUS SIGN}": "$-$",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}", "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$", "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$", "\N{DAGGER}": r"\textdagger{}",
    "\N{MICRO SIGN}": r"$\mu$", "\N{DEGREE SIGN}": r"$^{\circ}$",
    "\N{LEFT SINGLE QUOTATION MARK}": "`", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``", "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
}  # fmt: skip
_LETTERS = {
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "œ": r"\oe{}",
    "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
}  # fmt: skip
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": r"\`", "\N{COMBINING ACUTE ACCENT}": r"\'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": r"\^", "\N{COMBINING TILDE}": r"\~",
    "\N{COMBINING DIAERESIS}": r"\"", "\N{COMBINING CEDILLA}": r"\c",
    "\N{COMBINING CARON}": r"\v", "\N{COMBINING BREVE}": r"\u", "\N{COMBINING MACRON}": r"\=",
    "\N{COMBINING DOT ABOVE}": r"\.", "\N{COMBINING DOUBLE ACUTE ACCENT}": r"\H",
    "\N{COMBINING RING ABOVE}": r"\r",
}  # fmt: skip
_ESTIMATE = re.compile(r"(?P<value>\S+) (?P<interval>\[.*\])")
_INLINE = 3
"""Columns of estimates up to which the interval stands beside the value, else below it."""
_LINE = 90
"""Characters of footnote size on a line of 5.5 inches, the space between columns included."""
_STYLES: dict[Style, str] = {"floor": r"\textcolor{black!60}", "ceiling": r"\textit"}

_HEAD = r"""% Written by trialmark. It compiles as it is; to \input it, a paper needs
% \usepackage{booktabs,tabularx,xcolor}
\expandafter\ifx\csname @nodocument\endcsname\relax
\def\trialmarkend{}
\providecommand{\tmlabel}{\label}
\else
\documentclass{article}
\usepackage{booktabs,tabularx,xcolor}
\newcommand{\tmlabel}[1]{}
\setlength{\textwidth}{5.5in}
\setlength{\oddsidemargin}{0.5in}
\def\trialmarkend{\end{document}}
\begin{document}
\fi
\providecommand{\tmbeside}[2]{#1 {\scriptsize #2}}
\providecommand{\tmbelow}[2]{\begin{tabular}[t]{@{}c@{}}#1\\[-2pt]{\scriptsize #2}\end{tabular}}"""


def latex(sheets: Sequence[Sheet]) -> str:
    """A LaTeX file: one floating table a sheet with caption, label and notes; all text escaped.

    Intervals stand beside their values, or below them in tables of many; names wrap where the
    table would be wider than 5.5 inches.
    """
    tables = [_table(sheet, number) for number, sheet in enumerate(sheets, start=1)]
    return "\n\n".join([_HEAD, *tables, r"\trialmarkend"])


def _table(sheet: Sheet, number: int) -> str:
    title = sheet.title.replace(" · ", ", ")
    caption = " ".join([f"{title}.", *sheet.about])
    notes = " ".join(_sentence(note) for note in sheet.notes)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\tmlabel{{tab:trialmark-{number}}}",
        *_tabular(sheet),
    ]
    if notes:
        lines += [
            r"\par\smallskip",
            rf"\begin{{minipage}}{{\linewidth}}\scriptsize {escape(notes)}\end{{minipage}}",
        ]
    return "\n".join([*lines, r"\end{table}"])


def _tabular(sheet: Sheet) -> list[str]:
    macro = r"\tmbeside" if _estimates(sheet) <= _INLINE else r"\tmbelow"
    wide = _width(sheet, macro) > _LINE
    opening = r"\begin{tabularx}{\linewidth}" if wide else r"\begin{tabular}"
    rows = [
        " & ".join(
            _cell(cell, style, bold=(line, place) in sheet.bold, macro=macro if right else "")
            for place, (cell, right) in enumerate(zip(row, sheet.numeric, strict=True))
        )
        + r" \\"
        for line, (row, style) in enumerate(zip(sheet.rows, sheet.styles, strict=True))
    ]
    return [
        rf"{opening}{{@{{}}{_columns(sheet, wide=wide, macro=macro)}@{{}}}}",
        r"\toprule",
        *_header(sheet),
        r"\midrule",
        *_spaced(sheet, rows, apart=macro == r"\tmbelow"),
        r"\bottomrule",
        r"\end{tabularx}" if wide else r"\end{tabular}",
    ]


def _columns(sheet: Sheet, *, wide: bool, macro: str) -> str:
    """The first column wraps in a wide table; estimates with the interval below are centred."""
    first = r">{\raggedright\arraybackslash}X" if wide else ("r" if sheet.numeric[0] else "l")
    stacked = macro == r"\tmbelow"
    rest = ["l" if not right else "c" if stacked else "r" for right in sheet.numeric[1:]]
    space = r"@{\hspace{6pt}}" if wide or stacked else ""
    return space.join([first, *rest])


def _header(sheet: Sheet) -> Iterator[str]:
    """Heads of several lines; equal upper lines beside each other become one, with a rule."""
    heads = [name.split("\n") for name in sheet.header]
    depth = max(map(len, heads))
    padded = [[""] * (depth - len(head)) + head for head in heads]
    for level in range(depth):
        line, rules, column = [], [], 1
        for text, group in groupby(enumerate(padded), key=lambda item: item[1][level]):
            members = [place for place, _ in group]
            merged = level < depth - 1 and text and len(members) > 1
            if merged:
                line.append(rf"\multicolumn{{{len(members)}}}{{c}}{{{escape(text)}}}")
                rules.append(rf"\cmidrule(lr){{{column}-{column + len(members) - 1}}}")
            else:
                line += [_head(text, sheet.numeric[place]) for place in members]
            column += len(members)
        yield " & ".join(line) + r" \\" + " ".join(rules)


def _head(text: str, numeric: bool) -> str:
    if not text:
        return ""
    return rf"\multicolumn{{1}}{{c}}{{{escape(text)}}}" if numeric else escape(text)


def _spaced(sheet: Sheet, rows: Sequence[str], *, apart: bool) -> Iterator[str]:
    """Lines of the table; space between those of two lines, and before a name for several rows."""
    grouped = any(not row[0] for row in sheet.rows)
    for place, (row, line) in enumerate(zip(sheet.rows, rows, strict=True)):
        if place and (apart or (grouped and row[0])):
            yield r"\addlinespace[3pt]"
        yield line


def _cell(text: str, style: Style, *, bold: bool, macro: str) -> str:
    """One cell; `macro` sets value and interval of a number, "" stands for a column of words."""
    found = _ESTIMATE.fullmatch(text) if macro else None
    value = text if found is None else found["value"]
    shown = _minus(escape(value)) if macro else escape(value)
    if bold and shown:
        shown = rf"\textbf{{{shown}}}"
    shown = _styled(shown, style)
    if found is None:
        return shown
    return f"{macro}{{{shown}}}{{{_styled(_minus(escape(found['interval'])), style)}}}"


def _styled(text: str, style: Style) -> str:
    return f"{_STYLES[style]}{{{text}}}" if text and style in _STYLES else text


def _minus(number: str) -> str:
    """A hyphen before a digit as a minus."""
    return re.sub(r"-\{\}(?=[.\d])", "$-$", number)


def _sentence(note: str) -> str:
    return note if note.endswith(".") else f"{note}."


def _estimates(sheet: Sheet) -> int:
    """The most estimates that a row holds."""
    return max(
        (sum(_ESTIMATE.fullmatch(cell) is not None for cell in row) for row in sheet.rows),
        default=0,
    )


def _width(sheet: Sheet, macro: str) -> float:
    """About how many characters a line takes; small print counts .85, space between columns 3."""
    total = 0.0
    for place, head in enumerate(sheet.header):
        widths = [len(part) for part in head.split("\n")[-1:]]
        for row in sheet.rows:
            found = _ESTIMATE.fullmatch(row[place])
            if found is None:
                widths.append(len(row[place]))
            else:
                value, small = len(found["value"]), 0.85 * len(found["interval"])
                widths.append(
                    round(max(value, small) if macro == r"\tmbelow" else value + 1 + small)
                )
        total += max(widths) + 3
    return total


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, in ASCII; what its own fonts can't set becomes its code."""
    return "".join(map(_escaped, unicodedata.normalize("NFC", text)))


def _escaped(character: str) -> str:
    known = _SPECIAL.get(character, _LETTERS.get(character))
    if known is not None:
        return known
    if character.isascii():
        return character if character.isprintable() else " "
    parts = unicodedata.normalize("NFD", character)
    letter, accent = parts[0], _ACCENTS.get(parts[1:])
    if letter.isascii() and letter.isalpha() and accent is not None:
        return f"{accent}{{{letter}}}"
    return " " if character.isspace() else f"{{[}}U+{ord(character):04X}{{]}}"
