"""Kernels of this package lie in a cache that is named after its sources, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelearn.jit import cache_folder


def test_a_changed_module_beside_a_kernel_means_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    beside = tmp_path / "package"
    beside.mkdir()
    (beside / "helper.py").write_text("a = 1\n")
    cache_folder.cache_clear()
    try:
        own, first = cache_folder(), cache_folder(beside)
        (beside / "helper.py").write_text("a = 2\n")
        cache_folder.cache_clear()
        second = cache_folder(beside)
        assert cache_folder() == own
    finally:
        cache_folder.cache_clear()
    assert len({own, first, second, None}) == 4
