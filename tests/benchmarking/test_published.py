"""The cost model beside published measurements: every row within its bar, and the document as the script has it."""

from __future__ import annotations

import pytest

from benchmarks.published import DOCUMENT, Row, document, rows

ROWS = list(rows())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_every_row_is_within_its_bar(row: Row) -> None:
    assert row.modelled > 0
    assert row.bar is not None or row.why, "a row without a bar needs its reason"
    assert row.holds, f"{row.error:+.1f} % is beyond {row.bar} %"


def test_what_the_table_must_have() -> None:
    bars = {row.what: row.bar for row in ROWS}
    boards = [name for name in bars if "STM32" in name]
    assert sum("latency" in name for name in boards) >= 3
    assert all(bars[name] == (30 if "latency" in name else 50) for name in boards)
    assert not any("U575" in name for name in boards), "it was fitted on that one"
    assert [bar for name, bar in bars.items() if "RENETA sheet" in name] == [5, 5]
    assert [bar for name, bar in bars.items() if "dense : 87 % sparse" in name] == [20, 20]


def test_a_row_outside_of_its_bar_does_not_hold() -> None:
    assert not Row("x", "ms", 10.0, 13.1, 30, "").holds
    assert Row("x", "ms", 10.0, 7.1, 30, "").holds
    assert Row("x", "ms", 10.0, 99.0, None, "known").holds


def test_the_document_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text, "python -m benchmarks.published --write"
