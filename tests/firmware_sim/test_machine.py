"""The simulated machine: the engine's own events and integers, exact sums, no deadline missed, power cuts survived."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgelearn.device.board import list_boards, load_board
from edgelearn.device.cost import cost
from edgelearn.engine.counts import Counts
from edgelearn.errors import BudgetExceeded
from edgelearn.firmware.export import firmware_device
from edgelearn.learning.directions import no_directions
from edgelearn.learning.learner import LEAST_GAIN_Q14, Check, LearnerConfig, TeachReport
from edgelearn.runtime.model import BASE_MODEL, Model, Word, load_model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.session import Session
from edgelearn.runtime.voice import REHEARSAL_BYTES, TAUGHT_ROWS, VoiceDevice
from firmware_sim.__main__ import main
from firmware_sim.machine_loop import Machine, MachineConfig, Returns
from firmware_sim.machine_meter import AJ_PER_J, AJ_PER_UJ, NS_PER_S, STATES, Meter, Price
from firmware_sim.machine_probe import Probe
from firmware_sim.machine_report import sentence, verdict
from firmware_sim.machine_store import ModelStore
from firmware_sim.scenario import SAMPLE_RATE_HZ, Deed, Scenario, Sound

ROOT = Path(__file__).resolve().parents[2]
TAKES = tuple(RECORDINGS / f"computer_flite-slt_take{n}.wav" for n in (1, 2, 3))
AGAIN, LEFT, DOWN = (next(RECORDINGS.glob(f"{name}*.wav")) for name in ("computer_flite-slt_take5", "left_", "down_"))
QUICK = LearnerConfig(steps=6, sweeps=1, many_takes=1, max_old_loss=1.0)
TEACH = Deed(1.0, "teach", "computer", TAKES)
HEARD = (TEACH, Deed(6.0, "say", files=(DOWN,)), Deed(14.0, "say", files=(AGAIN, LEFT)))
SECONDS = 16.5
MS = 1_000_000


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BASE_MODEL)


def machine_of(
    model: Model, *deeds: Deed, seconds: float, board: str = "stm32u575", returns: Returns = "piece",
    slice_us: float = 1000.0, worst: bool = False,
) -> Machine:  # fmt: skip
    scenario = Scenario(seconds, deeds, seed=4)
    config = MachineConfig(returns=returns, slice_us=slice_us, worst=worst)
    machine = Machine(model, load_board(board), scenario, Sound(scenario), QUICK, config)
    machine.run()
    return machine


@pytest.fixture(scope="module")
def run(model: Model) -> Machine:
    """A word taught, others heard while it is learned and after: sixteen and a half seconds."""
    return machine_of(model, *HEARD, seconds=SECONDS)


def bits(device: VoiceDevice) -> list[bytes]:
    now = device.model()
    return [array.tobytes() for array in (*now.params.values(), now.prototypes, now.rehearsal)]


def words(machine: Machine) -> list[str]:
    return [one.text for one in machine.tally.log if one.what == "word"]


def times(machine: Machine, what: str) -> list[float]:
    return [one.at_s for one in machine.tally.log if one.what == what]


def session_of(model: Model, seconds: float, hop: int) -> tuple[VoiceDevice, list[Event]]:
    """The same sound and the same device without a machine: one lesson's steps after each block."""
    scenario = Scenario(seconds, HEARD, seed=4)
    device = firmware_device(model, 256 * 1024 - 4 * hop)
    session, sound, events = Session(device, QUICK, steps_per_block=1), Sound(scenario), []
    for half in range(round(seconds * SAMPLE_RATE_HZ) // hop):
        if half * hop == round(TEACH.at_s * SAMPLE_RATE_HZ):
            session.ask_for("computer", len(TAKES))
        events += [one for one in session.push(sound.next(hop)) if isinstance(one, Event)]
    return device, events


def test_it_hears_and_learns_the_integers_that_a_session_does(model: Model, run: Machine) -> None:
    device, events = session_of(model, SECONDS, run.hop)
    heard = [one.event for one in run.tally.log if one.event is not None]
    # the first word comes while the machine still learns, in weights that the session may have put back by then
    assert heard[1:] == events[1:]
    assert replace(heard[0], score_q14=0, sparsity=0) == replace(events[0], score_q14=0, sparsity=0)
    assert [event.word for event in events] == ["down", "computer", "left"]
    assert bits(run.device) == bits(device)
    assert run.device.plan == device.plan
    assert run.device.arena.high_water_bytes == device.arena.high_water_bytes


@pytest.mark.parametrize("board", ["stm32h7a3", "raspberry_pi_4"])
def test_on_any_board_the_lesson_is_the_same(model: Model, run: Machine, board: str) -> None:
    other = machine_of(model, *HEARD, seconds=SECONDS, board=board)
    assert words(other) == words(run)
    assert bits(other.device) == bits(run.device)
    assert times(other, "taught") < times(run, "taught")


def test_the_same_script_is_the_same_run(model: Model, run: Machine) -> None:
    again = machine_of(model, *HEARD, seconds=SECONDS)
    assert again.tally == run.tally
    assert (again.meter.ns, again.meter.aj, again.meter.timeline_aj) == (
        run.meter.ns, run.meter.aj, run.meter.timeline_aj
    )  # fmt: skip


def test_time_and_energy_add_up_to_the_last_unit(run: Machine) -> None:
    meter = run.meter
    assert sum(meter.ns.values()) == meter.now_ns
    assert 0 <= meter.now_ns - SECONDS * 1000 * MS < 2 * MS  # a slice that was under way at the end is done
    assert {state: sum(cells) for state, cells in meter.timeline_aj.items()} == meter.aj
    last = meter.now_ns - (len(meter.watts()) - 1) * meter.step_ns
    joules = sum(meter.watts()[:-1]) * meter.step_ns / NS_PER_S + meter.watts()[-1] * last / NS_PER_S
    assert joules == pytest.approx(meter.total_aj / AJ_PER_J, rel=1e-12)
    board = run.board
    assert board.idle_w is not None
    assert meter.aj["idle"] == meter.ns["idle"] * round(board.idle_w.value * NS_PER_S)
    for state, counts in run.tally.counts.items():
        spent = cost(counts, board)  # all of it at once, priced by the cost model itself
        assert meter.ns[state] == pytest.approx(spent.seconds * NS_PER_S, rel=1e-4)
        assert meter.aj[state] == pytest.approx(spent.joules * AJ_PER_J, rel=1e-4)
    assert meter.ns["flash"] == pytest.approx(1000 * run.store.flash.busy_us, rel=1e-12)
    drawn_aj = meter.ns["flash"] * round(board.idle_w.value * NS_PER_S)
    assert meter.aj["flash"] == pytest.approx(run.store.flash.energy_uj * AJ_PER_UJ + drawn_aj, rel=1e-12)


def test_it_misses_nothing_where_learning_returns_after_each_piece(run: Machine) -> None:
    tally = run.tally
    assert (tally.missed, tally.lost) == (0, 0)
    assert (
        tally.frames == round(SECONDS * 1000) // 20 - 2
    )  # the first half is no whole frame, the last is full when the run is over
    assert tally.worst_response_ns <= tally.longest_slice_ns + tally.frontend_ns
    assert tally.longest_slice_ns <= max(MS + tally.longest_piece_ns, 1500_000)  # or the erasing of a page
    assert tally.commits == 1
    assert run.store.recover()[0].word("computer").takes == 3


@pytest.mark.parametrize("board", list_boards())
def test_no_board_misses_a_deadline_even_with_its_worst_figures(model: Model, board: str) -> None:
    machine = machine_of(model, TEACH, seconds=SECONDS, board=board, worst=True)
    assert (machine.tally.missed, machine.tally.lost) == (0, 0)
    assert machine.tally.counts["learning"].macs_gradient > 0


def test_without_slices_it_misses_deadlines_and_says_what_would_do(model: Model) -> None:
    whole = machine_of(model, TEACH, seconds=6.5, returns="step")
    calls = machine_of(model, TEACH, seconds=6.5, returns="call")
    assert whole.tally.lost > calls.tally.lost > 0
    found = verdict(whole)
    assert found["worst_late_ms"] == pytest.approx(found["worst_response_ms"] - 20)
    assert found["slice_that_does_ms"] == pytest.approx(20 - found["frontend_ms"])
    assert f"slices of up to {found['slice_that_does_ms']:.3g} ms would do" in sentence(found)
    just = machine_of(model, TEACH, seconds=6.5, slice_us=1000 * found["slice_that_does_ms"])
    assert just.tally.missed == 0
    assert just.tally.longest_slice_ns > 15 * MS


def step_counts(device: VoiceDevice) -> Counts:
    """What one gradient step counts."""
    record, report = device.memory.exemplars()[1], TeachReport()
    frames = device.memory.decode(record, np.empty((255, device.frontend.config.bands), np.int8))
    device.learner.step(frames, record.row, 5, LearnerConfig(), report)
    return report.counts


def test_the_pieces_of_the_calls_sum_to_their_counts(model: Model) -> None:
    plain, watched = (firmware_device(model, 256 * 1024) for _ in range(2))
    probe = Probe(watched)
    wanted, found = step_counts(plain), step_counts(watched)
    assert found == wanted
    pieces = probe.take_learned()
    for name in ("forward", "backward", "update"):
        assert any(piece.call == name for piece in pieces)
    engine = [piece.counts for piece in pieces if piece.call in ("forward", "backward", "update")]
    assert sum(engine, Counts()) == wanted
    assert bits(plain) == bits(watched)
    assert [piece.writes for piece in pieces] == [piece.call == "update" for piece in pieces]
    assert min(min(vars(piece.counts).values()) for piece in pieces) >= 0


def test_the_pieces_of_a_sweep_sum_to_its_counts(model: Model) -> None:
    plain, watched = (firmware_device(model, 256 * 1024) for _ in range(2))
    probe, reports = Probe(watched), (TeachReport(), TeachReport())
    for device, report in zip((plain, watched), reports, strict=True):
        frames = device.memory.decode(device.memory.exemplars()[0], np.empty((255, 32), np.int8))
        row = device.learner.enrol([np.maximum(frames, floor) for floor in (-90, -60, -30)])
        units = device.learner.embed_exemplars(TeachReport())
        assert len(units) == len(device.memory.exemplars())
        probe.take_learned()
        device.learner.adapt_rows(units, 9830, [row], report)
    pieces = probe.take_learned()
    assert reports[0] == reports[1]
    assert bits(plain) == bits(watched)
    assert [piece.call for piece in pieces] == ["sweep"] * (len(units) + len(model.labels) + 1)
    assert sum((piece.counts for piece in pieces), Counts()) == reports[0].counts


def test_a_lesson_compares_its_weights_with_flash_and_may_put_them_back(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gained in (True, False):
        device = firmware_device(model, 256 * 1024)
        probe, layer = Probe(device), model.network.layers[0]
        frames = device.memory.decode(device.memory.exemplars()[0], np.empty((255, 32), np.int8))
        row = device.learner.enrol([frames])
        found = iter((Check(9, 9, 0), Check(9, 9, LEAST_GAIN_Q14 + gained)))
        monkeypatch.setattr(device.learner, "check", lambda *_, found=found: next(found))
        probe.take_learned()
        list(device.learner.teach(row, LearnerConfig(sweeps=1, many_takes=1, max_old_loss=1.0)))
        pieces = [piece for piece in probe.take_learned() if piece.call == "image"]
        columns = layer.inputs + layer.hidden + 1
        assert [piece.writes for piece in pieces] == [False] * columns + [True] * (0 if gained else columns + row + 1)
        size = columns * 8 * layer.hidden + 8 * layer.hidden  # both planes, and biases of 4 bytes
        total = sum((piece.counts for piece in pieces), Counts())
        assert total.weight_bytes_read == size
        assert total.weight_bytes_written == (0 if gained else size)


def test_a_price_is_that_of_the_cost_model(rng: np.random.Generator) -> None:
    for name in list_boards():
        board = load_board(name)
        numbers = {field: int(rng.integers(1, 10**6)) for field in vars(Counts())}
        counts = Counts(**numbers)
        spent = cost(counts, board, 81920)
        assert Price(board, 81920)(counts) == (
            pytest.approx(spent.seconds * NS_PER_S), pytest.approx(spent.joules * AJ_PER_J)
        )  # fmt: skip
        assert Price(board, 81920, worst=True)(counts)[0] == pytest.approx(spent.seconds_range.high * NS_PER_S)


def test_a_meter_loses_nothing_between_its_steps() -> None:
    meter = Meter(load_board("raspberry_pi_4"), 1e-7, 7)  # idle power comes on top there
    for state, ns, aj in (("listening", 5, 11), ("idle", 40, 0), ("learning", 3, 10**9 + 7), ("off", 9, 0)):
        meter.spend(state, ns, aj)
    assert meter.ns == dict.fromkeys(STATES, 0) | {"listening": 5, "idle": 40, "learning": 3, "off": 9}
    assert meter.aj["listening"] == 11 + 5 * 3 * 10**9
    assert meter.aj["learning"] == 10**9 + 7 + 3 * 3 * 10**9
    assert meter.aj["off"] == 0
    assert {state: sum(cells) for state, cells in meter.timeline_aj.items()} == meter.aj
    assert meter.timeline_aj["idle"][1] == 7 * 3 * 10**9


def test_a_power_cut_leaves_the_old_model_or_the_new_one(model: Model, run: Machine) -> None:
    (taught,), (saved,) = times(run, "taught"), times(run, "saved")
    middle = (taught + saved) / 2
    for at_s, commits in ((taught - 0.001, 0), (middle, 0), (middle + 0.00003, 0), (saved + 0.001, 1)):
        machine = machine_of(
            model, TEACH, Deed(6.0, "say", files=(DOWN,)), Deed(at_s, "power_cut", off_s=0.3),
            Deed(14.0, "say", files=(AGAIN, LEFT)), seconds=SECONDS,
        )  # fmt: skip
        assert machine.tally.commits == commits
        assert machine.tally.power_cuts == 1
        assert machine.tally.lessons_lost == 1 - commits
        assert machine.meter.ns["off"] == 300 * MS
        assert machine.meter.aj["off"] == 0
        heard = [one.text for one in machine.tally.log if one.what == "word" and one.at_s > 10]
        # what a device without the word takes it for is up to the model
        assert ("computer" in heard, heard[-1]) == (bool(commits), "left")
        assert ("computer" in [word.name for word in machine.device.model().words]) == bool(commits)


def test_a_lesson_that_cannot_be_is_refused_and_listening_goes_on(model: Model) -> None:
    known = Deed(0.5, "teach", "left", (LEFT,))
    busy = Deed(5.2, "teach", "lamp", (DOWN,))
    machine = machine_of(model, known, replace(TEACH, at_s=1.5), busy, seconds=6.5)
    refused = [one.text for one in machine.tally.log if one.what == "refused"]
    assert "already" in refused[0]
    assert refused[1] == "'lamp' is asked for while 'computer' is being learned"
    assert words(machine) == ["left", "down"]


def test_learning_that_fails_leaves_the_device_as_it_was(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = LearnerConfig(steps=3, sweeps=1, many_takes=1, max_old_loss=0.0)
    scenario = Scenario(9.0, (TEACH, Deed(6.5, "say", files=(DOWN,))), seed=4)
    machine = Machine(model, load_board("stm32h7a3"), scenario, Sound(scenario), strict, MachineConfig())
    before = bits(machine.device)
    found = iter((Check(9, 9, 0), Check(0, 9, 0)))
    monkeypatch.setattr(machine.device.learner, "check", lambda *_: next(found))
    machine.run()
    (refused,) = (one.text for one in machine.tally.log if one.what == "refused")
    assert "undone" in refused
    assert bits(machine.device) == before
    assert words(machine) == ["down"]
    assert machine.tally.commits == 0


def test_what_does_not_fit_the_board_is_refused(model: Model, tmp_path: Path) -> None:
    scenario = Scenario(1.0)

    def build(board: str, budget_bytes: int) -> None:
        Machine(model, load_board(board), scenario, Sound(scenario), QUICK, MachineConfig(budget_bytes))

    with pytest.raises(BudgetExceeded, match="SRAM"):
        build("stm32u385", 257 * 1024)
    text = (ROOT / "configs" / "boards" / "stm32u385.toml").read_text(encoding="utf-8")
    small = tmp_path / "small.toml"
    small.write_text(text.replace("value = 1048576,", "value = 400000,"), encoding="utf-8")
    with pytest.raises(BudgetExceeded, match="flash"):
        build(str(small), 256 * 1024)


def test_the_memory_of_the_board_is_accounted_for(run: Machine) -> None:
    assert sum(run.sram.values()) == run.board.ram_bytes.value
    assert run.sram["arena"] + run.sram["DMA double buffer"] + run.sram["stack and statics (reserved)"] <= 256 * 1024


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    script = tmp_path / "script.toml"
    script.write_text(f'seconds = 3\n[[event]]\nat_s = 1\ndo = "say"\nfiles = ["{LEFT}"]\n')
    picture = tmp_path / "power.svg"
    assert main(["run", "--script", str(script), "--board", "stm32u385", "--json", "--plot", str(picture)]) == 0
    assert "</svg>" in picture.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["word"] for line in lines if line["event"] == "word"] == ["left"]
    states = {line["state"]: line for line in lines if line["event"] == "state"}
    assert set(states) == set(STATES)
    summary = lines[-1]
    assert (summary["event"], summary["deadlines_missed"], summary["board"]) == ("summary", 0, "stm32u385")
    assert sum(state["joules"] for state in states.values()) == pytest.approx(summary["joules"], rel=1e-12)
    power = [line for line in lines if line["event"] == "power"]
    assert len(power) == 150
    assert sum(line["watts"] for line in power) * 0.02 == pytest.approx(summary["joules"], rel=1e-9)
    assert main(["run", "--audio", str(LEFT), "--worst"]) == 0
    assert "0 deadlines missed" in capsys.readouterr().out
    page = (ROOT / "docs" / "machine.md").read_text(encoding="utf-8")
    for name in {name for line in lines for name in line} - {"v", "event"}:
        assert f"{name}" in page, name


def test_what_the_command_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["run"]) == 2
    assert main(["run", "--seconds", "1", "--slice-us", "-1"]) == 2
    assert main(["run", "--seconds", "1", "--steps", "0"]) == 2
    assert main(["run", "--seconds", "1", "--board", "abacus"]) == 2
    assert main(["run", "--seconds", "1", "--budget", "9KiB"]) == 5
    assert main(["run", "--seconds", "1", "--plot", str(tmp_path / "a.html")]) == 2
    assert main(["run", "--script", "nowhere.toml"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_script_that_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    script = ROOT / "configs" / "scripts" / "teach_and_power_failure.toml"
    assert main(["run", "--board", "stm32h7a3", "--script", str(script), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["word"] for line in lines if line["event"] == "taught"] == ["computer"]
    assert [line["word"] for line in lines if line["event"] == "word"][-2:] == ["computer", "zero"]


def test_a_model_that_is_full_fits_a_slot_of_the_flash(model: Model) -> None:
    """As many words as there are rows for, and every byte of the rehearsal memory in use."""
    rows = TAUGHT_ROWS
    full = replace(
        model,
        prototypes=np.vstack([model.prototypes, np.zeros((rows, model.network.hidden), np.int8)]),
        words=(*model.words, *(Word(f"word {n}", len(model.prototypes) + n, 0, True) for n in range(rows))),
        rehearsal=np.zeros(REHEARSAL_BYTES, np.uint8),
        directions=no_directions(rows, model.network.hidden),
    )
    store = ModelStore(load_board("stm32u575"), model, REHEARSAL_BYTES)
    store.begin_commit(full)
    while not store.finish_operation():
        pass
    recovered, _ = store.recover()
    assert recovered is full
    more = np.zeros(REHEARSAL_BYTES + store.flash.config.page_bytes, np.uint8)
    with pytest.raises(BudgetExceeded, match="flash"):
        store.begin_commit(replace(full, rehearsal=more))
