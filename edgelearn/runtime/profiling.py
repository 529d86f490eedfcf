"""What a device costs on a board: counts of its own real runs, priced; its day; and its delta thresholds varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgelearn.audio.frontend import frontend_ops
from edgelearn.device.board import Board
from edgelearn.device.cost import Cost, Estimate, cost, mean_power
from edgelearn.device.day import Work
from edgelearn.engine.counts import Counts
from edgelearn.engine.layout import NetworkConfig
from edgelearn.runtime.layout import shape_of
from edgelearn.runtime.model import Model
from edgelearn.runtime.planner import Option, options
from edgelearn.runtime.voice import VoiceDevice

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Multiples of the model's own delta thresholds."""


@dataclass(frozen=True)
class Job:
    """Work that is priced: its key, its name for a person, what was counted, and the share of that it is."""

    key: str
    title: str
    counts: Counts
    share: float
    cost: Cost


@dataclass(frozen=True)
class Priced:
    """A way to learn with the cost of one gradient step, and how long that takes beside the chosen way."""

    option: Option
    cost: Cost
    time_ratio: float


@dataclass(frozen=True)
class Point:
    """The device with its delta thresholds times `scale`: deltas skipped, exemplars still right, a second of speech."""

    scale: float
    sparsity: float
    accuracy: float
    speech_second: Cost


@dataclass(frozen=True)
class Segment:
    """A piece of the timeline of power."""

    name: str
    seconds: float
    watts: Estimate


@dataclass(frozen=True)
class Run:
    """What a device did once, to be priced on any board: hearing its exemplars, and a lesson at rate 0 on them.

    spoken_frames, utterances: of the exemplars; each is heard in other voices too, so the network ran on more frames.
    """

    heard: Counts
    spoken_frames: int
    utterances: int
    lesson: Counts
    steps: int
    frame_rate_hz: float
    frontend_ops: int
    weights_bytes: int

    def jobs(self, board: Board) -> list[Job]:
        """Return a frame and a second of speech, and a learned word, on a board."""
        heard, lesson = (cost(counts, board, self.weights_bytes) for counts in (self.heard, self.lesson))
        frame = 1 / max(1, self.spoken_frames)
        second = frame * self.frame_rate_hz
        return [
            Job("speech_frame", "a frame of speech", self.heard, frame, heard * frame),
            Job("speech_second", "a second of speech", self.heard, second, heard * second),
            Job("learned_word", f"learning a word ({self.steps} updates)", self.lesson, 1.0, lesson),
        ]

    def work(self, board: Board) -> Work:
        """Return what a day is made of on a board."""
        _, second, word = self.jobs(board)
        silent = Counts(frames=1, frontend_ops=self.frontend_ops)
        return Work(cost(silent, board) * self.frame_rate_hz, second.cost, word.cost)


def run_of(device: VoiceDevice, steps: int) -> Run:
    """Run the device on the exemplars of its own rehearsal memory: nothing is learned by it."""
    config = device.frontend.config
    operations = frontend_ops(config)
    _, heard = device.hearing.hear_exemplars()
    spoken, utterances = device.memory.frames, len(device.memory.exemplars())
    heard += Counts(frontend_ops=spoken * operations) + device.recognizer.readout_counts(spoken)
    lesson = device.learner.dry_run(steps)
    weights_bytes = _weights_bytes(device.network.config)
    return Run(heard, spoken, utterances, lesson, steps, config.frame_rate_hz, operations, weights_bytes)


def priced_options(device: VoiceDevice, model: Model, run: Run, board: Board) -> list[Priced]:
    """Return the ways to learn around the device's plan, each with one gradient step of the run's mean utterance."""
    frames = round(run.spoken_frames / max(1, run.utterances))
    found = options(shape_of(model), device.plan, max(1, frames), 1 - run.lesson.sparsity)
    costs = [cost(option.step, board, run.weights_bytes) for option in found]
    chosen = next(spent for option, spent in zip(found, costs, strict=True) if option.chosen)
    return [
        Priced(option, spent, spent.seconds / chosen.seconds if chosen.seconds else 1.0)
        for option, spent in zip(found, costs, strict=True)
    ]


def sweep(model: Model, budget_bytes: int, board: Board, scales: Sequence[float] = SCALES) -> list[Point]:
    """Return the device at multiples of its delta thresholds, heard on its own exemplars.

    Exemplars are kept as the first layer saw them, so that a multiple below 1 only adds deltas of the hidden values;
    accuracy is the share of them nearest to their own row, an upper bound of what unseen speech would give.
    """
    points = []
    for scale in scales:
        layers = tuple(
            replace(
                layer,
                theta_x_q13=round(layer.theta_x_q13 * (scale if k or scale > 1 else 1)),
                theta_h_q13=round(layer.theta_h_q13 * scale),
            )
            for k, layer in enumerate(model.network.layers)
        )
        # no tape is needed, and thresholds of 0 would need a longer pool than the budget has room for
        device = VoiceDevice(replace(model, network=NetworkConfig(layers)), max(budget_bytes, 1 << 21))
        right, heard = device.hearing.hear_exemplars()
        exemplars = len(device.memory.exemplars())
        second = cost(heard, board, _weights_bytes(model.network)) * (
            model.frontend.frame_rate_hz / max(1, device.memory.frames)
        )
        points.append(Point(scale, heard.sparsity, right / exemplars if exemplars else 1.0, second))
    return points


def timeline(run: Run, board: Board) -> list[Segment]:
    """Return the power of a device as it hears a word, is taught one, and goes to sleep."""
    work = run.work(board)
    quiet, speech = (mean_power(spent, board, 1.0) for spent in (work.silence_second, work.speech_second))
    lesson_s = work.learned_word.seconds or 1e-3
    learning = mean_power(work.learned_word, board, lesson_s)
    rest = board.sleep_w or board.idle_w
    asleep = Estimate(rest.value, rest.low, rest.high) if rest is not None else Estimate(0.0, 0.0, 0.0)
    return [
        Segment("listening, silence", 1.5, quiet),
        Segment("listening, speech", 1.0, speech),
        Segment("listening, silence", 1.0, quiet),
        Segment("learning", lesson_s, learning),
        Segment("listening, silence", 1.0, quiet),
        Segment("asleep" if board.sleep_w is not None else "not listening", 1.5, asleep),
    ]


def _weights_bytes(network: NetworkConfig) -> int:
    """Bytes of the planes that a forward pass reads."""
    return sum((layer.inputs + layer.hidden) * 4 * layer.hidden for layer in network.layers)
