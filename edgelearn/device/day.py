"""A day of a device: what it draws while it listens, learns, idles and sleeps, and how long a battery lasts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgelearn.device.board import Board, Figure
from edgelearn.device.cost import Cost, Estimate
from edgelearn.errors import UsageError

DAY_S = 86400.0
HOUR_S = 3600.0
SPEECH_SHARE = 0.1
"""Share of the time listened in which someone speaks: the network runs on speech only."""


@dataclass(frozen=True)
class Use:
    """What a device is used for in a day: hours it listens (0..24), words it learns, share of the time with speech."""

    hours: float
    words: float
    speech_share: float = SPEECH_SHARE

    def __post_init__(self) -> None:
        """Raise UsageError for a day that is none."""
        if not 0 <= self.hours <= 24:
            raise UsageError(f"a day does not have {self.hours:g} hours of listening", "--hours takes 0 to 24")
        if not 0 <= self.words <= 1000:
            raise UsageError(f"{self.words:g} words a day", "--words takes 0 to 1000")


@dataclass(frozen=True)
class Work:
    """What a board spends: on a second of silence (front end alone), a second of speech, and a learned word."""

    silence_second: Cost
    speech_second: Cost
    learned_word: Cost


@dataclass(frozen=True)
class DayPart:
    """One row of a day: how long it takes, and what it draws from the battery in all."""

    name: str
    seconds: Estimate
    joules: Estimate

    @property
    def watts(self) -> Estimate:
        """Power while it lasts; 0 of nothing. The range is that of the energy."""
        return self.joules * (1.0 / self.seconds.value) if self.seconds.value else Estimate(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Day:
    """The parts of a day on one board, which sum to 24 hours and to `joules`."""

    board: str
    parts: tuple[DayPart, ...]
    assumptions: tuple[str, ...]

    @property
    def joules(self) -> Estimate:
        """Energy of the whole day."""
        return Estimate(
            math.fsum(part.joules.value for part in self.parts),
            math.fsum(part.joules.low for part in self.parts),
            math.fsum(part.joules.high for part in self.parts),
        )

    @property
    def mean_watts(self) -> Estimate:
        """Power, averaged over the day."""
        return self.joules * (1.0 / DAY_S)

    @property
    def busy_share(self) -> Estimate:
        """Duty cycle: share of the day in which the core computes."""
        busy = Estimate(0.0, 0.0, 0.0)
        for part in self.parts[:3]:
            busy += part.seconds
        return busy * (1.0 / DAY_S)

    def battery_days(self, watt_hours: float) -> Estimate:
        """Days that a battery lasts, all of its energy used; infinite on a board that draws nothing that is known."""
        if not 0 < watt_hours < math.inf:
            raise UsageError(f"a battery of {watt_hours:g} Wh", "--battery takes watt-hours, such as 10")
        stored, spent = watt_hours * HOUR_S, self.joules
        return Estimate(*(stored / joules if joules else math.inf for joules in (spent.value, spent.high, spent.low)))

    def report(self) -> str:
        """Print the parts as a table."""
        rows = [f"{'a day':28}{'seconds':>28}{'joules':>32}"]
        for part in self.parts:
            rows.append(f"{part.name:28}{part.seconds!s:>28}{part.joules!s:>32}")
        seconds = math.fsum(part.seconds.value for part in self.parts)
        rows.append(f"{'total':28}{seconds:>28,.0f}{self.joules!s:>32}")
        rows.append(f"{'mean power, milliwatts':28}{'':28}{self.mean_watts * 1e3!s:>32}")
        rows.append(f"{'computing, % of the day':28}{self.busy_share * 100!s:>28}")
        if self.assumptions:
            rows.append(f"assumed, not verified: {', '.join(self.assumptions)}")
        return "\n".join(rows)


def day(work: Work, board: Board, use: Use) -> Day:
    """Return a day on a board: listening with its idle time between frames, learning, and sleep for the rest.

    While it listens the board idles at `idle_w`, while it sleeps it draws `sleep_w`; a board that has no figure for
    sleep is not switched off and idles all day. `leakage_w` is drawn all day on top, where the figures of the board's
    operations do not include it. Where even that is unknown, nothing is added. Raises UsageError for a board that is
    too slow for the day.
    """
    listened = use.hours * HOUR_S
    frontend = work.silence_second * (listened * (1 - use.speech_share))
    speech = work.speech_second * (listened * use.speech_share)
    learning = work.learned_word * use.words
    # the front end of speech is in its own seconds: three jobs, none paid for twice
    jobs = (("listening, silence", frontend), ("listening, speech", speech), ("learning", learning))
    parts = [DayPart(name, cost.seconds_range, cost.joules_range) for name, cost in jobs]
    busy = parts[0].seconds + parts[1].seconds + parts[2].seconds
    awake = max(listened, busy.value)
    if work.speech_second.seconds > 1 or awake > DAY_S:
        raise UsageError(
            f"{board.title} does not keep up: a second of speech takes it {work.speech_second.seconds:.3g} s, "
            f"a word to learn {work.learned_word.seconds:.3g} s",
            "choose a faster board or a smaller network, or ask for fewer words",
        )
    idle_s = _rest(awake, busy)
    idle_w, sleep_w = _watts(board.idle_w), _watts(board.sleep_w or board.idle_w)
    # computing that is priced above idle leaves what the board draws anyway to the idle row
    idle_j = idle_w * (idle_s.value if board.energy_includes_idle else awake)
    parts.append(DayPart("idle between frames", idle_s, idle_j))
    asleep = max(0.0, DAY_S - awake)
    parts.append(
        DayPart(
            "asleep" if board.sleep_w is not None else "not listening",
            Estimate(asleep, asleep, asleep),
            sleep_w * asleep,
        )
    )
    if board.leakage_w is not None:
        parts.append(DayPart("leakage", Estimate(0.0, 0.0, 0.0), _watts(board.leakage_w) * DAY_S))
    known = (("idle_w", board.idle_w), ("sleep_w", board.sleep_w), ("leakage_w", board.leakage_w))
    assumed = [name for name, figure in known if figure is not None and not figure.verified]
    for _, cost in jobs:
        assumed += cost.assumptions
    return Day(board.name, tuple(parts), tuple(dict.fromkeys(assumed)))


def _watts(figure: Figure | None) -> Estimate:
    return Estimate(figure.value, figure.low, figure.high) if figure is not None else Estimate(0.0, 0.0, 0.0)


def _rest(total: float, busy: Estimate) -> Estimate:
    return Estimate(total - busy.value, max(0.0, total - busy.high), max(0.0, total - busy.low))
