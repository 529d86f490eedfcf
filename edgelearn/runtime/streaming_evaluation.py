"""`evaluate stream`: what a device misses, and what sets it off, in continuous sound.

A speaker that the base model does not know teaches all novel words with five takes, others in every draw; what is left
of their takes is then heard in a stream, and hours of speech and noise without these words after it.  The device
decides exactly as it does when it listens.  What an utterance scores does not depend on when it is heard, so the other
sound goes through front end and end pointer once, and its utterances are judged by every device, one after the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelearn.audio.activity import NEVER, more_asked_q14, within_talk
from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import NOISE
from edgelearn.audio.endpoint import cut_utterance, find_utterance, found_utterance
from edgelearn.audio.noise import without_noise
from edgelearn.errors import UsageError
from edgelearn.learning.evaluation import MEASURING, Frames, bootstrap_interval, enrol_all, speaker_clips
from edgelearn.runtime.model import Word
from edgelearn.runtime.scenes import SAMPLE_RATE_HZ, Samples, Scene, Spoken, scene_of_other_sound, scene_of_words

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.learning.evaluation import SpeakerClips
    from edgelearn.learning.learner import LearnerConfig
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.recognizer import Utterance
    from edgelearn.runtime.voice import VoiceDevice

SHOTS = 5
QUIET, BACKGROUND, EVENTS = "none", "background", "events"
ALLOWED_AN_HOUR = (0.5, 1.0, 2.0, 5.0, 10.0)
ONE_Q14 = 16384


@dataclass(frozen=True)
class Condition:
    """A ratio of speech to noise in dB, None for a quiet room, and the kind of noise.

    background: what a data folder calls `_noise_`; events: what it calls `_noise_:something`.
    """

    snr_db: float | None
    noise: str


CONDITIONS = (Condition(None, QUIET), Condition(20, BACKGROUND), Condition(10, BACKGROUND), Condition(10, EVENTS))


@dataclass
class Tally:
    """One condition over all speakers.  A margin is what a score is above its word's threshold, cosine units.

    speakers: a margin for each word that each speaker said, in all draws, -inf where the right word was not the best;
    false_margins: of taught words that nobody said; accepted: how many devices accepted each utterance of the other
    sound falsely; wrong: words for which another one was heard; shipped_words: words of the shipped vocabulary in the
    other sound, which may well have been said; hours: listened to, over all speakers and draws; hours_of_sound: of
    different sound.
    """

    speakers: list[list[float]] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    false_margins: list[float] = field(default_factory=list)
    accepted: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    shipped_words: int = 0
    hours: float = 0.0
    hours_of_sound: float = 0.0

    @property
    def margins(self) -> list[float]:
        """Of all words of all speakers."""
        return [margin for margins in self.speakers for margin in margins]

    def level(self, allowed_an_hour: float) -> float:
        """Return the margin that a score must exceed for at most so many false accepts an hour."""
        allowed = math.floor(allowed_an_hour * self.hours)
        ordered = sorted(self.false_margins, reverse=True)
        return ordered[allowed] if allowed < len(ordered) else -math.inf

    def misses_above(self, level: float) -> float:
        """Return the share of words whose margin does not exceed a level."""
        margins = np.array(self.margins)
        return float(np.mean((margins <= level) | np.isinf(margins)))


def design_effect(times: Collection[int]) -> float:
    """Return how many of some events stand for an independent one, at least 1; times: how often each cause had one.

    All devices hear the same other sound, and what one accepts another may, too (L. Kish, Survey Sampling, 1965).
    """
    total = sum(times)
    return sum(n * n for n in times) / total if total else 1.0


def poisson_upper95(count: float, hours: float) -> float:
    """Return the rate an hour above which so few events would have a probability below 5 %."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 2 * (count + 1))) / 2 / hours


class StreamProtocol:
    """The protocol on one device; running speech is what nothing was trained on, noise is all that the data has.

    Raises UsageError for data without running speech, and for a clip that cannot be read.
    """

    def __init__(
        self, device: VoiceDevice, model: Model, clips: Sequence[ClipInfo], draws: int, seed: int,
        config: LearnerConfig = MEASURING,
    ) -> None:  # fmt: skip
        self._device = device
        self._model = model
        self._clips = clips
        self._seeds = range(seed, seed + draws)
        self._config = replace(config, max_old_loss=MEASURING.max_old_loss)
        speech = [read_clip(clip.path) for clip in clips if not clip.word and clip.split != "train"]
        if not speech:
            raise UsageError(
                "the data has no running speech to count false accepts in",
                "running speech is what has an empty word in manifest.csv, and a split that is not train",
            )
        self._noises = {
            QUIET: [],
            BACKGROUND: [read_clip(clip.path) for clip in clips if clip.word == NOISE],
            EVENTS: [read_clip(clip.path) for clip in clips if clip.is_noise and clip.word != NOISE],
        }
        self.conditions = [c for c in CONDITIONS if c.snr_db is None or self._noises[c.noise]]
        noise = [sound for kind in self._noises.values() for sound in kind]
        alone = self._other_sound(scene_of_other_sound(noise, [], None, seed)) if noise else ([], 0.0)
        self._others: dict[Condition, tuple[list[list[Utterance]], float]] = {}
        for condition in self.conditions:
            noises = self._noises[condition.noise]
            heard, hours = self._other_sound(scene_of_other_sound(speech, noises, condition.snr_db, seed))
            self._others[condition] = ([heard, alone[0]], hours + alone[1])

    def _other_sound(self, scene: Scene) -> tuple[list[Utterance], float]:
        """Return the utterances of a scene and its length in hours."""
        return self._utterances(scene), len(scene.samples) / SAMPLE_RATE_HZ / 3600

    def measure(self, dataset: str, novel: set[str]) -> list[dict[str, Any]]:
        """Return the metrics of every condition for the novel words of a data set; none if nobody has the takes.

        novel: `dataset:word` keys.  The device is back as it was afterwards.
        """
        tallies = {condition: Tally() for condition in self.conditions}
        for subject in speaker_clips(self._model, self._clips, novel, SHOTS, [dataset]):
            self._one_speaker(subject, tallies)
        self._device.restore(self._model)
        everywhere = max(tally.level(1.0) for tally in tallies.values())
        return [self._result(c, tally, everywhere) for c, tally in tallies.items() if tally.speakers]

    def _one_speaker(self, subject: SpeakerClips, tallies: dict[Condition, Tally]) -> None:
        """Teach a speaker's words in every draw and add what became of the rest to the tallies."""
        recordings = [
            [self._recording(number, read_clip(path)) for path in paths]
            for number, paths in enumerate(subject.novel.values())
        ]
        margins: dict[Condition, list[float]] = {condition: [] for condition in tallies}
        for seed in self._seeds:
            tests, rows = self._teach(subject, recordings, seed)
            for condition, tally in tallies.items():
                noises = self._noises[condition.noise]
                margins[condition] += self._hear(scene_of_words(tests, noises, condition.snr_db, seed), rows, tally)
                self._hear_others(condition, rows, tally)
        for condition, tally in tallies.items():
            tally.speakers.append(margins[condition])

    def _teach(
        self, subject: SpeakerClips, recordings: list[list[tuple[Frames, Spoken]]], seed: int
    ) -> tuple[list[Spoken], list[int]]:
        """Let the device learn a draw of takes of each word; return the other recordings and the words' rows."""
        device, rng = self._device, np.random.default_rng(seed)
        takes: list[list[Frames]] = []
        tests: list[Spoken] = []
        for of_word in recordings:
            drawn = [of_word[n] for n in rng.permutation(len(of_word))]
            takes.append([frames for frames, _ in drawn[:SHOTS]])
            tests += [spoken for _, spoken in drawn[SHOTS:]]
        tests = [tests[n] for n in rng.permutation(len(tests))]
        device.restore(self._model)
        rows, _, _ = enrol_all(device, takes, "sparse_bptt", self._config)
        thresholds, _ = device.hearing.thresholds_q14(rows, self._model.open_set_q14)
        taught = [
            Word(f"{subject.dataset}:{word}", row, threshold, True)
            for word, row, threshold in zip(subject.novel, rows, thresholds, strict=True)
        ]
        device.recognizer.words = (*self._model.words, *taught)
        return tests, rows

    def _hear_others(self, condition: Condition, rows: list[int], tally: Tally) -> None:
        """Judge the sound that holds none of the taught words."""
        others, hours = self._others[condition]
        judged = (one for scene in others for one in self._judge(scene))
        for number, (row, margin) in enumerate(judged):
            if row in rows:
                tally.false_margins.append(margin)
                tally.accepted[number] += margin >= 0
            else:
                tally.shipped_words += margin >= 0
        tally.hours += hours
        tally.hours_of_sound = hours

    def _hear(self, scene: Scene, rows: list[int], tally: Tally) -> list[float]:
        """Play the words of a speaker and return a margin for each: that of the right word where it was the best."""
        config, hop = self._device.endpoint, self._device.frontend.config.hop
        utterances = self._utterances(scene)
        judged = self._judge(utterances)
        margins = []
        for number, start, stop in scene.words:
            margin, latency_ms, wrong = -math.inf, 0.0, False
            for utterance, (row, score) in zip(utterances, judged, strict=True):
                first, last = utterance.start + config.pre_frames, utterance.stop - config.post_frames
                if first * hop >= stop or last * hop <= start:
                    continue
                if row == rows[number]:
                    if score > margin:
                        margin = score
                        latency_ms = ((utterance.decided + 1) * hop - stop) / SAMPLE_RATE_HZ * 1000
                else:
                    wrong = wrong or score >= 0
            margins.append(margin)
            tally.wrong += wrong
            if margin >= 0:
                tally.latencies_ms.append(latency_ms)
        return margins

    def _judge(self, utterances: Sequence[Utterance]) -> list[tuple[int, float]]:
        """Return the row of the best word of each utterance of a scene, and its score less what it needs here."""
        recognizer, command = self._device.recognizer, NEVER
        judged = []
        for one in utterances:
            within = within_talk(one.start, one.talk, command)
            judgement = recognizer.judge(one.frames, more_asked_q14(one.spoken, within))
            if judgement is None:
                judged.append((-1, -math.inf))
                continue
            margin = (judgement.margin_q14 + recognizer.bias_q14) / ONE_Q14
            judged.append((judgement.word.row, margin))
            if margin >= 0 and not within:
                command = one.decided
        return judged

    def _utterances(self, scene: Scene) -> list[Utterance]:
        """Return what the end pointer of the device finds in a scene."""
        recognizer = self._device.recognizer
        found: list[Utterance] = []
        recognizer.reset()
        recognizer.on_utterance = found.append
        recognizer.push(scene.samples)
        recognizer.finish()
        recognizer.on_utterance = None
        recognizer.reset()
        return found

    def _recording(self, number: int, samples: Samples) -> tuple[Frames, Spoken]:
        """Return the frames of the word in a clip, as for a take, and the clip with the ends of the word."""
        frontend, config = self._device.frontend, self._device.endpoint
        frontend.reset()
        frames = frontend.push(samples)
        frontend.reset()
        start, stop, found = find_utterance(frames, config)
        first = start + config.pre_frames if found else start
        last = max(first + 1, stop - config.post_frames if found else stop)
        hop = frontend.config.hop
        spoken = Spoken(number, samples, first * hop, min(len(samples), last * hop))
        heard = without_noise(frames, frontend.config)
        take = cut_utterance(frames, heard, config)
        return found_utterance(frames, heard, config) if take is None else take, spoken

    def _result(self, condition: Condition, tally: Tally, everywhere: float) -> dict[str, Any]:
        """Return the metrics of a condition; everywhere: the margin that keeps all conditions to one an hour."""
        accepted = tally.accepted.total()
        effect = design_effect(tally.accepted.values())
        by_speaker = [float(np.mean(np.array(margins) < 0)) for margins in tally.speakers]
        counts = [len(margins) for margins in tally.speakers]
        words = len(tally.margins)
        return {
            "snr_db": condition.snr_db,
            "noise": condition.noise,
            "miss_rate": float(np.mean(np.array(tally.margins) < 0)),
            "miss_rate_ci95": bootstrap_interval(by_speaker, self._seeds[0], counts),
            "wrong_word_rate": tally.wrong / words,
            "not_found_rate": float(np.mean(np.isinf(tally.margins))),
            "false_accepts_per_hour": accepted / tally.hours,
            "false_accepts_per_hour_upper95": poisson_upper95(accepted / effect, tally.hours / effect),
            "shipped_words_per_hour": tally.shipped_words / tally.hours,
            "latency_ms_median": float(np.median(tally.latencies_ms)) if tally.latencies_ms else None,
            "hours": tally.hours,
            "hours_of_sound": tally.hours_of_sound,
            "miss_rate_at_1_fa_per_hour": tally.misses_above(tally.level(1.0)),
            "margin_at_1_fa_per_hour": tally.level(1.0),
            "miss_rate_at_1_fa_per_hour_everywhere": tally.misses_above(everywhere),
            "margin_everywhere": everywhere,
            "curve": [
                {"false_accepts_per_hour": rate, "miss_rate": tally.misses_above(tally.level(rate))}
                for rate in ALLOWED_AN_HOUR
            ],
            "n": words,
            "speakers": len(tally.speakers),
        }
