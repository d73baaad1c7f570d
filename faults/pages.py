"""The tables of ``docs/faults.md`` and its Chinese twin: what the last run of each row came to."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from faults.chinese import FAULTS
from faults.report import Result
from faults.table import Row
from napcore import COMPILED, __version__

__all__ = ("DOCS", "update")

DOCS: Final = Path(__file__).parents[1] / "docs"

HEADS: Final = {
    "faults.md": "| row | fault | expected | loop | result | figures (bound) | run |\n",
    "faults.zh-CN.md": "| 行 | 故障 | 应有的结果 | 循环 | 结果 | 数值（界限） | 运行 |\n",
}
RULE: Final = "|---|---|---|---|---|---|---|\n"
TABLE: Final = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.S)


def update(results: Sequence[Result], table: Mapping[str, Row], docs: Path = DOCS, *, quick: bool = False) -> None:
    """Put the results in the place of earlier ones of the same rows and loops; rows that are no more are left out."""
    places = {name: at for at, name in enumerate(table)}
    for name, head in HEADS.items():
        path = docs / name
        text = path.read_text("utf-8")
        found = TABLE.search(text)
        assert found is not None, f"{path} has no place for results"
        lines = {
            (cells[1].strip(), cells[4].strip()): line
            for line in found[0].splitlines()[2:]
            if (cells := line.split("|"))[1].strip() in table
        }
        for result in results:
            lines[result.row.name, result.backend] = _line(result, FAULTS if "zh" in name else {}, quick)
        ordered = sorted(lines, key=lambda key: (places[key[0]], key[1]))
        rows = "".join(f"{lines[key]}\n" for key in ordered)
        path.write_text(text[: found.start()] + head + RULE + rows + text[found.end() :], "utf-8")


def _line(result: Result, names: Mapping[str, tuple[str, str]], quick: bool) -> str:
    row = result.row
    fault, expected = names.get(row.name, (row.fault, row.expected))
    core = ("" if COMPILED else ", plain core") + (", --quick" if quick else "")
    run = f"{time.strftime('%Y-%m-%d', time.gmtime())}, napcore {__version__}{core}, Python {platform.python_version()}"
    cells = (row.name, fault, expected, result.backend, result.verdict, "; ".join(result.figures), run)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
