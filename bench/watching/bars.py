"""Horizontal bars with confidence intervals, as an SVG. Equal figures give an equal file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

BAR_COLOUR, LINE_COLOUR = "#0072B2", "#333333"
WIDTH, LABELS, FIGURES, ROW, HEAD = 900, 250, 190, 24, 44
"""px: of the picture, of the labels and of the figures beside the bars; height of a bar's row and of a heading."""


@dataclass(frozen=True)
class Bar:
    """A figure with its interval; text stands at the right."""

    label: str
    value: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Panel:
    """Bars on one scale, from 0 to `most`."""

    title: str
    bars: Sequence[Bar]
    most: float


def svg(panels: Sequence[Panel]) -> str:
    """A picture of the panels, one below the other."""
    height = sum(HEAD + ROW * len(panel.bars) for panel in panels) + ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    top = 0
    for panel in panels:
        lines.append(f'<text x="12" y="{top + 28}" font-size="15">{escape(panel.title)}</text>')
        for row, bar in enumerate(panel.bars):
            lines += _bar(bar, panel.most, top + HEAD + ROW * row)
        top += HEAD + ROW * len(panel.bars)
    return "\n".join([*lines, "</svg>", ""])


def _bar(bar: Bar, most: float, top: int) -> list[str]:
    scale = (WIDTH - LABELS - FIGURES) / most

    def at(value: float) -> str:
        return f"{LABELS + min(value, most) * scale:.1f}"

    middle, text = top + ROW // 2, f'y="{top + ROW // 2 + 5}" fill="{LINE_COLOUR}"'
    return [
        f'<text x="{LABELS - 8}" {text} text-anchor="end">{escape(bar.label)}</text>',
        f'<rect x="{LABELS}" y="{top + 4}" width="{min(bar.value, most) * scale:.1f}" height="{ROW - 8}" fill="{BAR_COLOUR}"/>',
        f'<line x1="{at(bar.low)}" x2="{at(bar.high)}" y1="{middle}" y2="{middle}" stroke="{LINE_COLOUR}" stroke-width="2"/>',
        f'<text x="{WIDTH - FIGURES + 10}" {text}>{escape(bar.text)}</text>',
    ]
