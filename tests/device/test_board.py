"""Board files: each shipped one is whole and sourced, and a mistake in a file is an error that says where."""

import shutil
import subprocess
import sys

import pytest

from edgelearn.device.board import OPERATIONS, list_boards, load_board
from edgelearn.device.configfile import configs_dir
from edgelearn.errors import UsageError

BOARDS = (
    "raspberry_pi_4",
    "raspberry_pi_5",
    "raspberry_pi_zero_2w",
    "reneta",
    "stm32h7a3",
    "stm32l4r5",
    "stm32u385",
    "stm32u575",
)


def test_the_shipped_boards():
    assert list_boards() == BOARDS


@pytest.mark.parametrize("name", BOARDS)
def test_every_number_has_a_source_and_every_assumption_a_range(name):
    board = load_board(name)
    assert board.title
    assert board.notes
    figures = dict(board.figures())
    assert len(figures) >= len(OPERATIONS) + 3
    for figure in figures.values():
        assert len(figure.source) > 10
        assert figure.low <= figure.value <= figure.high
    assert all(not figures[key].verified for key in board.assumptions)
    assert (board.active_pj_per_cycle is None) != (board.energy_pj is None)


@pytest.mark.parametrize(
    ("name", "ms", "microjoules", "mhz"),
    [
        ("stm32l4r5", 43.2, 1820, 120),
        ("stm32u575", 29.1, 656, 160),
        ("stm32u385", 48.3, 245, 96),
        ("stm32h7a3", 11.3, 1376, 280),
    ],
)
def test_energy_of_a_cycle_follows_from_the_measured_run(name, ms, microjoules, mhz):
    board = load_board(name)
    assert board.clock_hz.value == mhz * 1e6
    assert board.active_pj_per_cycle.value == pytest.approx(microjoules * 1e6 / (ms * 1e-3 * mhz * 1e6), rel=0.01)


def test_names_are_forgiving_in_case_and_dashes_only():
    assert load_board("STM32U575").name == "stm32u575"
    assert load_board("raspberry-pi-zero-2w").name == "raspberry_pi_zero_2w"
    with pytest.raises(UsageError) as caught:
        load_board("raspbery_pi_5")
    assert "raspberry_pi_5" in caught.value.hint
    with pytest.raises(UsageError, match="cannot read"):
        load_board("no/such.toml")


def text_of(name="stm32u575"):
    return (configs_dir() / "boards" / f"{name}.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("mac_forward =", "mac_foward =", r"\[cycles\]: unknown key 'mac_foward'", "mac_forward"),
        ("\n[chip]", "\nvendor = 'ST'\n[chip]", "unknown key 'vendor'", "known"),
        ("schema = 1", "schema = 2", "schema 2 is unknown", "reads schema 1"),
        ("verified = true", "verified = 'yes'", "not true or false", "without quotes"),
        ("value = 160000000", "value = '160 MHz'", "clock_hz.value", "number"),
        ("value = 160000000", "value = 0", "more than 0", "number"),
        ("value = 160000000", "value = nan", "clock_hz.value", "number"),
        ("value = 160000000", "value = -1", "at least 0", "number"),
        ('unit = "Hz"', 'unit = "MHz"', "unit 'MHz' should be 'Hz'", "convert"),
        ("low = 121", "low = 143", "outside 143", "three"),
        ("includes_idle = true", "includes_idle = true\noperations_pj = {}", "either", "twice"),
        ("[chip]", "[chip", "not valid TOML", "toml.io"),
        ("title = ", "title = 3 #", "must be a text", "quotes"),
        ("\n[energy]", "\n[energie]", "unknown key 'energie'", "energy"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, old, new, message, hint):
    assert old in text_of()
    path = tmp_path / "mine.toml"
    path.write_text(text_of().replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as caught:
        load_board(path)
    assert str(path) in caught.value.message
    assert hint in caught.value.hint


def test_an_assumption_without_a_range_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text_of().replace("verified = true", "verified = false", 1))
    with pytest.raises(UsageError, match="needs low and high"):
        load_board(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"schema = 1"])
def test_files_that_are_no_boards(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"UTF-8|missing"):
        load_board(path)


def test_an_installed_package_finds_its_boards(tmp_path):
    package = configs_dir().parent / "edgelearn"
    installed = tmp_path / "edgelearn"
    shutil.copytree(package / "device", installed / "device")
    shutil.copytree(configs_dir(), installed / "_configs")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(package / name, installed / name)
    script = "from edgelearn.device import board; print(board.load_board('reneta').name, board.__file__)"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["reneta", str(installed / "device" / "board.py")]


def test_a_board_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text_of())
    assert load_board(path).name == "mine"
    assert load_board(str(path)).cycles == load_board("stm32u575").cycles


LEVELS = """
[[memory]]
name = "near"
size_bytes = { value = 100, unit = "byte", verified = true, source = "a test" }
cycles = { value = 1, unit = "cycle", verified = true, source = "a test" }

[[memory]]
name = "far"
size_bytes = { value = 1000, unit = "byte", verified = true, source = "a test" }
cycles = { value = 2, low = 1, high = 3, unit = "cycle", verified = false, source = "a test" }
"""


def test_memory_levels_are_read_in_order(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text_of() + LEVELS)
    board = load_board(path)
    assert [level.name for level in board.memory] == ["near", "far"]
    assert "memory far.cycles" in board.assumptions
    assert dict(board.figures())["memory near.size_bytes"].value == 100
    assert load_board("stm32u575").memory == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 100,", "value = 2000,", "not in order"),
        ('name = "far"', 'nme = "far"', "unknown key 'nme'"),
        ('unit = "cycle"', 'unit = "pJ"', "should be 'cycle'"),
        ('[[memory]]\nname = "far"', 'energy_pj = 3\n[[memory]]\nname = "far"', "unknown key 'energy_pj'"),
    ],
)
def test_a_mistake_in_a_memory_level_is_named(tmp_path, old, new, message):
    assert old in LEVELS
    path = tmp_path / "mine.toml"
    path.write_text(text_of() + LEVELS.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        load_board(path)


def test_levels_must_be_a_list(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("memory = 3\n" + text_of())
    with pytest.raises(UsageError, match="list of tables"):
        load_board(path)


def test_sleep_and_leakage_are_known_where_they_matter():
    for name in list_boards():
        board = load_board(name)
        assert (board.sleep_w is not None) == name.startswith("stm32"), "a Raspberry Pi does not sleep"
        assert (board.leakage_w is not None) == (board.energy_pj is not None), "energy a cycle has its leakage in it"
        if board.sleep_w is not None:
            assert board.sleep_w.high < board.idle_w.value
