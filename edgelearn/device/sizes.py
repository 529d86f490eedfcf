"""Sizes in bytes as people write them."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB

# so many digits that nothing is lost in integers, and so few that nobody can ask for a day of arithmetic
_SIZE = re.compile(r"\s*([0-9]{1,15})(?:\.([0-9]{1,6}))?\s*([kKmMgG]?)(i?)([bB]?)\s*")


def parse_size(text: str) -> int:
    """Return the bytes of a text such as "256KiB", "64 kB", "1M" or "4096"; kB is 1000, KiB and K are 1024.

    Raises ValueError for anything else, and for parts of a byte.
    """
    match = _SIZE.fullmatch(text)
    if not match or (match[4] and not match[3]):
        raise ValueError(f"not a size: {text!r:.60}")
    base = 1000 if match[3] and match[5] and not match[4] else KIB
    fraction = match[2] or ""
    factor: int = base ** " KMG".index(match[3].upper() or " ")
    scale: int = 10 ** len(fraction)
    size, rest = divmod(int(match[1] + fraction) * factor, scale)
    if rest:
        raise ValueError(f"not a whole number of bytes: {text!r}")
    return size


def format_size(size_bytes: int) -> str:
    """Return `size_bytes` as a text that `parse_size` reads back to the same number."""
    for unit, name in ((1024 * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return f"{size_bytes}B"
