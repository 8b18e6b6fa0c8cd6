"""Tables of results: cells of text, formatted numbers, and printing on lines of any length.

No cell is ever cut. In a pipe or file every row is one line. On a terminal that is too narrow, prose is wrapped between
words, then columns move below into further blocks, then every row becomes a list of its cells.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from experiments.run.console import columns_of, encodable

PROSE = 32  # a wider column with spaces holds sentences, which may be wrapped
MIN_PROSE = 20  # characters of a line of prose, on a narrow terminal
GAP = "  "


class Table(NamedTuple):
    """A title, the names of the columns, and cells of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """Rows of cells; an empty row stands for a line between two groups."""


class Layout(NamedTuple):
    """How the tables of a program are printed."""

    justify: Literal["left", "right"] = "left"
    """Justification of all columns but the first."""


def show(tables: Sequence[Table], console: Console, layout: Layout | None = None) -> None:
    """Print tables. A cell of the first column stays blank if it repeats the one above."""
    width, encoding = columns_of(console), getattr(console.file, "encoding", None)
    for table in tables:
        title, columns, *rows = (
            tuple(_clean(cell, encoding) for cell in cells)
            for cells in ((table.title,), table.columns, *table.rows)
        )
        console.print()
        console.print(Text(title[0], style="bold"))
        for line in lay_out_table(columns, rows, width, (layout or Layout()).justify):
            console.print(line)


def _clean(cell: str, encoding: str | None) -> str:
    """Return the characters that a terminal shows as they are, in one line."""
    text = encodable(cell, encoding)
    return "".join(character if character.isprintable() else " " for character in text)


def lay_out_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, justify: str = "left"
) -> list[Text]:
    """Return the lines of a table.

    Args:
        columns: names of the columns.
        rows: cells of the rows; an empty row becomes a line.
        width: characters of a line, None if lines may have any length.
        justify: justification of all columns but the first, "left" or "right".
    """
    grid = _Grid(columns, rows)
    widths = grid.fit(range(len(columns)), width)
    if widths is not None:
        return grid.block(widths, justify)
    blocks = grid.blocks(width or 0)
    if blocks is None:
        return grid.records(width or 0)
    lines = [line for block in blocks for line in (*grid.block(block, justify), Text())]
    note = f"({len(blocks)} blocks of columns; wider lines have them side by side)"
    return [*lines, *(Text(line, style="dim") for line in _wrap(note, width or 0))]


class _Grid:
    """Names and cells of a table, with the widths that its columns want and need."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.columns, self.rows = tuple(columns), [tuple(row) for row in rows]
        filled = [row for row in self.rows if row]
        cells = [[row[i] for row in (self.columns, *filled)] for i in range(len(self.columns))]
        self.natural = [max(map(cell_len, column)) for column in cells]
        self.least = [
            max(MIN_PROSE, *(cell_len(word) for cell in column for word in cell.split(" ")))
            if natural > PROSE and any(" " in cell for cell in column)
            else natural
            for column, natural in zip(cells, self.natural, strict=True)
        ]
        self.least = [min(pair) for pair in zip(self.least, self.natural, strict=True)]
        unique = (k for k in range(1, 4) if len({row[:k] for row in filled}) == len(filled))
        self.keys = next(unique, 1)
        """Number of first columns that name a row; every block repeats them."""

    def fit(self, indices: Sequence[int], width: int | None) -> dict[int, int] | None:
        """Return a width for each of these columns so that a line fits, None if there is none."""
        widths = {i: self.least[i] for i in indices}
        if width is None:
            return {i: self.natural[i] for i in indices}
        spare = width - sum(widths.values()) - len(GAP) * (len(widths) - 1)
        if spare < 0:
            return None
        wanted = {i: self.natural[i] - widths[i] for i in indices}
        total = sum(wanted.values())
        return {i: w + min(wanted[i], spare * wanted[i] // max(total, 1)) for i, w in widths.items()}

    def blocks(self, width: int) -> list[dict[int, int]] | None:
        """Return the widths of the columns of each block, None if a column does not fit beside the names of rows."""
        keys, blocks = list(range(self.keys)), []
        block = list(keys)
        for i in range(self.keys, len(self.columns)):
            if self.fit([*keys, i], width) is None:
                return None
            if self.fit([*block, i], width) is None:
                blocks.append(block)
                block = list(keys)
            block.append(i)
        widths = [self.fit(indices, width) for indices in (*blocks, block)]
        return [fitting for fitting in widths if fitting is not None]

    def block(self, widths: dict[int, int], justify: str) -> list[Text]:
        """Return the lines of the table with these columns."""
        rule = Text(GAP.join("─" * width for width in widths.values()), style="dim")
        lines = [*self._row([self.columns[i] for i in widths], widths, justify, "bold"), rule]
        rows = self._rows_with_cells([i for i in widths if i >= self.keys])
        first = [row[0] for row in rows if row]
        is_grouped, previous = len(set(first)) < len(first), None
        for row in rows:
            if not row or (is_grouped and previous not in (None, row[0])):
                lines.append(rule if not row else Text())
            if row:
                cells = [row[i] for i in widths]
                cells[0] = "" if row[0] == previous else row[0]
                lines += self._row(cells, widths, justify, "")
            previous = row[0] if row else None
        return lines

    def _rows_with_cells(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """Return the rows that have a cell in one of these columns, without a line after the last one."""
        rows = [row for row in self.rows if not row or not indices or any(row[i] for i in indices)]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @staticmethod
    def _row(cells: Sequence[str], widths: dict[int, int], justify: str, style: str) -> list[Text]:
        """Return the lines of one row, whose cells may have several lines."""
        wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths.values(), strict=True)]
        lines = []
        for number in range(max(map(len, wrapped))):
            parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
            pads = [
                " " * (width - cell_len(part)) for part, width in zip(parts, widths.values(), strict=True)
            ]
            pairs = zip(parts[1:], pads[1:], strict=True)
            rest = (pad + part if justify == "right" else part + pad for part, pad in pairs)
            lines.append(Text(GAP.join((parts[0] + pads[0], *rest)).rstrip(), style=style))
        return lines

    def records(self, width: int) -> list[Text]:
        """Return every row as a list of its cells, each with the name of its column."""
        lines = []
        for row in filter(None, self.rows):
            cells = [(name, cell) for name, cell in zip(self.columns, row, strict=False) if cell]
            for number, (name, cell) in enumerate(cells):
                indent = GAP if number else ""
                text = f"{name}: {cell}" if name and number else cell
                lines += [Text(indent + line) for line in _wrap(text, max(width - len(indent), 1))]
            lines.append(Text())
        return lines


def _wrap(text: str, width: int) -> list[str]:
    """Return the text in lines of at most this width, broken at spaces only."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        lines = [*lines[:-1], joined] if cell_len(joined) <= width or not lines[-1] else [*lines, word]
    return lines


def number(value: float | None, digits: int = 3) -> str:
    """Format a number in fixed point, without a negative zero, or None as "infinite"."""
    if value is None:
        return "infinite"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Format an interval as [low, high], or as a dash if an end is None or NaN."""
    if low is None or high is None or low != low or high != high:
        return "-"
    return f"[{number(low, digits)}, {number(high, digits)}]"


def percent(share: float | None) -> str:
    """Format a share of 1 in percent with one decimal, or None as a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"
