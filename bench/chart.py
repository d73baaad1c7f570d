"""The rows of a section as an SVG picture: one bar per competitor, shorter is better."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.peek import TWIN
from bench.workload import SUBJECT, Row

WIDTH, LABEL, NUMBER = 760, 190, 130
LINE, GAP = 18, 30
LEFT_OUT = (TWIN,)
"""Its bar would leave no room for the others."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.own { fill: #0969da }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .bar { fill: #6e7681 } .own { fill: #4493f8 } }
"""


def svg(rows: Sequence[Row], what: str = "CPU time per event, shorter is better") -> str:
    """A picture of the rows; every row has its own scale."""
    parts: list[str] = []
    top = GAP
    for row in rows:
        top = _row(parts, row, top)
    title = escape(f"{rows[0].section}: {what}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
        ' role="img">'
        f"<title>{title}</title><style>{STYLE}</style>" + "".join(parts) + "</svg>\n"
    )


def _row(parts: list[str], row: Row, top: int) -> int:
    timings = {name: timing.median for name, timing in row.timings.items() if name not in LEFT_OUT}
    longest = max(timings.values())
    parts.append(f'<text class="title" x="8" y="{top - 8}">{escape(f"{row.section}, {row.name}")}</text>')
    for name, median in timings.items():
        width = max(1.0, (WIDTH - LABEL - NUMBER) * median / longest)
        kind = "own" if name.startswith(SUBJECT) else "bar"
        times = "" if name == SUBJECT else f" ({row.ratio(name):.2f}x)"
        parts.append(
            f'<text x="{LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{LABEL}" y="{top + 2}" width="{width:.1f}" height="{LINE - 5}"/>'
            f'<text x="{LABEL + width + 6:.1f}" y="{top + 12}">{duration(median)}{times}</text>'
        )
        top += LINE
    return top + GAP


def duration(nanoseconds: float) -> str:
    """Three digits and a unit: 284 ns, 1.12 us, 23.4 us, 1.20 ms."""
    size, unit = (1e6, "ms") if nanoseconds >= 999_500 else (1e3, "us") if nanoseconds >= 999.5 else (1.0, "ns")
    value = nanoseconds / size
    digits = 0 if unit == "ns" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"
