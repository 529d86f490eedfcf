"""`edgelearn export`, as a user types it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import firmware_sim
from edgelearn.cli.main import main
from edgelearn.firmware import export as exporting
from tests.cli.typed import Cli

pytestmark = pytest.mark.usefixtures("home")

HEADERS = {"edgelearn_config.h", "edgelearn_tables.h", "edgelearn_model.h", "edgelearn_golden.h"}


def test_the_files_are_listed_and_whole(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    *files, summary = cli("export", "--format", "c", "--out", str(out), "--json").lines
    sources = Path(firmware_sim.__file__).parent / "firmware"
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {line["event"] for line in files} == {"file"}
    assert {Path(line["path"]).name: line["bytes"] for line in files} == {n: len(b) for n, b in written.items()}
    assert written.keys() == HEADERS | {path.name for path in sources.glob("*.[ch]")}
    assert all(written[path.name] == path.read_bytes() for path in sources.glob("*.[ch]"))
    assert summary["event"] == "summary"
    assert summary["arena_bytes"] <= 256 * 1024 - exporting.RESERVE_BYTES
    assert f"el_model_image[{summary['image_bytes']}]" in written["edgelearn_model.h"].decode()
    assert f"#define EL_TAPE_FRAMES {summary['tape_frames']}\n" in written["edgelearn_config.h"].decode()
    assert [path.name for path in out.parent.iterdir()] == ["folder"]
    # a second export is the same, and leaves nothing else behind and what else there is alone
    (out / "main.c").write_text("mine")
    cli("export", "--format", "c", "--out", str(out))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written | {"main.c": b"mine"}


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_what_was_there(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    out = tmp_path / "disk" / "out"
    if there:
        out.mkdir(parents=True)
        (out / "edgelearn_config.h").write_text("old")
    write = Path.write_text

    def fill_up(path: Path, text: str, encoding: str) -> int:
        if path.name == "edgelearn_model.h":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, text, encoding)

    monkeypatch.setattr(Path, "write_text", fill_up)
    assert "No space left on device" in cli("export", "--format", "c", "--out", str(out), code=2).err
    monkeypatch.undo()
    left = {path: path.read_text() for path in (tmp_path / "disk").rglob("*") if path.is_file()}
    assert left == ({out / "edgelearn_config.h": "old"} if there else {})
    assert out.exists() == there


def test_what_is_refused(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("kept")
    assert "cannot write" in cli("export", "--format", "c", "--out", str(tmp_path / "file"), code=2).err
    assert (tmp_path / "file").read_text() == "kept"
    out = tmp_path / "out"
    cli("export", "--format", "c", "--out", str(out), "--budget", "100KiB", code=5)
    assert main(["export", "--format", "rust", "--out", str(out)]) == 2
    assert main(["export", "--format", "c"]) == 2
    monkeypatch.setattr(exporting, "SOURCES", tmp_path / "nowhere")
    assert "install edgelearn anew" in cli("export", "--format", "c", "--out", str(out), code=2).err
    assert not out.exists()
