"""An accelerator as data: processing elements, queues, pipelines and memory, read from configs/accelerators/*.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgelearn.device.configfile import check_keys, find_shipped, read_toml
from edgelearn.errors import UsageError
from firmware_sim.accelerator.machine import Timing

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Array:
    """The processing elements (PEs), one multiply-accumulate each: row r of W is the business of PE r mod P.

    accumulators: words a PE has for CM (x) d, one for each column.
    """

    processing_elements: int
    operand_bits: int
    accumulators: int
    clock_hz: int


@dataclass(frozen=True)
class Pipeline:
    """Registers between units, in cycles.

    descriptor_cycles: from a step's command to its descriptor. start_cycles: from a command in a unit's queue to the
    unit running. mux_stages: from the operand queues to the core. core_stages: from a pair to its result.
    chain_stages: what the chain of adders of W^T CM has besides one for each PE. hazard_cycles: after a pair of
    CM (x) d, as many further ones must be of other columns.
    """

    descriptor_cycles: int
    start_cycles: int
    mux_stages: int
    core_stages: int
    chain_stages: int
    hazard_cycles: int


@dataclass(frozen=True)
class Lists:
    """The activation memory's read ports: requests that a port holds, and values that wait for the multiplexer."""

    request_queue: int
    value_queue: int


@dataclass(frozen=True)
class Memory:
    """The DRAM that weights, CM lists and gradients stream from and to, one half-duplex bus.

    word_bits in every cycles_per_word; a word is there latency_cycles after it was asked for, with at most
    requests_in_flight on their way; weight_queue words for all PEs wait for the multiplexer.
    """

    word_bits: int
    cycles_per_word: int
    latency_cycles: int
    requests_in_flight: int
    weight_queue: int


@dataclass(frozen=True)
class Sequencer:
    """What the control waits, in cycles, between a step's end and the next one's command.

    mxv_wait_cycles: after the readers' last request of M += W d. mtxv_wait_cycles: after the last pair of W^T CM.
    """

    mxv_wait_cycles: int
    mtxv_wait_cycles: int


@dataclass(frozen=True)
class Work:
    """What is done besides the products.

    write_back: results go back to the activation memory, where a write goes before a read. dense_accumulators: the
    accumulators of CM (x) d are cleared and read out with every column in the first and in the last step.
    encoder_entries: deltas that the encoder writes in a cycle. encoder_stages: its registers.
    """

    write_back: bool
    dense_accumulators: bool
    encoder_entries: int
    encoder_stages: int


_SECTIONS: dict[str, type[Any]] = {
    "array": Array,
    "pipeline": Pipeline,
    "lists": Lists,
    "memory": Memory,
    "sequencer": Sequencer,
    "work": Work,
}
_MAY_BE_ZERO = ("latency_cycles", "mxv_wait_cycles", "mtxv_wait_cycles")
_LEAST = {"mux_stages": 3}
_MOST = 1 << 20
_MOST_LANES = 1024


@dataclass(frozen=True)
class AcceleratorConfig:
    """An accelerator, read from a TOML file."""

    name: str
    title: str
    notes: str
    array: Array
    pipeline: Pipeline
    lists: Lists
    memory: Memory
    sequencer: Sequencer
    work: Work

    @property
    def vector_cycles(self) -> int:
        """Cycles in which the DRAM moves one operand for every PE."""
        bits = self.array.processing_elements * self.array.operand_bits
        return -(-bits // self.memory.word_bits) * self.memory.cycles_per_word

    @property
    def timing(self) -> Timing:
        """What the clock needs to know."""
        return Timing(
            lanes=self.array.processing_elements,
            descriptor_cycles=self.pipeline.descriptor_cycles,
            start_cycles=self.pipeline.start_cycles,
            mux_stages=self.pipeline.mux_stages,
            core_stages=self.pipeline.core_stages,
            chain_stages=self.pipeline.chain_stages,
            hazard_cycles=self.pipeline.hazard_cycles,
            request_queue=self.lists.request_queue,
            value_queue=self.lists.value_queue,
            weight_queue=self.memory.weight_queue,
            requests_in_flight=self.memory.requests_in_flight,
            latency_cycles=self.memory.latency_cycles,
            word_cycles=self.vector_cycles,
            mxv_wait_cycles=self.sequencer.mxv_wait_cycles,
            mtxv_wait_cycles=self.sequencer.mtxv_wait_cycles,
            write_back=int(self.work.write_back),
        )


def load_accelerator(name_or_path: str | Path) -> AcceleratorConfig:
    """Read a shipped accelerator by name, or any from a `.toml` file.

    Raises UsageError for an unknown name, and for a file that does not follow the schema to the letter.
    """
    return _parse(find_shipped("accelerators", name_or_path))


def with_processing_elements(config: AcceleratorConfig, processing_elements: int) -> AcceleratorConfig:
    """Return it with so many processing elements and a DRAM word that grows or shrinks with them, as in the RTL.

    Raises UsageError for a number out of range, or a word that would not be whole bits.
    """
    word_bits, rest = divmod(config.memory.word_bits * processing_elements, config.array.processing_elements)
    if not 1 <= processing_elements <= _MOST_LANES or rest:
        raise UsageError(f"{processing_elements} processing elements cannot be", f"take 1 to {_MOST_LANES}")
    return replace(
        config,
        title=f"{config.title}; here {processing_elements} PEs",
        array=replace(config.array, processing_elements=processing_elements),
        memory=replace(config.memory, word_bits=word_bits),
    )


def _parse(path: Path) -> AcceleratorConfig:
    data = read_toml(path)
    check_keys(data, str(path), ("schema", "title", "notes", *_SECTIONS))
    if data["schema"] != SCHEMA_VERSION:
        raise UsageError(f"{path}: schema {data['schema']!r} is unknown", f"this program reads schema {SCHEMA_VERSION}")
    for key in ("title", "notes"):
        if not isinstance(data[key], str) or not data[key]:
            raise UsageError(f"{path}: {key} must be a text that is not empty", 'write it in "quotes"')
    sections = {name: _section(data[name], f"{path} [{name}]", kind) for name, kind in _SECTIONS.items()}
    return AcceleratorConfig(path.stem, data["title"], data["notes"], **sections)


def _section(table: object, where: str, kind: type[Any]) -> Any:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} must be a table", "see the files of configs/accelerators/ for an example")
    check_keys(table, where, [field.name for field in fields(kind)])
    for field in fields(kind):
        value = table[field.name]
        if field.type == "bool":
            if not isinstance(value, bool):
                raise UsageError(f"{where} {field.name}: {value!r} is not true or false", "write it without quotes")
            continue
        least = 0 if field.name in _MAY_BE_ZERO else _LEAST.get(field.name, 1)
        most = {"clock_hz": 10**12, "processing_elements": _MOST_LANES}.get(field.name, _MOST)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UsageError(
                f"{where} {field.name}: {value!r} is not a whole number from {least} to {most:,}", "check the number"
            )
    return kind(**table)
