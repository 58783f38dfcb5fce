"""Drawing with the dots of braille characters: two columns and four rows of dots in every cell of the terminal."""

from __future__ import annotations

import re

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot: left and right column, from the top."""
_RUNS = tuple(tuple(tuple(sum(column[begin : end + 1]) for end in range(4)) for begin in range(4)) for column in _DOTS)
"""The bits of a column's dots from one row to another."""
_CHARS = {bits: chr(0x2800 + bits) if bits else " " for bits in range(256)}
_PARTS = re.compile(rb"\x00*([^\x00])(?:\x00|\1)*|\x00+", re.DOTALL)
"""A run of cells of one layer, with the empty ones around it."""
EMPTY = 0
"""The layer of a cell that nothing was drawn into."""

Part = tuple[str, int]
"""Some characters of a line, and the layer that they belong to."""


class Canvas:
    """Cells to draw into, in layers: a cell shows the dots of the highest layer that was drawn into it, and only those.

    So a line stays a line where points lie around it, also without colours.

    Args:
        width: Cells in a line.
        height: Lines.

    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = bytearray(width * height)
        self._layers = bytearray(width * height)
        self._marks: dict[int, str] = {}

    def run(self, column: int, begin: int, end: int, layer: int) -> None:
        """Draw the dots of a column from row `begin` down to row `end`; what lies outside is left out.

        Args:
            column: Column of dots, from the left.
            begin: Row of dots, from the top.
            end: The same, not above `begin`.
            layer: From 1 on; higher ones hide lower ones.

        """
        begin, end = max(begin, 0), min(end, 4 * self.height - 1)
        if begin > end or not 0 <= column < 2 * self.width:
            return
        masks, first, last = _RUNS[column & 1], begin >> 2, end >> 2
        for row in range(first, last + 1):
            cell = row * self.width + (column >> 1)
            before = self._layers[cell]
            if before > layer:
                continue
            bits = masks[begin & 3 if row == first else 0][end & 3 if row == last else 3]
            self._bits[cell] = bits if before < layer else self._bits[cell] | bits
            self._layers[cell] = layer
            if self._marks and before < layer:
                self._marks.pop(cell, None)

    def dot(self, column: int, row: int, layer: int) -> None:
        """Draw one dot, which lies inside."""
        cell = (row >> 2) * self.width + (column >> 1)
        before = self._layers[cell]
        if before > layer:
            return
        bit = _DOTS[column & 1][row & 3]
        self._bits[cell] = bit if before < layer else self._bits[cell] | bit
        self._layers[cell] = layer
        if self._marks and before < layer:
            self._marks.pop(cell, None)

    def mark(self, column: int, row: int, char: str, layer: int) -> None:
        """Put a character of one cell's width where a dot would stand."""
        if 0 <= column < 2 * self.width and 0 <= row < 4 * self.height:
            cell = (row >> 2) * self.width + (column >> 1)
            if self._layers[cell] <= layer:
                self._marks[cell], self._layers[cell] = char, layer

    def lines(self) -> list[list[Part]]:
        """The lines in parts of one layer each; empty cells belong to the part before them, which saves changes."""
        return [self._line(row) for row in range(self.height)]

    def _line(self, row: int) -> list[Part]:
        begin, end = row * self.width, (row + 1) * self.width
        text = self._bits[begin:end].decode("latin-1").translate(_CHARS)
        if self._marks and any(begin <= cell < end for cell in self._marks):
            chars = list(text)
            for cell, char in self._marks.items():
                if begin <= cell < end:
                    chars[cell - begin] = char
            text = "".join(chars)
        found = _PARTS.finditer(bytes(self._layers[begin:end]))
        return [(text[part.start() : part.end()], ord(part[1] or b"\0")) for part in found]
