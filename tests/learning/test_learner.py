"""Learning on a small device: the size of a step, what it changes, that it repeats bit for bit, and when it refuses."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelearn.device.arena import Arena
from edgelearn.engine import floating
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig
from edgelearn.errors import BudgetExceeded, LearningRejected, TakeRejected, UsageError
from edgelearn.learning.classifier import HeadStep
from edgelearn.learning.learner import (
    CHECKS,
    LEAST_GAIN_Q14,
    Check,
    LearnerConfig,
    TeachReport,
)
from edgelearn.learning.takes import variance
from edgelearn.learning.thresholds import ABOVE_BACKGROUND_Q14, BELOW_TAKES_Q14
from edgelearn.learning.variants import altered
from tests import reference_head
from tests.learning.toy import (
    BANDS,
    HIDDEN,
    LONGEST,
    Toy,
    frames_in_all_voices,
    make_toy,
    some_whitening,
    takes_of,
)

CONFIG = LearnerConfig(steps=10, rate_q16=3000, sweeps=0, max_old_loss=1.0)
# losses (nats, Q10) of these ten steps by the thresholds of a lesson, in 1/256 of the network's; all arithmetic is in
# integers, so they are the same everywhere
GOLDEN = {
    256: [401, 1053, 612, 734, 379, 797, 319, 732, 117, 675],
    416: [391, 1284, 610, 667, 417, 781, 333, 735, 151, 676],
}


def teach(toy: Toy, row: int, config: LearnerConfig) -> TeachReport:
    return deque(toy.learner.teach(row, config), maxlen=1).pop()


def taught(config: LearnerConfig = CONFIG, seed: int = 0, tape_frames: int = LONGEST) -> tuple[Toy, TeachReport]:
    toy = make_toy(seed, tape_frames)
    row = toy.learner.enrol(takes_of(np.random.default_rng(100 + seed), 4))
    return toy, teach(toy, row, config)


@pytest.mark.parametrize("theta_q8", GOLDEN)
def test_ten_losses_are_what_they_always_were(theta_q8: int) -> None:
    _, report = taught(dataclasses.replace(CONFIG, theta_q8=theta_q8))
    assert [loss * 1024 for loss in report.losses] == GOLDEN[theta_q8]
    assert report.updates == 10


@pytest.mark.parametrize("seed", [1, 3, 9])
def test_steps_reduce_the_loss_of_the_new_word_and_of_the_old_ones(seed: int) -> None:
    _, report = taught(dataclasses.replace(CONFIG, steps=40), seed)
    new, old = report.losses[::2], report.losses[1::2]
    assert np.mean(new[-4:]) < 0.2 * np.mean(new[:4])
    assert np.mean(old[-4:]) < 0.6 * np.mean(old[:4])
    assert (report.old_before, report.old_after) == (1.0, 1.0)
    assert 0 < report.counts.sparsity < 1


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    first, second, other = (taught(dataclasses.replace(CONFIG, seed=seed)) for seed in (5, 5, 6))
    assert first[0].snapshot() == second[0].snapshot()
    assert first[1] == second[1]
    assert first[0].snapshot() != other[0].snapshot()


def test_teach_stops_after_every_step_and_once_more_at_the_end() -> None:
    toy = make_toy(0)
    row = toy.learner.enrol(takes_of(np.random.default_rng(100), 4))
    config = dataclasses.replace(CONFIG, sweeps=3, many_takes=3)
    seen = [len(report.losses) for report in toy.learner.teach(row, config)]
    assert seen == [*range(1, 11), 10, 10, 10, 10]


def test_without_old_words_every_step_is_on_the_takes() -> None:
    toy = make_toy(0)
    for _ in range(3):
        toy.memory.remove_row(0)
    row = toy.learner.enrol(takes_of(np.random.default_rng(1), 3))
    report = teach(toy, row, CONFIG)
    assert report.updates == 10
    assert (report.old_before, report.old_after) == (1.0, 1.0)


@pytest.mark.parametrize(("takes", "updates"), [(1, 0), (2, 0), (3, 10)])
def test_the_network_learns_from_three_takes_on(takes: int, updates: int) -> None:
    toy = make_toy(0)
    row = toy.learner.enrol(takes_of(np.random.default_rng(100), takes))
    before = toy.network.masters(0)
    assert teach(toy, row, dataclasses.replace(CONFIG, sweeps=2)).updates == updates
    assert (toy.network.masters(0) == before).all() == (updates == 0)


def test_noisy_takes_move_no_weights_but_rows() -> None:
    for beyond in (0, 1):
        toy = make_toy(0)
        row = toy.learner.enrol(takes_of(np.random.default_rng(100), 4))
        mine = [
            toy.memory.decode(r, np.zeros((LONGEST, BANDS), np.int8)) for r in toy.memory.exemplars() if r.row == row
        ]
        least = math.isqrt(sum(variance(take) for take in mine) // len(mine)) + beyond
        before, rows = toy.network.masters(0), toy.classifier.prototypes()
        report = teach(toy, row, dataclasses.replace(CONFIG, sweeps=2, many_takes=1, least_spread=least))
        assert report.updates == (0 if beyond else CONFIG.steps)
        assert (toy.network.masters(0) == before).all() == bool(beyond)
        assert report.gained == (toy.classifier.prototypes() != rows).any()


def sum_of_rough_units(toy: Toy, row: int) -> np.ndarray:
    """Of the exemplars of a row, in their own voice and by a network with the thresholds of a lesson."""
    network, total = Network(NetworkConfig((lesson_layer(toy),)), Arena(1 << 16)), np.zeros(HIDDEN, int)
    network.load(toy.network.params())
    state = network.new_state("state")
    for record in toy.memory.exemplars():
        if record.row == row:
            pool = np.zeros(HIDDEN, np.int32)
            state.reset()
            network.forward(state, toy.memory.decode(record, np.zeros((LONGEST, BANDS), np.int8)), pool)
            total += toy.classifier.embed(pool)
    return total


def test_the_new_prototype_follows_the_weights_and_the_old_ones_stand_still() -> None:
    toy = make_toy(0)
    before = toy.classifier.prototypes()
    takes = takes_of(np.random.default_rng(100), 4)
    row = toy.learner.enrol(takes)
    enrolled = toy.classifier.prototypes()
    heard = np.sum([toy.hearing.embed(frames)[0].astype(int) for frames in takes], axis=0)
    own = sum_of_rough_units(toy, row)
    teach(toy, row, dataclasses.replace(CONFIG, steps=30))
    after = toy.classifier.prototypes()
    np.testing.assert_array_equal(after[:row], before)
    assert (after[row] != enrolled[row]).any()
    moved = sum_of_rough_units(toy, row) - own
    assert after[row].tolist() == reference_head.quantise_prototype((heard + moved).tolist())[0]


def test_what_learning_did_is_put_back_unless_the_word_is_further_from_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for after, gained in ((99, False), (100 + LEAST_GAIN_Q14, False), (101 + LEAST_GAIN_Q14, True)):
        toy = make_toy(0)
        row = toy.learner.enrol(takes_of(np.random.default_rng(100), 4))
        enrolled = toy.snapshot()
        found = iter([Check(9, 9, 100), Check(9, 9, after)])
        monkeypatch.setattr(toy.learner, "check", lambda *_, found=found: next(found))
        assert teach(toy, row, dataclasses.replace(CONFIG, sweeps=2, many_takes=1)).gained == gained
        assert (toy.snapshot() == enrolled) == (not gained)


def lesson_layer(toy: Toy) -> LayerConfig:
    """The toy's layer with the thresholds of a lesson."""
    (layer,) = toy.network.config.layers
    thetas = (round(LearnerConfig().theta_q8 / 256 * theta) for theta in (layer.theta_x_q13, layer.theta_h_q13))
    return LayerConfig(layer.inputs, layer.hidden, layer.weight_shift, *thetas)


def test_separation_is_the_mean_of_the_takes_above_the_best_of_the_rest() -> None:
    toy, report = make_toy(1), TeachReport()
    row = toy.learner.enrol(takes_of(np.random.default_rng(100), 2))
    network, own, others, frames_heard = Network(NetworkConfig((lesson_layer(toy),)), Arena(1 << 16)), [], [], 0
    network.load(toy.network.params())
    for record in toy.memory.exemplars():
        frames = toy.memory.decode(record, np.zeros((LONGEST, 12), np.int8)).copy()
        heard = [frames, *altered(frames)] if record.row == row else [frames]
        for one in heard:
            pool = np.zeros(HIDDEN, np.int32)
            network.forward(network.new_state(f"state{frames_heard}"), one, pool)
            frames_heard += len(one)
            scores, _ = toy.classifier.scores(toy.classifier.embed(pool), np.array([row], np.int64))
            (own if record.row == row else others).append(int(scores[0]))
    assert len(own) == 8
    assert toy.learner.check(row, report) == Check(9, 9, sum(own) // 8 - max(others))
    assert report.counts.frames == frames_heard


@pytest.mark.parametrize("whitened", [False, True])
def test_a_step_is_the_learning_rate_times_the_gradient(monkeypatch: pytest.MonkeyPatch, whitened: bool) -> None:
    """The whole chain of units, against the float twin; rounding to masters and gates is the difference."""
    monkeypatch.setattr("edgelearn.learning.learner.LEAST_GAIN_Q14", -(1 << 15))  # kept, whatever it gained
    toy = make_toy(0, whitened=whitened)
    matrix = some_whitening(HIDDEN, np.random.default_rng([0, 1])) / 127 if whitened else np.eye(HIDDEN)
    row = toy.learner.enrol([takes_of(np.random.default_rng(100), 1)[0]])
    config, params = lesson_layer(toy), toy.network.params()
    layer = floating.dequantise_layer(params, 0, config.weight_shift, config.theta_x_q13, config.theta_h_q13)
    (record,) = (r for r in toy.memory.exemplars() if r.row == row)
    frames = toy.memory.decode(record, np.zeros((LONGEST, 12), np.int8))
    tapes = floating.forward([layer], frames / 64)
    pool = tapes[0].h[1:].sum(axis=0)
    grad_h = reference_head.float_gradient(pool, toy.classifier.prototypes().astype(float), row, matrix)
    (gradient,) = floating.backward([layer], tapes, grad_h)
    before, rate_q16 = toy.network.masters(0).astype(int), 20000
    teach(toy, row, LearnerConfig(steps=1, rate_q16=rate_q16, least_takes=1, sweeps=0, max_old_loss=1.0))
    change = toy.network.masters(0).astype(int) - before
    wanted = -rate_q16 / 65536 * gradient.weights * 2 ** (config.weight_shift + 8)
    assert np.linalg.norm(change - wanted) < 0.05 * np.linalg.norm(wanted)
    bias = (toy.network.params()["layer0.bias"] - params["layer0.bias"]) / 2 ** (13 + config.weight_shift)
    wanted = -rate_q16 / 65536 * gradient.bias
    assert np.linalg.norm(bias - wanted) < 0.05 * np.linalg.norm(wanted)


@given(
    rate_q16=st.integers(0, 65536),
    magnitude=st.integers(0, 2**24),
    length=st.integers(1, 2**31),
    weight_shift=st.integers(0, 12),
)
def test_step_rate_is_exact(rate_q16: int, magnitude: int, length: int, weight_shift: int) -> None:
    """rate * 16 m / |S| * 2^(s-9), rounded down to 2^-(37-s), then to 15 bits, below 2^11."""
    mult, shift = HeadStep(0, magnitude, length).rate(rate_q16, weight_shift)
    exact = Fraction(rate_q16, 65536) * 16 * Fraction(magnitude, length) * Fraction(2) ** (weight_shift - 9)
    got = mult / Fraction(2) ** shift
    assert 0 <= mult <= 32767
    halved = 37 - weight_shift - shift
    if exact >= Fraction(32767, 2**4):
        assert (mult, shift) == (32767, 4)
    elif halved == 0:
        assert mult == exact * 2 ** (37 - weight_shift) // 1
    else:
        assert mult >= 1 << 14
        assert abs(got - exact) <= exact / 2**13


def test_step_rate_takes_an_utterance_without_length() -> None:
    assert HeadStep(0, 100, 0).rate(200, 6) == HeadStep(0, 100, 1).rate(200, 6)
    assert HeadStep(0, 0, 5).rate(200, 6) == (0, 31)


def test_frames_that_the_tape_does_not_hold_are_reported() -> None:
    full, full_report = taught()
    cut, cut_report = taught(tape_frames=10)
    lengths = {record.frames for record in full.memory.exemplars()}
    assert full_report.truncated_frames == 0
    assert 10 * (min(lengths) - 10) <= cut_report.truncated_frames <= 10 * (max(lengths) - 10)
    assert cut_report.losses[0] == full_report.losses[0]
    assert cut.snapshot() != full.snapshot()


def test_an_update_that_costs_the_old_words_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = make_toy(0)
    row = toy.learner.enrol(takes_of(np.random.default_rng(100), 4))
    found = iter([Check(9, 9, 0), Check(8, 9, LEAST_GAIN_Q14 + 1)] * 2)
    monkeypatch.setattr(toy.learner, "check", lambda *_: next(found))
    with pytest.raises(LearningRejected, match=r"11\.1 %"):
        teach(toy, row, LearnerConfig(steps=2, max_old_loss=0.11))
    report = teach(toy, row, LearnerConfig(steps=2, max_old_loss=0.112))
    assert (report.old_before, report.old_after) == (1.0, 8 / 9)


@pytest.mark.parametrize(("before", "total"), [(8, 10), (10, 10), (27, 30), (3, 30)])
def test_the_share_that_may_be_lost_is_exact(monkeypatch: pytest.MonkeyPatch, before: int, total: int) -> None:
    """0.8 - 0.7 is more than 0.1 in floating point: what counts is 1 of 10 exemplars."""
    for extra in (0, 1):
        toy = make_toy(0)
        row = toy.learner.enrol(takes_of(np.random.default_rng(100), 4))
        found = iter([Check(before, total, 0), Check(before - total // 10 - extra, total, 0)])
        monkeypatch.setattr(toy.learner, "check", lambda *_, found=found: next(found))
        config = LearnerConfig(steps=2, sweeps=0, max_old_loss=0.1)
        if extra:
            with pytest.raises(LearningRejected):
                teach(toy, row, config)
        else:
            teach(toy, row, config)


def test_a_check_counts_exemplars_of_other_rows_that_are_nearest_to_their_own() -> None:
    toy = make_toy(1)
    row = toy.learner.enrol(takes_of(np.random.default_rng(100), 1))
    toy.memory.remove_row(row)

    def right(but_row: int) -> tuple[int, int]:
        return toy.learner.check(but_row, TeachReport())[:2]

    assert right(row) == (9, 9)
    assert toy.hearing.hear_exemplars()[0] == 9
    toy.classifier.load(toy.classifier.prototypes()[[1, 0, 2, 3]])
    assert right(row) == (3, 9)
    assert toy.hearing.hear_exemplars()[0] == 3
    assert right(2) == (0, 6)
    assert right(0) == (3, 6)


def test_takes_must_be_alike() -> None:
    toy = make_toy(0)
    rng = np.random.default_rng(7)
    alike, foreign = takes_of(rng, 4), takes_of(rng, 1)[0]
    toy.hearing.check_takes(alike, LearnerConfig().agreement_q14)
    toy.hearing.check_takes(alike[:1], 1 << 14)
    units = [toy.hearing.embed(take)[0] / 2**14 for take in [*alike, foreign]]
    others = [np.sum(units[:n] + units[n + 1 :], axis=0) for n in range(5)]
    agreement = [unit @ other / np.linalg.norm(other) for unit, other in zip(units, others, strict=True)]
    limit = int((agreement[4] + min(agreement[:4])) / 2 * 2**14)
    with pytest.raises(TakeRejected, match="take 5 is unlike the other 4"):
        toy.hearing.check_takes([*alike, foreign], limit)
    pair = [toy.hearing.embed(take)[0].astype(float) for take in (alike[0], foreign)]
    limit = int(pair[0] @ pair[1] / np.linalg.norm(pair[1])) + 200
    with pytest.raises(TakeRejected, match="take 2 is unlike the other one"):
        toy.hearing.check_takes([alike[0], foreign], limit)


def scores_of(toy: Toy, row: int) -> tuple[list[int], list[int]]:
    """Scores for the word at `row` of its own exemplars, and of all others."""
    near = reference_head.nearness(*reference_head.table(toy.classifier.prototypes()), 3, row)
    own, others = [], []
    for record in toy.memory.exemplars():
        unit, _ = toy.hearing.embed(toy.memory.decode(record, np.zeros((LONGEST, 12), np.int8)))
        cosines = toy.classifier.cosines(unit).tolist()
        rival = max(cosine for k, cosine in enumerate(cosines[:3]) if k != row)
        (own if record.row == row else others).append(cosines[row] - ((3 * rival) >> 2) - (near >> 2))
    return own, others


def test_a_word_has_a_threshold_above_the_background_and_below_its_takes() -> None:
    toy, _ = taught(dataclasses.replace(CONFIG, steps=40))
    own, others = scores_of(toy, 3)
    ceiling = sum(own) // len(own) - BELOW_TAKES_Q14
    background = max(others) + ABOVE_BACKGROUND_Q14
    assert background < ceiling  # this word was learned well enough for the order of the three to be free
    between = (background + ceiling) // 2
    assert toy.learner.threshold_q14(3, background - 1) == background
    assert toy.learner.threshold_q14(3, -5000) == background
    assert toy.learner.threshold_q14(3, between) == between
    assert toy.learner.threshold_q14(3, ceiling + 1) == ceiling
    assert toy.learner.threshold_q14(3, 30000) == ceiling


def test_a_word_that_sounds_like_an_old_one_is_still_heard() -> None:
    """Its takes score no better than the background: the threshold stays below the takes, not above the background."""
    toy = make_toy(0)
    record = toy.memory.exemplars()[0]
    row = toy.learner.enrol([toy.memory.decode(record, np.zeros((LONGEST, 12), np.int8)).copy()])
    own, others = scores_of(toy, row)
    assert max(others) + ABOVE_BACKGROUND_Q14 > own[0] - BELOW_TAKES_Q14
    assert toy.learner.threshold_q14(row, 0) == own[0] - BELOW_TAKES_Q14


def test_a_threshold_with_nothing_to_go_by_is_the_default() -> None:
    toy = make_toy(0)
    toy.memory.unpack(np.zeros(0, np.uint8))
    assert toy.learner.threshold_q14(1, 7000) == 7000
    # without other words only the takes bound it, without takes only the other words do
    row = toy.learner.enrol(takes_of(np.random.default_rng(1), 2))
    own, _ = scores_of(toy, row)
    assert toy.learner.threshold_q14(row, 30000) == sum(own) // 2 - BELOW_TAKES_Q14
    assert toy.learner.threshold_q14(row, -9000) == -9000
    assert toy.learner.threshold_q14(0, -9000) == max(scores_of(toy, 0)[1]) + ABOVE_BACKGROUND_Q14


def test_asking_for_a_threshold_changes_nothing() -> None:
    toy, _ = taught()
    before = toy.snapshot()
    assert toy.learner.threshold_q14(3, 0) == toy.learner.threshold_q14(3, 0)
    assert toy.snapshot() == before


def test_only_what_is_near_is_heard_in_all_voices_for_a_threshold() -> None:
    toy, _ = taught()
    records = toy.memory.exemplars()
    own = sum(frames_in_all_voices(record.frames) for record in records if record.row == 3)
    others = [record.frames for record in records if record.row != 3]
    for least, heard in ((1 << 14, sum(others)), (-(1 << 15), sum(map(frames_in_all_voices, others)))):
        report = TeachReport()
        toy.learner.threshold_q14(3, least, report)
        assert report.counts.frames == own + heard


def test_enrolment_keeps_the_takes_and_needs_a_row() -> None:
    toy = make_toy(0)
    rng = np.random.default_rng(7)
    for row in range(3, 7):
        assert toy.learner.enrol(takes_of(rng, 2, frames=50)) == row
    records = [record for record in toy.memory.exemplars() if record.row >= 3]
    assert [record.row for record in records] == [3, 3, 4, 4, 5, 5, 6, 6]
    assert {record.frames for record in records} == {LONGEST}
    with pytest.raises(BudgetExceeded):
        toy.learner.enrol(takes_of(rng, 2))


def test_the_work_of_a_lesson_is_about_what_a_real_one_counts() -> None:
    """All of it: the takes, steps, and hearing all exemplars for the checks and for the threshold."""
    config, toy = LearnerConfig(steps=12, alike_q14=1 << 15, max_old_loss=1.0), make_toy(0)
    takes = takes_of(np.random.default_rng(100), 4)
    report = TeachReport(toy.hearing.embed_takes(takes)[1])
    row = toy.learner.enrol(takes, report)
    estimate = toy.learner.dry_run(config.steps)
    list(toy.learner.teach(row, config, report))
    toy.learner.threshold_q14(row, 1 << 14, report)  # of which no other word is near
    real = report.counts
    assert estimate.macs_forward == pytest.approx(real.macs_forward, rel=0.3)
    assert estimate.macs_gradient == pytest.approx(real.macs_gradient, rel=0.3)
    assert estimate.activations == pytest.approx(real.activations, rel=0.3)


def test_a_tape_without_room_for_the_gradients_of_the_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="a tape of 1 frames has no room for 4 taught rows: it needs 3"):
        make_toy(0, tape_frames=1)


def test_measuring_work_changes_nothing() -> None:
    toy = make_toy(0)
    before = toy.snapshot()
    (_, heard), rehearsed = toy.hearing.hear_exemplars(), toy.learner.dry_run(12)
    assert toy.snapshot() == before
    assert heard.frames == sum(frames_in_all_voices(record.frames) for record in toy.memory.exemplars())
    assert rehearsed.macs_gradient > 0
    records, takes = toy.memory.exemplars(), LearnerConfig().least_takes
    steps = sum(records[n % 9].frames for n in range(12))
    checks = CHECKS * sum(record.frames for record in [*records, *(3 * records[:takes])])
    followed = sum(records[n % 9].frames for n in range(12 // 2 + 2 * takes))
    enrolled = 2 * sum(frames_in_all_voices(record.frames) for record in records[:takes])
    threshold = sum(record.frames for record in records)
    assert rehearsed.frames == steps + checks + followed + enrolled + threshold
    for _ in range(3):
        toy.memory.remove_row(0)
    assert toy.learner.dry_run(12).frames == 0
