"""Made-up words in synthetic voices: sounds without end that no class is made of.

A few dozen recorded words say little of all the words there may be.  What these are near to is known from the reference
networks alone (`reference.py`), which have heard far more speech and can tell it.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.resample import resample
from edgelearn.errors import EdgelearnError


def _words(spaced: str) -> tuple[str, ...]:
    return tuple(spaced.split())


VOICES_A_WORD = 3
PAD_SAMPLES = 4800
PEAK = 12000
ROOM_FLOOR = (1.0, 20.0)  # standard deviation of the silence around a word, in int16 units
# syllables of Latin letters are read by the rules of all of these
LATIN = ("en-us", "en-gb", "en-gb-x-rp", "es", "it", "de", "nl", "tr", "id", "sw", "fi", "sv", "pl")
# timbres of espeak-ng that could be people
TIMBRES = _words(
    "adam Alex Alicia Andrea Andy Annie antonio aunty belinda benjamin boris caleb david Denis Diogo ed edward Gene "
    "Henrique Hugo iven Jacky john Lee linda marcelo Marco max Michael michel miguel Mike pablo paul pedro quincy rob "
    "robert steph steph2 anika grandma grandpa klatt klatt2 klatt4 m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 norbert "
    "sandro shelby travis victor"
)
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
INITIALS = _words("b d f g h k l m n p r s t v z sh ch j w y th st kr tr pl br")
VOWELS = _words("a e i o u ai ee oo ow er")
FINALS = ("", "", "", *_words("n s t l m r k d ng"))
PINYIN_INITIALS = _words("b p m f d t n l g k h j q x zh ch sh r z c s")
PINYIN_FINALS = _words("a o e ai ei ao ou an en ang eng i ia ie iao iu ian in iang ing u ua uo uai ui uan un uang")
ARABIC_CONSONANTS = "بتثجحخدذرزسشصضطظعغفقكلمنهوي"
ARABIC_VOWELS = ("َ", "ِ", "ُ", "ا", "ي", "و", "ْ")


@dataclass(frozen=True)
class Saying:
    """One word in one voice: which program says it with which options, and how loud the room is."""

    command: tuple[str, ...]
    room_floor: float
    seed: int


def sayings(words: int, seed: int) -> list[Saying]:
    """Draw made-up words, each in VOICES_A_WORD voices one after the other."""
    rng = np.random.default_rng([seed, 5])
    drawn: list[Saying] = []
    for _ in range(words):
        language, text = _word(rng)
        for voice in range(VOICES_A_WORD):
            floor = float(np.exp(rng.uniform(*np.log(ROOM_FLOOR))))
            if language in LATIN and voice == VOICES_A_WORD - 1:
                stretch = f"duration_stretch={rng.uniform(0.8, 1.2):.2f}"
                command = f"flite -voice {rng.choice(FLITE_VOICES)} --setf {stretch} -o /dev/stdout -t {text}"
            else:
                timbre, speed, pitch = str(rng.choice(TIMBRES)), int(rng.integers(120, 190)), int(rng.integers(20, 80))
                command = f"espeak-ng --stdout -v {language}+{timbre} -s {speed} -p {pitch} {text}"
            drawn.append(Saying(tuple(command.split()), floor, len(drawn)))
    return drawn


def synthesise(words: int, seed: int, workers: int) -> list[NDArray[np.int16]]:
    """Return made-up words as heard in a quiet room at 16 kHz, VOICES_A_WORD takes of each.

    Raises EdgelearnError if espeak-ng or flite is not installed.
    """
    missing = [program for program in ("espeak-ng", "flite") if shutil.which(program) is None]
    if missing:
        raise EdgelearnError(
            f"{' and '.join(missing)} not installed; made-up words are spoken with them",
            f"type: sudo apt install {' '.join(missing)}",
        )
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(say, sayings(words, seed)))


def say(saying: Saying) -> NDArray[np.int16]:
    """Return one saying, its loudest sample at PEAK, with PAD_SAMPLES of the room before and after it."""
    spoken = subprocess.run(saying.command, capture_output=True, check=True).stdout
    samples = _trimmed(_read_wav(spoken))
    rng = np.random.default_rng([saying.seed, 6])
    heard = rng.normal(0, saying.room_floor, len(samples) + 2 * PAD_SAMPLES)
    heard[PAD_SAMPLES : PAD_SAMPLES + len(samples)] += samples.astype(np.float64) * (PEAK / np.abs(samples).max())
    return np.rint(heard).astype(np.int16)


def _word(rng: np.random.Generator) -> tuple[str, str]:
    """Draw a language and a word of one to three syllables that it can read."""
    syllables = int(rng.choice((1, 2, 2, 2, 3)))
    script = rng.random()
    if script < 0.2:
        letters = (
            str(rng.choice(list(ARABIC_CONSONANTS))) + str(rng.choice(ARABIC_VOWELS)) for _ in range(syllables + 1)
        )
        return "ar", "".join(letters)
    if script < 0.4:
        spelt = (
            f"{rng.choice(PINYIN_INITIALS)}{rng.choice(PINYIN_FINALS)}{rng.integers(1, 5)}" for _ in range(syllables)
        )
        return "cmn-latn-pinyin", "".join(spelt)
    onsets = [str(rng.choice(INITIALS)) for _ in range(syllables)]
    if rng.random() < 0.2:
        onsets[0] = ""
    word = "".join(f"{onset}{rng.choice(VOWELS)}{rng.choice(FINALS)}" for onset in onsets)
    return str(rng.choice(LATIN)), word


def _read_wav(data: bytes) -> NDArray[np.int16]:
    """Return 16-bit mono samples at 16 kHz; a header that claims more than there is was written before the end."""
    with wave.open(io.BytesIO(data)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return resample(samples, file.getframerate())


def _trimmed(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return what lies between the first and the last sample of at least a fiftieth of the loudest."""
    size = np.abs(samples.astype(np.int32))
    loud = np.flatnonzero(50 * size >= max(1, size.max()))
    return samples[loud[0] : loud[-1] + 1]
