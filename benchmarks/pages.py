"""Blocks of the documentation that a command writes: what stands between two marks of a page."""

from __future__ import annotations


def with_block(page: str, begin: str, end: str, block: str) -> str:
    """Return the text of a page with `block`, lines with their ends, between the lines `begin` and `end`."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{block}\n{end}{after}"
