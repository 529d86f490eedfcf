"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelearn.device.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4096", 4096),
        ("256KiB", 262144),
        ("256 kib", 262144),
        ("1M", 1 << 20),
        ("1.5MiB", 1572864),
        ("64kB", 64000),
        ("2GB", 2 * 10**9),
        ("7B", 7),
        (" 0.5k ", 512),
        ("1GiB", 1 << 30),
        ("256 kb", 256000),
        ("999999999999999K", 999999999999999 * 1024),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "KiB", "1.5B", "1.1K", "-1", "1e3", "1 iB", "1TiB", "1KiBs", "256 Ki B", "1.2.3k", "nan", "٣k", "9" * 5000],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_size(text)


@given(st.integers(0, 1 << 40))
def test_sizes_are_read_back(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes
