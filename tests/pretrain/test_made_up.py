"""Made-up words: drawn from a seed, spoken by real programs where there are any, in a quiet room."""

from __future__ import annotations

import shutil
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgelearn.errors import EdgelearnError
from edgelearn.pretrain.made_up import PAD_SAMPLES, PEAK, VOICES_A_WORD, Saying, say, sayings, synthesise

SPOKEN = all(shutil.which(program) for program in ("espeak-ng", "flite"))


def language(saying: Saying) -> str:
    command = saying.command
    return "flite" if command[0] == "flite" else command[command.index("-v") + 1].split("+")[0]


def test_words_depend_on_the_seed_alone() -> None:
    assert sayings(20, 1) == sayings(20, 1)
    assert sayings(20, 1)[:30] == sayings(10, 1)
    assert sayings(20, 1) != sayings(20, 2)


def test_every_word_is_said_in_three_voices_and_no_word_twice() -> None:
    drawn = sayings(600, 1)
    assert len(drawn) == 600 * VOICES_A_WORD
    words = [[saying.command[-1] for saying in drawn[at : at + VOICES_A_WORD]] for at in range(0, len(drawn), 3)]
    assert all(len(set(word)) == 1 for word in words)
    assert len({word[0] for word in words}) > 500
    assert len({saying.command[:-1] for saying in drawn}) > 1500
    assert all(" " not in word[0] and word[0][0] != "-" for word in words)


def test_a_fifth_each_is_arabic_and_pinyin_and_latin_words_are_also_said_by_flite() -> None:
    count = Counter(language(saying) for saying in sayings(1000, 1))
    assert count["ar"] == pytest.approx(600, abs=120)
    assert count["cmn-latn-pinyin"] == pytest.approx(600, abs=120)
    assert count["flite"] == (3000 - count["ar"] - count["cmn-latn-pinyin"]) // 3


def test_a_saying_is_heard_in_its_room(tmp_path: Path) -> None:
    recording = tmp_path / "said.wav"
    tone = np.rint(3000 * np.sin(np.arange(8000) / 5)).astype("<i2")
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.concatenate((np.zeros(700, "<i2"), tone, np.zeros(900, "<i2"))).tobytes())
    heard = say(Saying(("cat", str(recording)), 8.0, 1))
    np.testing.assert_array_equal(heard, say(Saying(("cat", str(recording)), 8.0, 1)))
    assert heard.dtype == np.int16
    assert len(heard) == pytest.approx(8000 + 2 * PAD_SAMPLES, abs=40)  # its own silence is cut off
    assert np.abs(heard.astype(int)).max() == pytest.approx(PEAK, rel=0.01)
    for silence in (heard[:PAD_SAMPLES], heard[-PAD_SAMPLES:]):
        assert silence.std() == pytest.approx(8, rel=0.1)


def test_programs_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgelearnError, match="espeak-ng and flite") as caught:
        synthesise(1, 1, 1)
    assert "sudo apt install espeak-ng flite" in caught.value.hint


@pytest.mark.skipif(not SPOKEN, reason="espeak-ng and flite are not installed")
def test_the_programs_speak() -> None:
    words = synthesise(8, 1, 2)
    assert len(words) == 8 * VOICES_A_WORD
    for samples, again, saying in zip(words, synthesise(8, 1, 1), sayings(8, 1), strict=True):
        np.testing.assert_array_equal(samples, again, " ".join(saying.command))
        assert 2 * PAD_SAMPLES + 800 < len(samples) < 2 * PAD_SAMPLES + 48000
        loud = np.abs(samples[PAD_SAMPLES:-PAD_SAMPLES].astype(float))
        assert loud.mean() > 300
