"""Accelerators as files: those that ship, and what is wrong with others, in one sentence each."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelearn.device.configfile import configs_dir, shipped
from edgelearn.errors import UsageError
from firmware_sim.accelerator.config import load_accelerator, with_processing_elements


def test_those_that_ship_can_be_read() -> None:
    assert shipped("accelerators") == ("reneta_dram", "reneta_rtl", "reneta_sheet")
    for name in shipped("accelerators"):
        config = load_accelerator(name)
        assert (config.name, config.vector_cycles) == (name, 1)
        assert config.timing.lanes == config.array.processing_elements
    assert load_accelerator("RENETA-RTL").timing == load_accelerator("reneta_rtl").timing


def test_a_narrow_or_slow_memory_takes_longer_for_a_word_for_every_element() -> None:
    config = load_accelerator("reneta_rtl")
    wider = with_processing_elements(config, 48)
    assert (wider.memory.word_bits, wider.vector_cycles) == (768, 1)
    assert with_processing_elements(config, 4).memory.word_bits == 64


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema 2 is unknown"),
        ("mux_stages = 5", "mux_stages = 2", "mux_stages: 2 is not a whole number from 3 to"),
        ("mux_stages = 5", "mux_stage = 5", r"unknown key 'mux_stage'(.|\n)*mux_stages"),
        ("latency_cycles = 0", "latency_cycles = 1.5", "latency_cycles: 1.5 is not a whole number from 0 to"),
        ("processing_elements = 16", "processing_elements = 0", "processing_elements: 0 is not a whole number from 1"),
        ("processing_elements = 16", "processing_elements = 4096", "to 1,024"),
        ("write_back = false", "write_back = 0", "write_back: 0 is not true or false"),
        ('notes = "', 'notes = ""#', "notes must be a text"),
        ("encoder_stages = 3", "", "missing encoder_stages"),
        ("[lists]", "lists = 1\n[list]", "unknown key 'list'"),
        ("word_bits = 256", "word_bits = ", "is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (configs_dir() / "accelerators" / "reneta_rtl.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=message) as error:
        load_accelerator(path)
    assert str(path) in str(error.value)


def test_a_name_or_a_number_that_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"no accelerator 'reneta_rtx'\n.*reneta_rtl"):
        load_accelerator("reneta_rtx")
    with pytest.raises(UsageError, match="cannot read"):
        load_accelerator("nowhere.toml")
    for elements in (0, -1, 1025):
        with pytest.raises(UsageError, match="processing elements cannot be"):
            with_processing_elements(load_accelerator("reneta_rtl"), elements)
