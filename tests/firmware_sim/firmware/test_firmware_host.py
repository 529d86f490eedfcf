"""The firmware on this machine: the same integers as the Python engine, with and without sanitizers."""

from __future__ import annotations

import ctypes
import os
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.activity import BEGINS, ENDED, ActivityReadout, VoiceActivity
from edgelearn.audio.clips import read_clip
from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.engine.network import LayerConfig, NetworkConfig
from edgelearn.errors import EdgelearnError
from edgelearn.firmware.export import export_c
from edgelearn.firmware.golden import sound
from edgelearn.firmware.headers import identifier
from edgelearn.firmware.image import HEADER, encode_image, planes, shape_digest
from edgelearn.learning.directions import DIRECTIONS, MOST_LENGTH_Q14, MOST_TAKES, Saved
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.runtime.model import Model, Word
from edgelearn.runtime.voice import VoiceDevice
from firmware_sim.toolchain import CORES, build_core, build_host, command, missing_tools, run_host
from tests.firmware_sim.firmware.conftest import STEPS, make_device, recordings
from tests.firmware_sim.firmware.twin import BenchScript
from tests.sounds import in_rattle, in_turn

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
LEAK = "return malloc(1000 * n) == 0;"
WITHOUT_LEAKS = "detect_leaks=0"
SCRATCH = ("scratch", "update", "gradient", "cosines", "weights", "embedding", "hat", "spectrum", "log")
(OK, TOO_SHORT, NOT_A_MODEL, OTHER_VERSION, OTHER_NETWORK, WRONG_SIZE, DAMAGED, BAD_NUMBER, FULL) = range(9)


class Record(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("offset", "size", "row", "frames", "surrounded")]


class Step(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("loss_q10", "magnitude_q23", "length", "left_out")]


@pytest.fixture(scope="module")
def library(exported: Path, need: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    need("gcc")
    out = tmp_path_factory.mktemp("library") / "firmware.so"
    loaded = ctypes.CDLL(str(build_host(exported, out, "-O2", "-pedantic", "-Wconversion", "-Werror", bench=False)))
    loaded.el_image_bytes.restype = ctypes.c_size_t
    return loaded


def report_of(mistake: str, folder: Path) -> str:
    """What the sanitizers say of a program that makes a mistake; n is 1."""
    (folder / "mistake.c").write_text(f"#include <stdlib.h>\nint main(int n, char **v) {{ (void)v; {mistake} }}\n")
    subprocess.run(["gcc", *SANITIZERS, folder / "mistake.c", "-o", folder / "mistake"], check=True)
    return subprocess.run([folder / "mistake"], capture_output=True, text=True).stderr


@pytest.fixture(scope="module")
def sanitizers(need: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """Flags of gcc.

    To look for leaks is to trace the own process as a debugger does.  Where that is not possible, as under QEMU's user
    mode, every program ends with an error because of it, and the rest is looked for without.
    """
    need("gcc")
    with pytest.MonkeyPatch.context() as patch:
        if "LeakSanitizer has encountered a fatal error" in report_of(LEAK, tmp_path_factory.mktemp("probe")):
            patch.setenv("ASAN_OPTIONS", WITHOUT_LEAKS)
        yield SANITIZERS


@pytest.fixture(scope="module")
def sanitized(exported: Path, sanitizers: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host(exported, tmp_path_factory.mktemp("sanitized") / "bench", *sanitizers)


@pytest.mark.parametrize(
    ("mistake", "finding"),
    [
        ("char *volatile p = malloc(8); return p[n + 7];", "heap-buffer-overflow"),
        ("char a[8], *volatile p = a; return p[n + 7];", "stack-buffer-overflow"),
        ("char a[8] = {0}; return a[n + 7];", "index 8 out of bounds"),
        ("return (n + 2147483647) & 1;", "signed integer overflow"),
        ("return (1 << 8) >> (31 + n);", "shift exponent 32"),
        (LEAK, "detected memory leaks"),
    ],
)
@pytest.mark.usefixtures("sanitizers")
def test_the_sanitizers_find_mistakes_here(mistake: str, finding: str, tmp_path: Path) -> None:
    if mistake == LEAK and os.environ.get("ASAN_OPTIONS") == WITHOUT_LEAKS:
        pytest.skip("LeakSanitizer cannot trace a process here (QEMU's user mode? a debugger?)")
    assert finding in report_of(mistake, tmp_path)


def image_of(model: Model, device: VoiceDevice) -> bytes:
    return encode_image(model, shape_digest(model, device.classifier.config.taught_rows), 3)


def with_taught_words(model: Model, rng: np.random.Generator) -> Model:
    """The model with two words more, with the directions that takes have left, in numbers up to their bounds."""
    rows = rng.integers(-127, 128, (2, model.network.hidden)).astype(np.int8)
    vectors = rng.integers(-127, 128, (2, DIRECTIONS, model.network.hidden)).astype(np.int8)
    rows[:, 0] = vectors[:, :, 0] = 127  # the largest component of what is quantised
    heard = np.array([[12, 13000], [MOST_TAKES, 1 << 14]], np.int32)
    lengths = np.array([[5000, 4000, 3000, 0], [MOST_LENGTH_Q14] * DIRECTIONS], np.int32)
    words = tuple(Word(name, len(model.prototypes) + n, 8000, True) for n, name in enumerate(("one more", "another")))
    return replace(
        model,
        prototypes=np.vstack([model.prototypes, rows]),
        words=(*model.words, *words),
        directions=Saved(heard, vectors, lengths),
    )


def region(library: ctypes.CDLL, device: VoiceDevice, name: str) -> tuple[NDArray, NDArray]:
    """The same bytes of the arena in C and in Python."""
    found = next(r for r in device.arena.regions if r.name == name)
    memory = (ctypes.c_char * device.arena.used_bytes).in_dll(library, "el_memory")
    span = slice(found.offset, found.offset + found.size_bytes)
    return np.frombuffer(memory, np.uint8)[span], device.arena._block[span]


def test_a_learning_step_leaves_the_same_memory(library: ctypes.CDLL, model: Model) -> None:
    device = make_device(model)
    image = image_of(model, device)
    assert library.el_load(image, len(image)) == OK
    config, step = LearnerConfig(), Step()
    for number in range(3):
        record = device.memory.exemplars()[number]
        report = TeachReport()
        device.learner.step(device.hearing.decode(record), record.row, number, config, report)
        library.el_learn(ctypes.byref(Record(*record)), number, config.rate_q16, ctypes.byref(step))
        assert step.loss_q10 == round(report.losses[0] * 1024)
        assert step.left_out == report.truncated_frames
        compared = 0
        for found in device.arena.regions:
            if found.size_bytes and not any(part in SCRATCH for part in found.name.split(".")[1:]):
                mine, theirs = region(library, device, found.name)
                assert np.array_equal(mine, theirs), found.name
                compared += found.size_bytes
        assert compared > 0.9 * device.arena.used_bytes
    assert device.network.params()["layer0.weights_lo"].tobytes() != model.params["layer0.weights_lo"].tobytes()


def test_the_memory_map_is_that_of_the_plan(exported: Path, model: Model) -> None:
    """The offsets themselves are checked by the compiler."""
    header = (exported / "edgelearn_config.h").read_text(encoding="utf-8")
    device = make_device(model)
    named = [found for found in device.arena.regions if found.size_bytes]
    assert len(named) > 40
    for found in named:
        assert f"offsetof(el_arena, {identifier(found.name)}) == {found.offset} ? 1 : -1" in header
    assert f"#define EL_ARENA_BYTES {device.arena.used_bytes}\n" in header


def test_what_is_saved_is_loaded(library: ctypes.CDLL, model: Model, rng: np.random.Generator) -> None:
    taught = with_taught_words(model, rng)
    device = make_device(taught)
    image = image_of(device.model(), device)
    assert library.el_load(image, len(image)) == OK
    assert library.el_image_bytes() == len(image)
    pieces: list[bytes] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    library.el_save(3, kind(lambda _, data, count: pieces.append(ctypes.string_at(data, count))), None)
    assert b"".join(pieces) == image
    assert all(np.array_equal(array, model.params[key]) for key, array in planes(image, model).items())
    for name in ("vectors", "norms", "lengths", "heard"):
        np.testing.assert_array_equal(*region(library, device, f"classifier.directions.{name}"))


def damaged(image: bytes, at: int, value: int, seal: bool = True) -> bytes:
    """An image with one number of its header changed; seal: with a checksum that fits."""
    changed = bytearray(image)
    changed[at : at + 4] = value.to_bytes(4, "little")
    if seal:
        changed[12:16] = zlib.crc32(bytes(changed[16:])).to_bytes(4, "little")
    return bytes(changed)


def test_an_image_is_not_trusted(library: ctypes.CDLL, model: Model, rng: np.random.Generator) -> None:
    model = with_taught_words(model, rng)
    device = make_device(model)
    image = image_of(model, device)
    assert library.el_load(image, len(image)) == OK
    before = region(library, device, "network.layer0.weights_hi")[0].copy()
    word_at = len(image) - len(model.rehearsal) - 8 * len(model.words)
    directions_at = word_at - 2 * (4 * (2 + DIRECTIONS) + DIRECTIONS * model.network.hidden)
    bad = [
        *((damaged(image, directions_at, number), BAD_NUMBER) for number in (MOST_TAKES + 1, 2**32 - 1)),
        *((damaged(image, directions_at + 4, number), BAD_NUMBER) for number in ((1 << 14) + 1, 2**32 - 1)),
        *((damaged(image, directions_at + 20, number), BAD_NUMBER) for number in (MOST_LENGTH_Q14 + 1, 2**32 - 1)),
        (image[:20], TOO_SHORT),
        (b"", TOO_SHORT),
        (damaged(image, 0, 1), NOT_A_MODEL),
        (damaged(image, 4, 1), OTHER_VERSION),
        (damaged(image, 20, 5), OTHER_NETWORK),
        (damaged(image, 24, 2**31), FULL),
        (damaged(image, 24, 1), FULL),
        (damaged(image, 28, 2**32 - 1), FULL),
        (damaged(image, 32, 2**32 - 1), FULL),
        (damaged(image, 32, 0), WRONG_SIZE),
        (damaged(image, 8, 2**32 - 1), WRONG_SIZE),
        (image[:-1], WRONG_SIZE),
        (damaged(image, 12, 0, seal=False), DAMAGED),
        (damaged(image, HEADER.size, 0x80808080), BAD_NUMBER),
        (damaged(image, word_at, 0x7FFF), BAD_NUMBER),
        (damaged(image, word_at, (len(model.words) + 1) << 16), BAD_NUMBER),
        (damaged(image, word_at, 0xFFFF0000), BAD_NUMBER),
        (damaged(image, len(image) - len(model.rehearsal), 0xFFFFFFFF), BAD_NUMBER),
    ]
    for data, status in bad:
        assert library.el_load(data, len(data)) == status
    assert np.array_equal(region(library, device, "network.layer0.weights_hi")[0], before)


def test_words_losses_and_weights_under_sanitizers(sanitized: Path, lesson: BenchScript) -> None:
    said = run_host(sanitized, bytes(lesson.script)).splitlines()
    assert said == lesson.expected
    assert sum(line.startswith("loss") for line in said) == STEPS
    assert sum(line.startswith("word") for line in said) >= 4


def test_the_golden_vectors_are_those_of_the_firmware(sanitized: Path) -> None:
    assert run_host(sanitized, command("g")) == "selftest 0\n"


def test_random_sound_under_sanitizers(sanitized: Path, model: Model) -> None:
    """Extremes, silence, bursts: what no microphone gives, and the same features and words as in Python."""
    rng = np.random.default_rng(5)
    twin = BenchScript(make_device(model))
    for number in range(12):
        level = rng.choice([0, 1, 300, 8000, 32767])
        piece = rng.integers(-level - 1, level, int(rng.integers(1, 9000)), endpoint=True)
        if number % 4 == 3:
            piece = np.where(rng.random(len(piece)) < 0.5, -32768, 32767)
        twin.hear(piece.astype(np.int16))
    twin.state()
    assert run_host(sanitized, bytes(twin.script)).splitlines() == twin.expected


def test_words_in_noise_under_sanitizers(sanitized: Path, model: Model) -> None:
    """In a noisy room the other voices hear what is around a word; in a lesson on takes of there, too."""
    device = make_device(model)
    twin, rng = BenchScript(device), np.random.default_rng(6)
    takes = []
    for path in recordings("base")[:5]:
        quiet = sound([read_clip(path)])
        level = float(np.abs(quiet).max()) / 40
        noisy = np.clip(np.rint(quiet + rng.normal(0, level, len(quiet))), -32768, 32767).astype(np.int16)
        twin.hear(noisy)
        takes += [past.frames for past in device.last.utterances()[-1:]]
    assert sum(record.surrounded for record in device.last._memory.exemplars()) >= 2
    assert not device.memory.exemplars()[-1].surrounded
    twin.state()
    twin.enrol(takes[-3:])
    assert device.memory.exemplars()[-1].surrounded
    twin.teach(steps=6, sweeps=3)
    twin.add_word("noisy")
    twin.hear(noisy)
    twin.state()
    assert run_host(sanitized, bytes(twin.script)).splitlines() == twin.expected


def test_words_beside_a_noise_under_sanitizers(sanitized: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech that begins behind a noise, ends in one, or still goes on where all of it is too long."""
    told = Counter[int]()
    push = VoiceActivity.push

    def counted(self: VoiceActivity, hidden: NDArray[np.int16], now: int) -> int:
        answer = push(self, hidden, now)
        told[answer] += 1
        return answer

    monkeypatch.setattr(VoiceActivity, "push", counted)
    twin = BenchScript(make_device(model))
    events = [event for word in ("down", "one", "left", "five") for event in twin.hear(in_rattle(word))]
    late = [event.latency_ms for event in events]
    for word in ("bed", "go", "up"):
        twin.hear(in_rattle(word, 0.2, 0.9, 0.7))
    twin.state()
    assert told[BEGINS] >= 2
    assert told[ENDED] >= 3
    assert min(late) < 100
    assert run_host(sanitized, bytes(twin.script)).splitlines() == twin.expected


def test_words_within_a_talk_under_sanitizers(sanitized: Path, model: Model) -> None:
    """The same word right after a talk, after a pause, right after a command, and after a stream that began anew."""
    twin = BenchScript(make_device(model))
    heard = [
        [event.word for event in twin.hear(in_turn(*parts))]
        for parts in (("window", 0.25, "zero"), ("window", 1.6, "zero"), ("window", 0.25, "left", 0.25, "zero"))
    ]
    assert heard == [[], ["zero"], ["left", "zero"]]
    twin.hear(in_turn("window")[: -16000 + 3200])
    twin.load()
    assert [event.word for event in twin.hear(in_turn("zero")[12800:])] == ["zero"]
    twin.state()
    assert run_host(sanitized, bytes(twin.script)).splitlines() == twin.expected


def test_fuzzed_images_under_sanitizers(
    exported: Path, sanitizers: tuple[str, ...], model: Model, tmp_path: Path
) -> None:
    """Random bytes changed in header, sizes and records, sealed again so that the checksum hides nothing."""
    harness = tmp_path / "load.c"
    harness.write_text(
        '#include "edgelearn.h"\n#include <stdio.h>\n#include <stdlib.h>\n'
        "static uint32_t word(FILE *f) { uint8_t b[4]; return fread(b, 1, 4, f) == 4 ? b[0] | (uint32_t)b[1] << 8 |"
        " (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24 : 0; }\n"
        'int main(int n, char **v) {\n    FILE *f = fopen(v[n - 1], "rb");\n    uint32_t size, edits;\n'
        "    uint8_t *image;\n    size = word(f);\n    image = malloc(size);\n"
        "    if (fread(image, 1, size, f) != size) return 2;\n"
        "    while ((edits = word(f)) != 0) {\n        uint32_t length = word(f);\n"
        "        uint8_t *copy = malloc(length);\n"
        "        for (uint32_t k = 0; k < length; k++) copy[k] = image[k];\n"
        "        while (edits--) { uint32_t at = word(f), to = word(f); if (at < length) copy[at] = (uint8_t)to; }\n"
        "        if (length >= 16) { uint32_t crc = el_crc32(0, copy + 16, length - 16);\n"
        "            for (int k = 0; k < 4; k++) copy[12 + k] = (uint8_t)(crc >> 8 * k); }\n"
        '        printf("%d\\n", el_load(copy, length));\n'
        "        if (*el_rehearsal.used > 0) { el_record r; el_step s; el_records_next(&el_rehearsal, 0, &r);"
        " el_learn(&r, 1, 60, &s); }\n        free(copy);\n    }\n    free(image);\n    return 0;\n}\n"
    )
    program = tmp_path / "load"
    files = [str(path) for path in exported.glob("*.c") if path.name != "selftest.c"]
    subprocess.run(["gcc", "-std=c99", *sanitizers, "-I", exported, *files, harness, "-o", program], check=True)
    rng = np.random.default_rng(11)
    model = with_taught_words(model, rng)
    image = image_of(model, make_device(model))
    tail = len(image) - len(model.rehearsal) - 8 * len(model.words)
    data = bytearray(len(image).to_bytes(4, "little") + image)
    cases = 60
    for _ in range(cases):
        edits = int(rng.integers(1, 5))
        length = len(image) if rng.random() < 0.8 else int(rng.integers(0, len(image)))
        data += edits.to_bytes(4, "little") + length.to_bytes(4, "little")
        for _ in range(edits):
            low, high = [(4, 36), (tail, len(image)), (36, len(image))][int(rng.integers(3))]
            data += int(rng.integers(low, high)).to_bytes(4, "little") + int(rng.integers(256)).to_bytes(4, "little")
    (tmp_path / "cases").write_bytes(data + bytes(4))
    done = subprocess.run([program, tmp_path / "cases"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    statuses = [int(line) for line in done.stdout.split()]
    assert len(statuses) == cases
    assert len(set(statuses)) >= 4


@pytest.mark.parametrize("theta_h_q13", [0, 400])
def test_a_model_of_other_shapes(
    sanitizers: tuple[str, ...], model: Model, speech: NDArray[np.int16], tmp_path: Path, theta_h_q13: int
) -> None:
    """Two layers of different formats, frames half as long, other bands, dense and sparse."""
    other = foreign_model(model, theta_h_q13)
    export_c(tmp_path / "exported", other, lambda: make_device(other), [speech])
    program = build_host(tmp_path / "exported", tmp_path / "bench", *sanitizers)
    twin, rng = BenchScript(make_device(other)), np.random.default_rng(3)
    twin.hear(speech)
    twin.enrol([rng.integers(-90, 90, (n, other.frontend.bands)).astype(np.int8) for n in (36, 86, 25)])
    twin.teach(steps=5, sweeps=3)
    twin.add_word("other")
    for number in range(12):
        twin.learn(number % 3, number, (60, 3000)[number % 2])
    twin.image(2)
    twin.hear(speech)
    twin.state()
    assert run_host(program, command("g")) == "selftest 0\n"
    assert run_host(program, bytes(twin.script)).splitlines() == twin.expected
    assert any(line.startswith("word") for line in twin.expected)


def foreign_model(model: Model, theta_h_q13: int) -> Model:
    layers = (LayerConfig(16, 24, 5, 300, theta_h_q13), LayerConfig(24, 32, 7, 0, theta_h_q13))
    rng, params = np.random.default_rng(9), {}
    for k, layer in enumerate(layers):
        shape = (layer.inputs + layer.hidden, 4 * layer.hidden)
        params[f"layer{k}.weights_hi"] = rng.integers(-60, 61, shape).astype(np.int8)
        params[f"layer{k}.weights_lo"] = rng.integers(-128, 128, shape).astype(np.int8)
        params[f"layer{k}.bias"] = rng.integers(-(10**6), 10**6, shape[1]).astype(np.int32)
    return replace(
        model,
        frontend=FrontendConfig(frame=256, hop=160, bands=16, gain_q20=9000),
        endpoint=EndpointConfig(longest=60, hang_frames=20, margin=5, stream_margin=5, onset=100, release=60),
        network=NetworkConfig(layers),
        labels=("x:a", "x:b", "x:c"),
        words=(Word("a", 0, -3000), Word("b", 2, -16384, rejects="a"), Word("c", 1, -16384)),
        params=params,
        prototypes=rng.integers(-127, 128, (3, 32)).astype(np.int8),
        rehearsal=np.zeros(0, np.uint8),
        activity=ActivityReadout(rng.integers(-40, 41, 32).astype(np.int8), 0),
        whitening=np.zeros((0, 0), np.int8),
    )


def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_tools("gcc") == "sudo apt install gcc libc6-dev"
    assert missing_tools("gcc", "qemu-system-arm") == "sudo apt install gcc-arm-none-eabi qemu-system-arm"
    with pytest.raises(EdgelearnError, match=r"arm-none-eabi-gcc is not installed\n  sudo apt install gcc-arm"):
        build_core(tmp_path, CORES[0], tmp_path / "firmware.elf")


def test_a_broken_program_is_an_error_with_what_the_compiler_says(
    exported: Path, need: Callable[..., None], tmp_path: Path
) -> None:
    need("gcc")
    (tmp_path / "broken.c").write_text("int x = ;\n")
    with pytest.raises(EdgelearnError, match="gcc failed"):
        build_host(tmp_path, tmp_path / "out", bench=False)
    assert run_host(build_host(exported, tmp_path / "bench", "-O0"), command("s", 999, 0, 0)) == "no such record\n"
