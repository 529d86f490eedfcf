"""Folders of labelled recordings: a manifest.csv, or the layout of Google's Speech Commands."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from edgelearn.audio.clips import clip_seconds
from edgelearn.errors import UsageError

NOISE = "_noise_"
SPLITS = ("train", "val", "test")
_COLUMNS = ("path", "dataset", "word", "speaker", "split", "seconds")
_SUFFIXES = {".wav", ".flac", ".ogg"}
_GOOGLE_NOISE = "_background_noise_"
_GOOGLE_MOST_PER_WORD = 2**27 - 1


@dataclass(frozen=True)
class ClipInfo:
    """One labelled recording.

    path: the file; dataset: where it is from; word: what is said, "" for running speech, a text that starts
    with "_noise_" for none; speaker: "" if unknown; split: train, val or test; seconds: its length; novel:
    whether its word is kept for learning on the device, None if the data does not say.
    """

    path: Path
    dataset: str
    word: str
    speaker: str
    split: str
    seconds: float
    novel: bool | None

    @property
    def is_noise(self) -> bool:
        """Whether nobody speaks."""
        return self.word.startswith(NOISE)


def read_manifest(data_dir: Path | str) -> list[ClipInfo]:
    """Return the recordings of a folder, in the order of its manifest.csv, else sorted by word and file name.

    manifest.csv has at least the columns path (from the folder), dataset, word, speaker, split and seconds,
    and novel (yes or no) where some words are kept for learning; in Google's layout (word/clip.wav,
    validation_list.txt, testing_list.txt, _background_noise_/) the data set is speech_commands.  Raises
    UsageError for a folder that is neither.
    """
    folder = Path(data_dir)
    try:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder")
        if (folder / "manifest.csv").is_file():
            return _read_csv(folder)
        clips = _read_google(folder)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or folder}: {error.strerror}", "check its permissions") from None
    if not clips:
        raise UsageError(
            f"{folder} has no manifest.csv and no WORD/clip.wav",
            "a data folder is described by a manifest.csv, or laid out as Google's Speech Commands",
        )
    return clips


def _read_csv(folder: Path) -> list[ClipInfo]:
    manifest = folder / "manifest.csv"
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if missing := [column for column in _COLUMNS if column not in names]:
                raise UsageError(
                    f"{manifest} has no column {', '.join(missing)}",
                    f"its first line names {', '.join(names) or 'nothing'}",
                )
            return [_read_row(row, folder, f"{manifest}:{reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest} is not a CSV text: {error}") from None


def _read_row(row: dict[str, str | None], folder: Path, where: str) -> ClipInfo:
    if None in row.values():
        raise UsageError(f"{where}: the line has fewer fields than the first one")
    texts = {name: text or "" for name, text in row.items()}
    if not texts["path"]:
        raise UsageError(f"{where}: the path is empty")
    if texts["split"] not in SPLITS:
        raise UsageError(f"{where}: the split is {texts['split']!r}", f"it must be one of {', '.join(SPLITS)}")
    novel = texts.get("novel", "")
    if novel not in ("yes", "no", ""):
        raise UsageError(f"{where}: novel is {novel!r}", "it must be yes, no, or empty")
    try:
        seconds = float(texts["seconds"])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{where}: seconds is {texts['seconds']!r}", "it must be a number, 0 or more")
    return ClipInfo(
        folder / texts["path"],
        texts["dataset"],
        texts["word"],
        texts["speaker"],
        texts["split"],
        seconds,
        {"yes": True, "no": False}.get(novel),
    )


def _read_google(folder: Path) -> list[ClipInfo]:
    listed = dict.fromkeys(_lines(folder / "validation_list.txt"), "val")
    listed |= dict.fromkeys(_lines(folder / "testing_list.txt"), "test")
    clips = []
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        word = path.parent.name
        if word == _GOOGLE_NOISE:
            word, speaker, split = NOISE, "", "train"
        else:
            speaker = path.stem.partition("_nohash_")[0]
            split = listed.get(f"{word}/{path.name}", "train") if listed else _google_split(speaker)
        clips.append(ClipInfo(path, "speech_commands", word, speaker, split, clip_seconds(path), None))
    return clips


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def _google_split(speaker: str) -> str:
    """Return the split of a speaker where no lists are: 10 % val, 10 % test (Warden 2018, which_set)."""
    share = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % (_GOOGLE_MOST_PER_WORD + 1)
    percent = share * 100.0 / _GOOGLE_MOST_PER_WORD
    return "val" if percent < 10 else "test" if percent < 20 else "train"
