"""The protocols over a whole data set: what `learning.evaluation` measures speaker by speaker, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelearn.engine.counts import Counts
from edgelearn.errors import UsageError
from edgelearn.learning.evaluation import (
    MEASURING,
    ClipReader,
    People,
    Scored,
    SpeakerSet,
    Trial,
    accepted,
    base_accuracy,
    base_clips,
    bootstrap_interval,
    draw_people,
    draw_takes,
    float_accuracy,
    run_trial,
    score_draw,
    score_trial,
)

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.learning.learner import LearnerConfig
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.voice import VoiceDevice

SHOTS = (1, 3, 5)
SHOTS_ACROSS = (1, 5, 10)
WORDS_ACROSS = "speech_commands:no,speech_commands:on,speech_commands:stop,speech_commands:yes"
METRICS: dict[str, Callable[[Trial], float | None]] = {
    "closed": lambda trial: trial.closed,
    "hit_at_1pct_fa": lambda trial: trial.hits[0.01],
    "hit_at_5pct_fa": lambda trial: trial.hits[0.05],
    "hit_auto": lambda trial: trial.hit_auto,
    "fa_auto": lambda trial: trial.fa_auto,
}


@dataclass(frozen=True)
class BaseResult:
    """Base accuracy with its 95 % interval over speakers, the float twin's, and which clips of each word are right."""

    accuracy: float
    accuracy_float: float
    interval: tuple[float, float]
    clips: int
    speakers: int
    counts: Counts
    by_word: dict[str, list[bool]]


def measure_base(device: VoiceDevice, model: Model, clips: Sequence[ClipInfo], split: str, seed: int) -> BaseResult:
    """Measure the shipped words on the clips of a split; raises UsageError if there are none."""
    chosen = base_clips(model, clips, split)
    if not chosen:
        raise UsageError(
            f"there are no {split} clips of the model's shipped words", "`edgelearn info` says which words it has"
        )
    read = ClipReader(model)
    utterances = [read(clip.path) for clip, _ in chosen]
    rows = np.array([row for _, row in chosen])
    right, counts = base_accuracy(device, utterances, rows, model.open_set_q14)
    by_speaker: dict[str, list[bool]] = {}
    by_word: dict[str, list[bool]] = {}
    for (clip, _), one in zip(chosen, right, strict=True):
        by_speaker.setdefault(clip.speaker, []).append(bool(one))
        by_word.setdefault(clip.word, []).append(bool(one))
    interval = bootstrap_interval(
        [float(np.mean(mine)) for mine in by_speaker.values()], seed, [len(mine) for mine in by_speaker.values()]
    )
    return BaseResult(
        accuracy=float(right.mean()),
        accuracy_float=float_accuracy(model, utterances, rows),
        interval=interval,
        clips=len(rows),
        speakers=len(by_speaker),
        counts=counts,
        by_word=dict(sorted(by_word.items())),
    )


@dataclass
class _Spent:
    """What the lessons of one learner cost: base accuracy before and after, seconds a word, operations."""

    before: float | None
    after: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def add(self, lesson: Trial | Scored) -> None:
        """Add a draw that was learned."""
        self.seconds.append(lesson.seconds)
        self.counts += lesson.counts


class FewShot:
    """Few-shot learning on one device: `draws` draws of takes for each speaker, from `seed` on."""

    def __init__(
        self, device: VoiceDevice, model: Model, clips: Sequence[ClipInfo], config: LearnerConfig, draws: int, seed: int
    ) -> None:
        self._device = device
        self._model = model
        # a protocol measures what learning costs the old words; it does not undo it
        self._config = replace(config, max_old_loss=MEASURING.max_old_loss)
        self._seeds = range(seed, seed + draws)
        base = base_clips(model, clips, "test") or base_clips(model, clips, "val")
        read = ClipReader(model)
        self._utterances = [read(clip.path) for clip, _ in base]
        self._rows = np.array([row for _, row in base])

    def measure(self, subjects: Sequence[SpeakerSet], learner: str) -> dict[str, Any]:
        """Return every metric of a learner: means over speakers and draws, with 95 % intervals over speakers."""
        spent = self._start()
        result: dict[str, Any] = {}
        for shots in SHOTS:
            eligible = [s for s in subjects if all(len(takes) > shots for takes in s.novel.values())]
            trials: list[list[Trial]] = []
            for subject in eligible:
                mine = []
                for seed in self._seeds:
                    draw = draw_takes(subject, shots, seed)
                    mine.append(run_trial(self._device, self._model, draw, subject.others, learner, self._config))
                    spent.add(mine[-1])
                    if shots == SHOTS[-1]:
                        spent.after.append(self._base_accuracy())
                trials.append(mine)
            values = {name: [[pick(trial) for trial in mine] for mine in trials] for name, pick in METRICS.items()}
            result |= _of_shots(shots, values, sum(trial.tests for mine in trials for trial in mine), self._seeds[0])
        return result | self._cost(spent)

    def measure_across(self, people: People, learner: str) -> dict[str, Any]:
        """Return the metrics of words learned from one take each of K people, tested on everyone else.

        Means over the people tested and over draws, with 95 % intervals over these people; a draw that leaves nobody
        to test is left out, and so are shots that a word has too few people for.
        """
        spent = self._start()
        result: dict[str, Any] = {}
        fewest = min(len({speaker for speaker, _ in takes}) for takes in people.words.values())
        for shots in SHOTS_ACROSS:
            values: dict[str, dict[str, list[float | None]]] = {name: {} for name in METRICS}
            tests = 0
            for seed in self._seeds if fewest > shots else ():
                draw = draw_people(people.words, shots, seed)
                if not draw.tests:
                    continue
                others = [one for one in people.others if one[0] not in draw.givers]
                sounds = [frames for _, frames in others]
                scored = score_draw(self._device, self._model, draw, sounds, learner, self._config)
                for speaker, where in _by_name(draw.testers).items():
                    trial = score_trial(scored.scores[where], scored.truth[where], scored.others, scored.thresholds)
                    for name, pick in METRICS.items():
                        if name != "fa_auto":
                            values[name].setdefault(speaker, []).append(pick(trial))
                # false accepts belong to whoever said the other words
                false = accepted(scored.others, scored.thresholds)
                for speaker, where in _by_name([name for name, _ in others]).items():
                    values["fa_auto"].setdefault(speaker, []).append(float(false[where].mean()))
                tests += len(draw.tests)
                spent.add(scored)
                if shots == SHOTS_ACROSS[-1]:
                    spent.after.append(self._base_accuracy())
            by_speaker = {name: list(found.values()) for name, found in values.items()}
            result |= _of_shots(shots, by_speaker, tests, self._seeds[0])
        return result | self._cost(spent)

    def _start(self) -> _Spent:
        """Put the device back as the model is, and return what nothing has been spent of yet."""
        self._device.restore(self._model)
        return _Spent(self._base_accuracy())

    def _cost(self, spent: _Spent) -> dict[str, Any]:
        """Return what learning cost, in old words, time and memory, with the device back as it was."""
        self._device.restore(self._model)
        arena = self._device.arena
        return {
            "base_before": spent.before,
            "base_after": _mean(spent.after),
            "learn_seconds": float(np.median(spent.seconds)) if spent.seconds else None,
            "learn_sparsity": spent.counts.sparsity,
            "peak_bytes": arena.high_water_bytes,
            "budget_bytes": arena.budget_bytes,
        }

    def _base_accuracy(self) -> float | None:
        """Return the accuracy on the shipped words with the device as it is, None without clips of them."""
        if not self._utterances:
            return None
        right, _ = base_accuracy(self._device, self._utterances, self._rows, self._model.open_set_q14)
        return float(right.mean())


def _of_shots(shots: int, by_speaker: Mapping[str, list[list[float | None]]], tests: int, seed: int) -> dict[str, Any]:
    """Return the metrics of so many takes, each given as the values of every speaker, and what they are of."""
    result: dict[str, Any] = {}
    for name, values in by_speaker.items():
        result |= _over_speakers(f"{name}_k{shots}", values, seed)
    return result | {f"speakers_k{shots}": len(by_speaker["closed"]), f"n_k{shots}": tests}


def _over_speakers(key: str, by_speaker: list[list[float | None]], seed: int) -> dict[str, Any]:
    """Return the mean over speakers, each the mean of its draws, and its interval; None where nobody was tested."""
    known = [mean for values in by_speaker if (mean := _mean(values)) is not None]
    return {key: _mean(known), f"{key}_ci95": bootstrap_interval(known, seed) if known else None}


def _by_name(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of each name."""
    positions: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        positions.setdefault(name, []).append(n)
    return positions


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def novel_words(labels: Sequence[str], clips: Sequence[ClipInfo], given: str | None) -> set[str]:
    """Return the novel words as `dataset:word`: those given, else the manifest's, else those that no label names.

    given: `DATASET:WORD,...`; raises UsageError for a word that no clip says.
    """
    said = {f"{clip.dataset}:{clip.word}" for clip in clips if clip.word and not clip.is_noise}
    if given:
        wanted = {item.strip() for item in given.split(",") if item.strip()}
        if missing := sorted(wanted - said):
            raise UsageError(f"no clip of {missing[0]!r}", "novel words are written DATASET:WORD, as in the manifest")
        return wanted
    marked = {f"{clip.dataset}:{clip.word}" for clip in clips if clip.novel}
    return marked or said - set(labels)
