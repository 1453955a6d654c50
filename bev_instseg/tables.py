"""Markdown tables and the cells in them."""

import math
from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table, the first column aligned left and the others right.

    Args:
        rows: The header, then rows of the same length.

    Returns:
        The lines of the table, without a line break at the end.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *">" * (len(widths) - 1)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        f"| {' | '.join(map('{:{}{}}'.format, row, sides, widths))} |"
        for row in [rows[0], rule, *rows[1:]]
    )


def table_cell(value: float) -> str:
    """Format a count as an integer, a ratio in percent with one decimal, and NaN as ``-``.

    Args:
        value: An int is a count, a float a ratio 0..1.
    """
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
