from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.errors import UsageError

HEADER = "path,dataset,language,word,speaker,split,novel,seconds\n"


def manifest(folder: Path, text: str) -> Path:
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    return folder


def test_manifest(tmp_path: Path) -> None:
    folder = manifest(
        tmp_path,
        HEADER + 'a/1.flac,digits,en,eight,george,test,yes,0.528\n"n,x.wav",room,,_noise_:rain,,train,no,5\n',
    )
    assert read_manifest(folder) == [
        ClipInfo(folder / "a/1.flac", "digits", "eight", "george", "test", 0.528, True),
        ClipInfo(folder / "n,x.wav", "room", "_noise_:rain", "", "train", 5.0, False),
    ]
    assert [clip.is_noise for clip in read_manifest(folder)] == [False, True]


def test_novel_is_unknown_without_its_column(tmp_path: Path) -> None:
    manifest(tmp_path, "path,dataset,word,speaker,split,seconds\na.wav,d,w,s,val,1\n")
    assert read_manifest(tmp_path)[0].novel is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path, dataset, word"),
        ("path,dataset,word,speakers,split,seconds\n", "no column speaker"),
        (HEADER + "a.wav,d,en,w,s,train\n", r"manifest.csv:2: .* fewer fields"),
        (HEADER + "a.wav,d,en,w,s,train,no,1\n,d,en,w,s,train,no,1\n", "manifest.csv:3: the path is empty"),
        (HEADER + "a.wav,d,en,w,s,dev,no,1\n", "the split is 'dev'"),
        (HEADER + "a.wav,d,en,w,s,train,maybe,1\n", "novel is 'maybe'"),
        (HEADER + "a.wav,d,en,w,s,train,no,long\n", "seconds is 'long'"),
        (HEADER + "a.wav,d,en,w,s,train,no,nan\n", "seconds is 'nan'"),
        (HEADER + "a.wav,d,en,w,s,train,no,-1\n", "seconds is '-1'"),
    ],
)
def test_bad_manifests_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_manifest(manifest(tmp_path, text))


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not a CSV text"):
        read_manifest(tmp_path)


def google(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        wavfile.write(path, 16000, np.zeros(8000, np.int16))


def test_google_layout(tmp_path: Path) -> None:
    google(tmp_path, ["yes/aa_nohash_0.wav", "yes/bb_nohash_1.wav", "no/aa_nohash_0.wav"])
    google(tmp_path, ["_background_noise_/tap.wav"])
    (tmp_path / "yes" / "notes.txt").write_text("no clip")
    (tmp_path / "validation_list.txt").write_text("yes/bb_nohash_1.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/aa_nohash_0.wav\n")
    found = [(clip.word, clip.speaker, clip.split, clip.seconds) for clip in read_manifest(tmp_path)]
    assert found == [
        ("_noise_", "", "train", 0.5),
        ("no", "aa", "test", 0.5),
        ("yes", "aa", "train", 0.5),
        ("yes", "bb", "val", 0.5),
    ]


def test_google_split_without_lists_is_that_of_its_authors(tmp_path: Path) -> None:
    # three speakers and their places in the lists that were published with the data
    published = {"012c8314": "train", "026290a7": "val", "0c40e715": "test"}
    google(tmp_path, [f"bed/{speaker}_nohash_0.wav" for speaker in published])
    assert {clip.speaker: clip.split for clip in read_manifest(tmp_path)} == published


def test_a_folder_that_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no manifest\.csv and no WORD/clip\.wav"):
        read_manifest(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        read_manifest(tmp_path / "nowhere")
