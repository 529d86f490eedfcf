"""Recordings in files and streams, as int16 mono samples at 16 kHz."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.resample import resample
from edgelearn.errors import UsageError

INT16_FULL_SCALE = 32768
WAVE = (b"RIFF", b"RIFX", b"RF64")  # what a WAV file begins with
CONTAINERS = (*WAVE, b"fLaC", b"OggS")  # and other files that hold sound


def read_clip(path: Path | str) -> NDArray[np.int16]:
    """Return a recording as int16 mono samples at 16 kHz: channels averaged, rounded, saturated, resampled.

    WAV of any rate, width and number of channels is read as it is, other containers (FLAC, Ogg) through
    soundfile. Raises UsageError for a file that is missing, empty or not sound, and if soundfile is needed
    and not installed.
    """
    samples, rate_hz = _read_samples(Path(path))
    if samples.shape[0] == 0:
        raise UsageError(f"{path} holds no sound")
    return resample(_to_int16(samples, path), rate_hz)


def clip_seconds(path: Path | str) -> float:
    """Return how many seconds a recording lasts, by its header if it has one; the errors of `read_clip`."""
    import wave

    try:
        with wave.open(str(path), "rb") as file:
            frame_bytes = file.getnchannels() * file.getsampwidth()
            # a header that was written before the end was known, or a file that was cut, claims too much
            frames = min(file.getnframes(), Path(path).stat().st_size // frame_bytes)
            return frames / file.getframerate()
    except (wave.Error, EOFError, OSError, ZeroDivisionError):
        # not plain PCM, or not readable at all, which the full reader can tell
        samples, rate_hz = _read_samples(Path(path))
        return len(samples) / rate_hz


def iter_pcm(stream: BinaryIO, chunk: int) -> Iterator[NDArray[np.int16]]:
    """Yield raw samples (signed 16 bit, little-endian, mono, 16 kHz) of `stream`, at most `chunk` at a time.

    Blocks come as soon as the stream has them.  A half sample at the end of the stream is dropped.  Raises UsageError
    for a stream that begins as a WAV, FLAC or Ogg file does: heard as raw samples its rate may be wrong.
    """
    # read1 returns what there is, where read would wait for a full block
    read = getattr(stream, "read1", stream.read)
    half, begun = b"", False
    while data := read(2 * chunk - len(half)):
        if not begun and data.startswith(CONTAINERS):
            raise UsageError(
                f"the stream is a {data[:4].decode()} file, not raw samples",
                "name the file itself, or send raw samples: `arecord -q -t raw -f S16_LE -r 16000 -c 1`",
            )
        data, begun = half + data, True
        whole = len(data) // 2 * 2
        half = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], dtype="<i2").astype(np.int16)


def _read_samples(path: Path) -> tuple[NDArray[Any], int]:
    """Return samples [n] or [n][channels] of any type that `_to_int16` knows, and their rate in Hz."""
    try:
        if path.is_fifo():
            raise UsageError(f"{path} is a pipe, not a file", "`--input -` takes raw samples from one")
        with path.open("rb") as file:
            head = file.read(12)
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a recording") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not head:
        raise UsageError(f"{path} is empty")
    if head.startswith(WAVE) and head[8:12] == b"WAVE":
        from scipy.io import wavfile

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no sound
                rate_hz, samples = wavfile.read(path)
            return samples, int(rate_hz)
        # scipy raises what its parsing runs into: ValueError, struct.error, UnboundLocalError
        except Exception as error:
            return _read_with_soundfile(path, f"{path} is a damaged or unusual WAV file ({error})")
    return _read_with_soundfile(path, f"{path} is not a WAV file")


def _read_with_soundfile(path: Path, problem: str) -> tuple[NDArray[Any], int]:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there and its libsndfile is not
        raise UsageError(problem, "for FLAC, Ogg and more formats: pip install 'edgelearn[audio]'") from None
    try:
        with soundfile.SoundFile(path) as file:
            return file.read(dtype="int16" if file.subtype == "PCM_16" else "float64"), int(file.samplerate)
    # TypeError: a suffix such as .raw makes it ask for a format
    except (soundfile.LibsndfileError, TypeError) as error:
        raise UsageError(f"{problem}, and soundfile cannot read it either: {error}") from None


def _to_int16(samples: NDArray[Any], path: Path | str) -> NDArray[np.int16]:
    if samples.dtype == np.int16 and samples.ndim == 1:
        return samples
    if samples.dtype == np.uint8:
        scaled = (samples.astype(np.float64) - 128) * 256
    elif samples.dtype.kind == "f":
        scaled = samples.astype(np.float64) * INT16_FULL_SCALE
    else:  # 24-bit samples stand in the upper bytes of 32
        scaled = samples.astype(np.float64) / 2.0 ** (8 * samples.dtype.itemsize - 16)
    if not np.isfinite(scaled).all():
        raise UsageError(f"{path} has samples that are not numbers")
    mono = scaled if scaled.ndim == 1 else scaled.mean(axis=1)
    return np.clip(np.rint(mono), -INT16_FULL_SCALE, INT16_FULL_SCALE - 1).astype(np.int16)
