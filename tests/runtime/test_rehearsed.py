"""The demonstration: its script, that it learns within its budget, and how it is judged."""

from __future__ import annotations

from pathlib import Path

from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.rehearsed import Line, Performance, _judge, perform, script
from edgelearn.runtime.session import Happening, Session, TakeHeard, Taught
from edgelearn.runtime.voice import VoiceDevice


def test_the_script_plays_everything_that_is_shipped() -> None:
    lines = script()
    assert {line.role for line in lines} == {"base", "take", "test", "other"}
    assert all(line.path.is_file() for line in lines)
    roles = [line.role for line in lines]
    assert roles.count("take") == 3
    # base words are played while learning runs, and the new word only after it was taught
    assert roles[roles.index("take") + 3] == "base"
    assert roles.index("test") > roles.index("take")
    assert {line.path for line in lines} == set(lines[0].path.parent.glob("*.wav"))


def test_it_learns_and_accounts_for_what_was_heard(device: VoiceDevice) -> None:
    told: list[tuple[Line, Happening | None]] = []
    session = Session(device, LearnerConfig(max_old_loss=1.0), steps_per_block=1)
    result = perform(session, 0, lambda line, happening: told.append((line, happening)))
    expected = [line for line in script() if line.role in ("base", "test")]
    assert result.expected == len(expected)
    assert result.heard + len(result.missed) == result.expected
    assert result.taught is not None
    assert result.taught.word == "computer"
    assert result.taught.report.updates == 40
    assert result.seconds_of_sound > 40
    assert 0 < result.seconds < result.seconds_of_sound
    assert device.arena.high_water_bytes <= device.arena.budget_bytes
    assert {line.path for line, _ in told} == {line.path for line in script()}
    events = [happening for _, happening in told if isinstance(happening, Event)]
    assert len(events) == result.heard + len(result.false_alarms)
    assert sum(isinstance(happening, TakeHeard) for _, happening in told) == 3
    assert sum(isinstance(happening, Taught) for _, happening in told) == 1


def test_the_new_word_is_heard_where_it_was_never_learned_from(device: VoiceDevice) -> None:
    heard: list[str] = []

    def tell(line: Line, happening: Happening | None) -> None:
        if line.role == "test" and isinstance(happening, Event):
            heard.append(happening.word)

    perform(Session(device, LearnerConfig(max_old_loss=1.0), steps_per_block=1), 0, tell)
    assert heard.count("computer") >= 3


def test_judging() -> None:
    right, wrong, again = (
        Event(word, 8192, 50 * at, 50 * at + 14, 50 * at + 26, 0.02, 0.7)
        for at, word in enumerate(("bed", "cat", "bed"))
    )
    cases = {
        ("base", ()): (1, 0, 0),
        ("base", (right,)): (1, 1, 0),
        ("base", (right, again)): (1, 1, 1),
        ("base", (wrong,)): (1, 0, 1),
        ("base", (wrong, right)): (1, 1, 1),
        ("other", ()): (0, 0, 0),
        ("other", (right,)): (0, 0, 1),
        ("take", (right,)): (0, 0, 1),
    }
    for (role, events), (expected, heard, alarms) in cases.items():
        result = Performance()
        _judge(Line(Path("bed.wav"), "bed", role), list(events), False, result)
        assert (result.expected, result.heard, len(result.false_alarms)) == (expected, heard, alarms)
        assert result.missed == (["bed.wav"] if expected > heard else [])
        assert not result.passed
    report = Taught("computer", 3, 0.1, None)  # type: ignore[arg-type]
    assert Performance(expected=1, heard=1, taught=report).passed
    assert not Performance(expected=1, heard=1, taught=report, false_alarms=[right]).passed
