"""Where an utterance starts and ends: each band's excess over its own noise floor, with onset, hang-over and a limit.

The end pointer reads feature frames only, so it sees exactly what the network sees; steady noise in some bands does
not hide speech in others, because every band has its own floor.  No band of speech stays up for 28 frames: what a band
has not fallen below for so long is its noise, whatever is under way (minimum statistics, R. Martin, IEEE Trans. Speech
and Audio Processing 9(5), 2001, over a window short enough for a noise that has just begun).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgelearn.audio.noise import clip_floor, is_noisy
from edgelearn.audio.surroundings import Surroundings
from edgelearn.errors import UsageError
from edgelearn.jit import kernel

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena

BACKGROUND_FRAMES = 32  # no word begins with so many frames that are softer than two thirds of what follows
LATE_FRAMES = 52  # from here on more than an echo has to be left of an utterance: what goes on is the room
LATE_FADE = 3
BLOCKS, BLOCK_FRAMES = 4, 7  # the frames over which the least of a band is its noise
SPREAD = 8  # feature steps from the least or the lower fifth of a band to the middle of its noise
IDLE, ONSET, SPEECH, HANG, END, TOO_LONG = range(6)

MOST_EXCESS = 1 << 16  # 64 bands of 255 steps are less
MOST_FRAMES = 255  # of a record of the rehearsal memory
_RUN, _LENGTH, _SILENCE, _PRIMED, _EXCESS, _PEAK, _AT = range(7)
_STATE = 7


@dataclass(frozen=True)
class EndpointConfig:
    """Frames and feature steps (int8 Q6) that make an utterance.

    margin: steps above the floor of a clip that do not count yet; stream_margin: of a stream, whose floor follows every
    frame: fewer, so that running speech in noise does not fall into pieces as short as words; onset, release: summed
    excess that starts and that keeps an utterance; fade: share 1 / fade of the utterance's loudest excess below which
    it is over, so that a room's echo is no speech (a third from `LATE_FRAMES` on); onset_frames: consecutive frames
    above onset; hang_frames: silence that ends it; pre_frames, post_frames: context kept around it; outer_pre_frames,
    outer_post_frames: what other voices hear before and after that in noise (see `surroundings`); longest: frames after
    which it is no command any more.
    """

    margin: int = 12
    stream_margin: int = 8
    onset: int = 360
    release: int = 300
    fade: int = 7
    onset_frames: int = 3
    hang_frames: int = 12
    pre_frames: int = 8
    post_frames: int = 4
    outer_pre_frames: int = 10
    outer_post_frames: int = 6
    longest: int = 80

    def __post_init__(self) -> None:
        """Refuse what no stream could be cut with: frames that have not come yet, or more than a record can hold."""
        context = (self.pre_frames, self.post_frames, self.outer_pre_frames, self.outer_post_frames)
        from_zero = (self.margin, self.stream_margin, *context)
        from_one = (self.onset, self.release, self.fade, self.onset_frames, self.longest, self.hang_frames)
        if min(from_zero) < 0 or min(from_one) < 1:
            raise UsageError("an end pointer's margins and context are 0 or more, its other numbers 1 or more")
        if max(*from_zero, *from_one) > MOST_EXCESS:
            raise UsageError(f"no number of an end pointer is above {MOST_EXCESS}")
        after = self.post_frames + self.outer_post_frames
        if self.hang_frames < after:
            raise UsageError(f"{after} frames after a word cannot be kept of {self.hang_frames} of silence")
        if self.most_frames > MOST_FRAMES:
            raise UsageError(f"a word and its context are at most {MOST_FRAMES} frames")

    @property
    def lag_frames(self) -> int:
        """Frames that must still be at hand when an onset is told: the run that made it and the context before it."""
        return self.onset_frames + self.pre_frames

    @property
    def surroundings(self) -> Surroundings:
        """What every utterance has around what its own voice hears."""
        return Surroundings(self.outer_pre_frames, self.outer_post_frames)

    @property
    def most_frames(self) -> int:
        """Frames of the longest utterance with its context and with what is around it."""
        return self.longest + self.pre_frames + self.post_frames + sum(self.surroundings)


@kernel
def raise_floor(frame: Any, floor_q8: Any, least: Any, at: int) -> int:
    """Lift the noise floor of each band to what its frames did not fall below; return by how many steps in all.

    frame int8 [bands].  floor_q8 int32 [bands].  least int8 [BLOCKS, bands]: the least of the frames of each block, or
    no rows where the floor is known.  at: number of the frame, modulo all frames of the blocks; the floor is lifted
    with the last one of a block.
    """
    if least.shape[0] == 0:
        return 0
    block = at // BLOCK_FRAMES
    raised = 0
    for b in range(frame.shape[0]):
        if at % BLOCK_FRAMES == 0:
            least[block, b] = frame[b]
        else:
            least[block, b] = min(least[block, b], frame[b])
        if at % BLOCK_FRAMES == BLOCK_FRAMES - 1:
            stayed = np.int32(least[0, b])
            for k in range(1, BLOCKS):
                stayed = min(stayed, np.int32(least[k, b]))
            known = min(stayed + SPREAD, np.int32(127))
            lift = known - (floor_q8[b] >> 8)
            if stayed > -128 and lift > 0:
                floor_q8[b] = known << 8
                raised += lift
    return raised


@kernel
def endpoint_step(
    frame: Any, floor_q8: Any, least: Any, state: Any, margin: int, onset: int, release: int, fade: int,
    onset_frames: int, hang_frames: int, longest: int,
) -> int:  # fmt: skip
    """Take one frame (int8 [bands]) and return IDLE, ONSET, SPEECH, HANG, END or TOO_LONG.

    An ONSET within an utterance says that what came before was background, and that an utterance begins here.

    floor_q8 int32 [bands]: noise floor in feature steps, Q8.  least: see `raise_floor`.  state int64 [7]: run, length,
    silence, primed, excess, peak, number of the frame.
    """
    bands = frame.shape[0]
    if state[_PRIMED] == 0:
        for b in range(bands):
            floor_q8[b] = np.int32(frame[b]) << 8
        least[:] = -128
        state[_PRIMED] = 1
    raised = raise_floor(frame, floor_q8, least, state[_AT])
    state[_AT] = (state[_AT] + 1) % (BLOCKS * BLOCK_FRAMES)
    excess = 0
    for b in range(bands):
        over = np.int32(frame[b]) - (floor_q8[b] >> 8) - margin
        if over > 0:
            excess += over
    state[_EXCESS] = excess
    state[_PEAK] = max(0, state[_PEAK] - raised)  # at least as loud as it would have been above this floor
    speaking = state[_LENGTH] > 0
    part = min(fade, LATE_FADE) if state[_LENGTH] >= LATE_FRAMES else fade
    active = excess >= (max(release, state[_PEAK] // part) if speaking else onset)
    for b in range(bands):
        error = (np.int32(frame[b]) << 8) - floor_q8[b]
        if error < 0:
            floor_q8[b] += error >> 3
        elif active or speaking:
            floor_q8[b] += error >> 8
        else:
            floor_q8[b] += error >> 4
    if speaking:
        # what went on for so long was the room, and here is the word: it begins anew
        begins = state[_LENGTH] >= BACKGROUND_FRAMES and 2 * excess >= 3 * state[_PEAK] and excess >= onset
    else:
        state[_RUN] = state[_RUN] + 1 if active else 0
        begins = state[_RUN] >= onset_frames
    if begins:
        state[_LENGTH] = onset_frames
        state[_SILENCE] = 0
        state[_PEAK] = excess
        return ONSET
    if not speaking:
        return IDLE
    state[_LENGTH] += 1
    state[_PEAK] = max(state[_PEAK], excess)
    state[_SILENCE] = 0 if active else state[_SILENCE] + 1
    if state[_LENGTH] >= longest:
        state[_LENGTH] = 0
        state[_RUN] = 0
        state[_PRIMED] = 0  # a noise that falls now and then, and never ends: the next frame is the new floor
        return TOO_LONG
    if state[_SILENCE] >= hang_frames:
        state[_LENGTH] = 0
        state[_RUN] = 0
        return END
    return SPEECH if active else HANG


def _numbers(config: EndpointConfig, margin: int) -> tuple[int, ...]:
    return (
        margin, config.onset, config.release, config.fade, config.onset_frames, config.hang_frames, config.longest,
    )  # fmt: skip


class Endpointer:
    """The end pointer of one stream; its noise floor lives in the arena of the device."""

    def __init__(self, config: EndpointConfig, bands: int, arena: Arena, name: str = "endpoint") -> None:
        self.config = config
        self._floor_q8, self._least, self._state = (
            arena.alloc(f"{name}.{region}", shape, dtype) for region, shape, dtype in endpoint_regions(bands)
        )
        self._numbers = _numbers(config, config.stream_margin)

    def reset(self) -> None:
        """Forget the noise floor and any utterance under way."""
        self._state[:] = 0

    def push(self, frame: NDArray[np.int8]) -> int:
        """Take one feature frame (int8 Q6, shape [bands]) and return what it means.

        IDLE: no utterance is under way; ONSET: one begins, `onset_frames` up to this one, and what was under way is
        given up; SPEECH: it goes on; HANG: it is silent, and may go on; END: it ended with its last frame of speech;
        TOO_LONG: it has gone on for `longest` frames, is no command, and ends here.
        """
        return int(endpoint_step(frame, self._floor_q8, self._least, self._state, *self._numbers))

    @property
    def floor(self) -> NDArray[np.int8]:
        """A copy of the noise floor as it is now (int8 Q6, shape [bands])."""
        return (self._floor_q8 >> 8).astype(np.int8)

    @property
    def excess(self) -> int:
        """The summed excess of the last frame over the noise floor, in feature steps."""
        return int(self._state[_EXCESS])


def endpoint_regions(bands: int) -> tuple[tuple[str, tuple[int, ...], DTypeLike], ...]:
    """Return name, shape and type of every array of an `Endpointer`."""
    return ("floor", (bands,), np.int32), ("least", (BLOCKS, bands), np.int8), ("state", (_STATE,), np.int64)


class Segment(NamedTuple):
    """Frames start <= t < stop of an utterance; found is false where the whole clip had to stand in for it."""

    start: int
    stop: int
    found: bool


@kernel
def scan_clip(frames: Any, floor_q8: Any, least: Any, state: Any, numbers: Any, pre: int, post: int, best: Any) -> None:
    """Run the end pointer over a clip; start, stop and weight of its strongest utterance go to best (int64 [3]).

    Start and stop are with the context, also where the clip has less of it: then they lie outside.
    """
    start = 0
    last = 0
    weight = 0
    total = frames.shape[0]
    for t in range(total + 1):
        if t < total:
            code = endpoint_step(frames[t], floor_q8, least, state, *numbers)
        else:
            code = END if state[_LENGTH] > 0 else IDLE
            state[_LENGTH] = 0
        if code == ONSET:
            start = t - numbers[4] + 1 - pre
            weight = state[_EXCESS] * numbers[4]
            last = t
        elif code == SPEECH:
            weight += state[_EXCESS]
            last = t
        elif code in (END, TOO_LONG) and weight > best[2]:
            best[0] = start
            best[1] = (t if code == TOO_LONG else last) + 1 + post
            best[2] = weight


def find_utterance(frames: NDArray[np.int8], config: EndpointConfig) -> Segment:
    """Return the strongest utterance of a clip (int8 [T, bands]); if there is none, its first `longest` frames.

    A clip has no past from which to know its noise, so the floor starts from each band's lower fifth, and a bit
    above it as the noise of a band spreads.
    """
    start, stop, weight = strongest_utterance(frames, config)
    if weight == 0:
        return Segment(0, min(len(frames), config.longest), False)
    return Segment(max(0, start), min(len(frames), stop), True)


def cut_utterance(frames: NDArray[np.int8], heard: NDArray[np.int8], config: EndpointConfig) -> NDArray[np.int8] | None:
    """Return the strongest utterance of a clip (int8 [T, bands]) with what is around it, or None if there is none.

    heard: the clip as the network gets it, from which the utterance is cut. A clip that lacks half of the context was
    cut close to its word; what lacks, and a stream would have, is made of the softest that each band of the clip has.
    """
    start, stop, weight = strongest_utterance(frames, config)
    if weight == 0:
        return None
    before, after = max(0, -start), max(0, stop - len(heard))
    if 2 * (before + after) >= config.pre_frames + config.post_frames:
        quiet = np.sort(heard, axis=0)[len(heard) // 20]
        heard = np.concatenate((np.tile(quiet, (before, 1)), heard, np.tile(quiet, (after, 1))))
        start, stop = start + before, stop + before
    return _with_surroundings(frames, heard, max(0, start), min(len(heard), stop), config)


def found_utterance(frames: NDArray[np.int8], heard: NDArray[np.int8], config: EndpointConfig) -> NDArray[np.int8]:
    """Return what `find_utterance` finds in a clip, as it is, with what is around it; heard: as in `cut_utterance`."""
    start, stop, _ = find_utterance(frames, config)
    return _with_surroundings(frames, heard, start, stop, config)


def _with_surroundings(
    frames: NDArray[np.int8], heard: NDArray[np.int8], start: int, stop: int, config: EndpointConfig
) -> NDArray[np.int8]:
    """Return frames start <= t < stop of `heard` with what is around them; frames: the clip with its noise."""
    return config.surroundings.of(heard, start, stop, is_noisy(clip_floor(frames)))


def strongest_utterance(frames: NDArray[np.int8], config: EndpointConfig) -> tuple[int, int, int]:
    """Return start, stop and weight of the strongest utterance of a clip, see `scan_clip`; 0, 0, 0 if there is none."""
    if len(frames) == 0:
        return 0, 0, 0
    floor = (clip_floor(frames).astype(np.int32) + SPREAD) << 8
    state = np.zeros(_STATE, np.int64)
    state[_PRIMED] = 1
    least = np.empty((0, frames.shape[1]), np.int8)
    best = np.zeros(3, np.int64)
    scan_clip(frames, floor, least, state, _numbers(config, config.margin), config.pre_frames, config.post_frames, best)
    start, stop, weight = best.tolist()
    return start, stop, weight
