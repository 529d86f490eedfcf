from __future__ import annotations

import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from edgelearn.audio.clips import clip_seconds, iter_pcm, read_clip
from edgelearn.audio.resample import resample
from edgelearn.errors import UsageError

RAMP = np.arange(-32768, 32768, 7, dtype=np.int16)


def write(path: Path, samples: np.ndarray, rate_hz: int = 16000) -> Path:
    wavfile.write(path, rate_hz, samples)
    return path


def test_16_bit_mono_is_read_bit_exact(tmp_path: Path) -> None:
    clip = read_clip(write(tmp_path / "a.wav", RAMP))
    assert clip.dtype == np.int16
    np.testing.assert_array_equal(clip, RAMP)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_clip(write(tmp_path / "a.wav", RAMP, 44100)), resample(RAMP, 44100))


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([0, 128, 255], np.uint8), [-32768, 0, 32512]),
        (np.array([-(2**31), 0, 2**31 - 1, 1 << 16, 1 << 15], np.int32), [-32768, 0, 32767, 1, 0]),
        (np.array([-1, 0, 0.5, 1, 2, -3], np.float32), [-32768, 0, 16384, 32767, 32767, -32768]),
        (np.array([-1, 1e-9, 0.25], np.float64), [-32768, 0, 8192]),
        (np.array([[100, 200], [-5, 5], [32767, 32767]], np.int16), [150, 0, 32767]),
        (np.array([[0.5, -0.5, 0.25, 0.25]], np.float32), [4096]),
    ],
    ids=["8 bit", "32 bit", "float", "double", "stereo", "four channels"],
)
def test_widths_and_channels(tmp_path: Path, samples: np.ndarray, expected: list[int]) -> None:
    assert read_clip(write(tmp_path / "a.wav", samples)).tolist() == expected


def test_24_bit(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, 16000, 0, "NONE", ""))
        values = (-(2**23), -256, 0, 256, 2**23 - 1)
        file.writeframes(b"".join(v.to_bytes(3, "little", signed=True) for v in values))
    assert read_clip(tmp_path / "a.wav").tolist() == [-32768, -1, 0, 1, 32767]
    assert clip_seconds(tmp_path / "a.wav") == 5 / 16000


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_flac_is_read_bit_exact(tmp_path: Path, rate_hz: int) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.flac", RAMP, rate_hz, subtype="PCM_16")
    np.testing.assert_array_equal(read_clip(tmp_path / "a.flac"), resample(RAMP, rate_hz))
    assert clip_seconds(tmp_path / "a.flac") == len(RAMP) / rate_hz


def test_flac_of_24_bits_is_rounded(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.flac", np.array([1 << 16, 3 << 15, -1 << 31], np.int32), 16000, subtype="PCM_24")
    assert read_clip(tmp_path / "a.flac").tolist() == [1, 2, -32768]


def test_flac_without_soundfile_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(UsageError) as caught:
        read_clip(tmp_path / "a.flac")
    assert caught.value.hint.endswith("pip install 'edgelearn[audio]'")


def wav_bytes() -> bytes:
    file = io.BytesIO()
    wavfile.write(file, 16000, RAMP[:1000])
    return file.getvalue()


WAV = wav_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is no sound at all\n" * 9, "not a WAV file"),
        (WAV[:12], "damaged or unusual"),
        (WAV[:30], "damaged or unusual"),
        (WAV[:22] + b"\0\0" + WAV[24:], "damaged or unusual"),  # no channels
        (WAV[:24] + bytes(4) + WAV[28:], "damaged or unusual"),  # 0 Hz
        (WAV[:44], "holds no sound"),
        (WAV[:24] + (1000).to_bytes(4, "little") + (2000).to_bytes(4, "little") + WAV[32:], "1000 Hz"),
    ],
)
@pytest.mark.parametrize("with_soundfile", [True, False])
def test_what_is_no_recording_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str, with_soundfile: bool
) -> None:
    if not with_soundfile:
        monkeypatch.setitem(sys.modules, "soundfile", None)
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_clip(path)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not numbers"):
        read_clip(write(tmp_path / "a.wav", np.array([0, np.nan], np.float32)))


@pytest.mark.parametrize("read", [read_clip, clip_seconds])
def test_missing_file_and_folder(tmp_path: Path, read: object) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "nowhere.wav")  # type: ignore[operator]
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)  # type: ignore[operator]


def test_a_cut_file_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(WAV[:644])
    np.testing.assert_array_equal(read_clip(path), RAMP[:300])
    assert clip_seconds(path) <= 322 / 16000


def test_a_header_written_before_the_length_was_known(tmp_path: Path) -> None:
    path = tmp_path / "stream.wav"
    path.write_bytes(WAV[:4] + b"\xff" * 4 + WAV[8:40] + b"\xff" * 4 + WAV[44:])
    np.testing.assert_array_equal(read_clip(path), RAMP[:1000])
    assert clip_seconds(path) < 0.07


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time, odd numbers of them too."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes = data, sizes

    def read(self, size: int = -1) -> bytes:
        take = min(size, self.sizes.pop(0) if self.sizes else size)
        piece, self.data = self.data[:take], self.data[take:]
        return piece


@pytest.mark.parametrize("sizes", [[], [1, 1, 1, 2, 3, 5, 7, 640], [639, 1, 641]])
@pytest.mark.parametrize("tail", [b"", b"\x7f"])
def test_raw_samples_from_a_stream(sizes: list[int], tail: bytes) -> None:
    blocks = list(iter_pcm(Trickle(RAMP.astype("<i2").tobytes() + tail, sizes), 320))
    assert all(block.dtype == np.int16 and 0 < len(block) <= 320 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), RAMP)


def test_an_empty_stream_has_no_blocks() -> None:
    assert list(iter_pcm(io.BytesIO(b""), 320)) == []
    assert list(iter_pcm(io.BytesIO(b"x"), 320)) == []


@pytest.mark.parametrize("begins", [b"RIFF", b"RF64", b"fLaC", b"OggS"])
def test_a_file_in_a_stream_is_not_taken_for_samples(begins):
    with pytest.raises(UsageError, match=f"is a {begins.decode()} file") as caught:
        list(iter_pcm(io.BytesIO(begins + bytes(640)), 320))
    assert "arecord" in str(caught.value.hint)
    # later on it is sound like any other
    assert len(list(iter_pcm(io.BytesIO(bytes(640) + begins), 320))) == 2
