"""Plans: what is planned is what is used, to the byte, and what fits is used to learn."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelearn.audio.melbank import FrontendConfig
from edgelearn.device.plan import Choice, Plan, needed_bytes
from edgelearn.device.sizes import KIB, parse_size
from edgelearn.engine.network import LayerConfig, NetworkConfig
from edgelearn.errors import BudgetExceeded
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.runtime.layout import (
    LEAST_TAPE_FRAMES,
    MOST_TAPE_FRAMES,
    device_regions,
    limits_of,
    listening_regions,
    shape_of,
)
from edgelearn.runtime.model import BASE_MODEL, Model, Word, load_model
from edgelearn.runtime.planner import fits, options, plan_device, plan_of, step_counts, sufficient_bytes
from edgelearn.runtime.voice import VoiceDevice
from tests.engine.engine_cases import random_params

Takes = list[NDArray[np.int8]]
Layers = tuple[tuple[int, int], ...]
SHIPPED = load_model(BASE_MODEL)
BUDGETS = tuple(k * KIB for k in (16, 64, 128, 256, 1024))


def model_of(layers: Layers, base_rows: int, theta: int, seed: int = 0) -> Model:
    """A random model of these (inputs, hidden): it knows nothing, but it can be taught."""
    rng = np.random.default_rng(seed)
    network = NetworkConfig(tuple(LayerConfig(n, h, 6, theta, theta) for n, h in layers))
    shipped = FrontendConfig()
    return Model(
        frontend=replace(shipped, bands=network.inputs),
        endpoint=SHIPPED.endpoint,
        network=network,
        labels=tuple(f"toy:{k}" for k in range(base_rows)),
        words=(Word("0", 0, 6000),),
        params=random_params(network, rng, 3000.0),
        prototypes=rng.integers(-127, 128, (base_rows, network.hidden)).astype(np.int8),
        rehearsal=np.zeros(0, np.uint8),
        open_set_q14=6000,
    )


@st.composite
def shapes(draw: st.DrawFn) -> tuple[Layers, int, int]:
    inputs = draw(st.sampled_from((8, 13, 16, 32, 40)))
    hidden = draw(st.lists(st.integers(16, 144), min_size=1, max_size=3))
    layers = tuple(zip((inputs, *hidden), hidden, strict=False))
    return layers, draw(st.integers(1, 70)), draw(st.sampled_from((0, 820, 2048)))


def check_plan(layers: Layers, base_rows: int, theta: int, budget: int, rehearsal: int | None) -> None:
    """Plan a device and build it: region by region the same; one frame more would not have fitted."""
    model = model_of(layers, base_rows, theta)
    shape = shape_of(model)
    enough = sufficient_bytes(shape, rehearsal)
    if budget <= enough - KIB:
        with pytest.raises(BudgetExceeded) as caught:
            VoiceDevice(model, budget, rehearsal)
        error = caught.value
        assert error.asked_bytes > error.free_bytes >= 0
        assert parse_size(error.hint.partition("--budget ")[2].partition(",")[0]) == enough
    budget = max(budget, enough)
    plan = plan_device(shape, budget, rehearsal)
    device = VoiceDevice(model, budget, rehearsal)
    assert device.plan == plan
    check_device(device, plan)
    longer = replace(plan.choice, tape_frames=plan.choice.tape_frames + 1)
    if plan.choice.tape_frames < MOST_TAPE_FRAMES:
        assert needed_bytes(device_regions(shape, longer)) > budget, "a longer tape would have fitted"


def check_device(device: VoiceDevice, plan: Plan) -> None:
    """What is used is what was planned."""
    assert device.arena.regions == plan.regions, "name, offset, size, type, shape and padding of each"
    assert device.arena.used_bytes == device.arena.high_water_bytes == plan.used_bytes
    assert plan.used_bytes + plan.free_bytes == plan.budget_bytes == device.arena.budget_bytes
    assert plan.free_bytes >= 0
    assert device.arena.parts() == plan.parts()
    assert device.tape.checkpoint_every == plan.choice.checkpoint_every
    assert device.memory.capacity_bytes == plan.choice.rehearsal_bytes


BUDGETS_OF_ALL_KINDS = st.integers(16 * KIB, 1024 * KIB)
REHEARSALS = st.sampled_from((None, None, 4096, 9001))


@settings(max_examples=12, deadline=None)
@given(shapes(), BUDGETS_OF_ALL_KINDS, REHEARSALS)
def test_planned_bytes_are_used_bytes(shape: tuple[Layers, int, int], budget: int, rehearsal: int | None) -> None:
    check_plan(*shape, budget, rehearsal)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(shapes(), BUDGETS_OF_ALL_KINDS, REHEARSALS)
def test_planned_bytes_are_used_bytes_500_times(
    shape: tuple[Layers, int, int], budget: int, rehearsal: int | None
) -> None:
    check_plan(*shape, budget, rehearsal)


@settings(max_examples=25, deadline=None)
@given(shapes(), st.integers(LEAST_TAPE_FRAMES, 128), st.integers(0, 20), st.integers(1024, 9000), st.integers(0, 3))
def test_any_choice_is_laid_out_as_planned(
    shape: tuple[Layers, int, int], frames: int, every: int, rehearsal: int, spare: int
) -> None:
    """Checkpoints with stored gradients, too, and budgets that are used up to the last byte."""
    model = model_of(*shape)
    choice = Choice(frames, every, rehearsal)
    needed = needed_bytes(device_regions(shape_of(model), choice))
    plan = plan_of(shape_of(model), needed + spare, choice)
    check_device(VoiceDevice(model, plan=plan), plan)
    with pytest.raises(BudgetExceeded):
        VoiceDevice(model, plan=plan_of(shape_of(model), needed - 1, choice))


@pytest.mark.parametrize("budget", BUDGETS)
def test_each_budget_runs_a_lesson_or_says_what_is_missing(budget: int, takes: Takes) -> None:
    """The shipped network where it fits, else the widest that does; where none does, that is what is said."""
    model = SHIPPED
    try:
        device = VoiceDevice(model, budget)
    except BudgetExceeded as error:
        hint = error.hint
        assert f"--budget {sufficient_bytes(shape_of(model)) // KIB}KiB" in hint
        if "hidden units on 32 bands" in hint:
            assert budget == 16 * KIB
            least = parse_size(hint.partition("at the very least ")[2].partition(" with")[0])
            small = model_of(((32, 16),), len(model.labels), 1000)
            assert not fits(shape_of(small), least - KIB)
            budget, device = least, VoiceDevice(small, least)
        else:
            hidden = int(hint.partition("a network of ")[2].partition(" hidden")[0])
            model = model_of(((32, hidden),), len(model.labels), 1000)
            device = VoiceDevice(model, budget)
            assert not fits(shape_of(model_of(((32, hidden + 8),), len(model.labels), 1000)), budget)
    config = LearnerConfig(steps=6, least_takes=0, max_old_loss=1.0, agreement_q14=-16384)
    report = list(device.teach("computer", takes[:3], config))[-1]
    assert report.updates == 6
    assert device.arena.high_water_bytes == device.plan.used_bytes <= budget
    assert any(word.name == "computer" for word in device.model().words)


def test_a_device_with_checkpoints_learns_the_same(takes: Takes) -> None:
    """The weights are those that the gates of all frames give, step by step with the same rounding."""
    shape, config = shape_of(SHIPPED), LearnerConfig(steps=6, max_old_loss=1.0)
    learned = []
    for every in (0, 8):
        plan = plan_of(shape, 1 << 20, Choice(30, every, 16 * KIB))
        device = VoiceDevice(SHIPPED, plan=plan)
        reports = device.teach("computer", takes[:3], config)
        report = list(itertools.islice(reports, config.steps))[-1]
        learned.append((device.network.params(), device.memory.pack(), report))
        list(reports)
        assert device.arena.high_water_bytes == plan.used_bytes
    (params, records, first), (again, same_records, second) = learned
    assert all((again[key] == array).all() for key, array in params.items())
    assert any((SHIPPED.params[key] != array).any() for key, array in params.items())
    assert (records == same_records).all()
    assert first.losses == second.losses
    assert second.counts.macs_backward > first.counts.macs_backward, "recomputing is work"


def test_records_of_a_model_are_never_planned_away() -> None:
    shape = shape_of(SHIPPED)
    least = limits_of(shape).least_rehearsal_bytes
    assert least >= shape.records_bytes
    plan = plan_device(shape, sufficient_bytes(shape))
    assert plan.choice.rehearsal_bytes >= shape.records_bytes
    roomy = replace(shape, records_bytes=40_000)
    assert plan_device(roomy, 1 << 20).choice.rehearsal_bytes == 40_000
    few = replace(shape, records_bytes=100)
    assert plan_device(few, sufficient_bytes(few)).choice.rehearsal_bytes < 16 * KIB


def test_only_taught_words_make_room() -> None:
    """What a shipped word has in the rehearsal memory stays there when it is removed."""
    shape = shape_of(SHIPPED)
    assert (shape.records_bytes, shape.taught_bytes) == (len(SHIPPED.rehearsal), 0)
    rows = SHIPPED.rehearsal.copy()
    rows[0] = shape.base_rows
    size = int(rows[2]) | (int(rows[3]) & 127) << 8
    assert shape_of(replace(SHIPPED, rehearsal=rows)).taught_bytes == size
    for taught, told in ((0, False), (10_000, True)):
        many = replace(shape, records_bytes=30_000, taught_bytes=taught)
        with pytest.raises(BudgetExceeded) as caught:
            plan_device(many, sufficient_bytes(many) - 8_000)
        assert ("`edgelearn remove` a taught word" in caught.value.hint) == told


def test_options_lie_on_one_curve_of_memory_and_work() -> None:
    shape = shape_of(SHIPPED)
    plan = plan_device(shape, 256 * KIB)
    found = options(shape, plan)
    assert [option.needed_bytes for option in found] == sorted(option.needed_bytes for option in found)
    (chosen,) = (option for option in found if option.chosen)
    assert chosen.choice == plan.choice
    assert chosen.fits
    assert chosen.needed_bytes <= 256 * KIB
    for option in found:
        assert option.needed_bytes == plan_of(shape, 1 << 30, option.choice).used_bytes
    full = next(o for o in found if o.choice.tape_frames == MOST_TAPE_FRAMES and not o.choice.checkpoint_every)
    again = [o for o in found if o.choice.tape_frames == MOST_TAPE_FRAMES and o.choice.checkpoint_every]
    assert again
    assert all(o.step.macs_backward > full.step.macs_backward for o in again), "recomputing is work"


def test_listening_is_a_part_of_the_whole() -> None:
    shape = shape_of(SHIPPED)
    listening = list(listening_regions(shape))
    whole = list(device_regions(shape, Choice(8, 0, 4096)))
    assert whole[: len(listening)] == listening
    assert {name.partition(".")[0] for name, _, _ in whole[len(listening) :]} == {
        "rehearsal", "last", "learning", "tape"
    }  # fmt: skip


@pytest.mark.parametrize("every", [0, 8])
def test_the_estimate_of_a_step_is_near_the_counts_of_a_real_one(every: int) -> None:
    """At the occupancy of the run; what is estimated is how the active columns fall."""
    model = SHIPPED
    plan = plan_of(shape_of(model), 1 << 20, Choice(40, every, 16 * KIB))
    device = VoiceDevice(model, plan=plan)
    record = max(device.memory.exemplars(), key=lambda exemplar: exemplar.frames)
    frames = device.memory.decode(record, np.empty((108, 32), np.int8))
    report = TeachReport()
    device.learner.step(frames, record.row, 0, LearnerConfig(rate_q16=0), report)
    real = report.counts
    estimate = step_counts(model.network, plan.choice, len(model.endpoint.surroundings.own(frames)), 1 - real.sparsity)
    for name in ("macs_forward", "macs_backward", "macs_gradient", "tape_bytes", "activations", "elementwise_ops"):
        assert getattr(estimate, name) == pytest.approx(getattr(real, name), rel=0.25), name
    assert estimate.state_bytes == pytest.approx(real.state_bytes, rel=0.25)


@example(16 * KIB)
@given(st.integers(8 * KIB, 400 * KIB))
@settings(max_examples=40, deadline=None)
def test_what_is_named_as_near_fits(budget: int) -> None:
    shape = shape_of(SHIPPED)
    try:
        plan_device(shape, budget)
    except BudgetExceeded as error:
        hint = error.hint
    else:
        return
    assert parse_size(hint.partition("--budget ")[2].partition(",")[0]) == sufficient_bytes(shape)
    if "a network of " in hint:
        hidden = int(hint.partition("a network of ")[2].partition(" hidden")[0])
        assert plan_device(shape.with_hidden(hidden), budget).used_bytes <= budget
    assert ("listening alone" in hint) == (needed_bytes(listening_regions(shape)) <= budget)
