"""The definition of a feature frame: equal to python_speech_features, and its parameters are guarded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.audio.melbank import (
    BANK_BITS,
    ENERGY_BITS,
    MOST_PREEMPHASIS,
    POWER_SHIFT,
    SPECTRUM_BITS,
    FloatFrontend,
    FrontendConfig,
    hann,
    make_tables,
)
from edgelearn.errors import UsageError

DEFAULT = FrontendConfig()
OTHERS = {
    "sample_rate_hz": 22050,
    "frame": 256,
    "hop": 160,
    "bands": 24,
    "low_hz": 90,
    "high_hz": 7000,
    "preemphasis": 0.95,
    "centre_q10": 14 * 1024,
    "gain_q20": 11000,
}


def of_python_speech_features(samples: np.ndarray, config: FrontendConfig) -> np.ndarray:
    """Energies of the whole frames; the package pads one more."""
    from python_speech_features import fbank

    energies, _ = fbank(
        samples,
        config.sample_rate_hz,
        winlen=config.frame / config.sample_rate_hz,
        winstep=config.hop / config.sample_rate_hz,
        nfilt=config.bands,
        nfft=config.frame,
        lowfreq=config.low_hz,
        highfreq=config.high_hz,
        preemph=config.preemphasis,
        winfunc=hann,
    )
    return energies[: max(0, (len(samples) - config.frame) // config.hop + 1)]


@pytest.mark.parametrize(
    "config", [DEFAULT, FrontendConfig(frame=256, hop=256, bands=16, low_hz=300)], ids=["32", "16"]
)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_chunks_equal_python_speech_features(config: FrontendConfig, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    chunks = data.draw(st.lists(st.sampled_from([0, 1, 2, 100, 319, 320, 511, 512, 513, 1500]), min_size=2, max_size=8))
    scale = data.draw(st.sampled_from([3, 1000, 32768]))
    samples = rng.integers(-scale, scale, config.frame + sum(chunks)).astype(np.int16)
    front_end = FloatFrontend(config)
    at, got = 0, []
    for size in [*chunks, config.frame]:
        got.append(front_end.push(samples[at : at + size]))
        at += size
    energies = np.concatenate(got)
    assert energies.shape == of_python_speech_features(samples, config).shape
    np.testing.assert_allclose(energies, of_python_speech_features(samples, config), rtol=1e-9)


def test_silence_is_the_float_epsilon() -> None:
    assert (FloatFrontend(DEFAULT).push(np.zeros(512, np.int16)) == np.finfo(float).eps).all()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(FrontendConfig)])
def test_the_digest_changes_with_every_parameter(field: str) -> None:
    short_hop = FrontendConfig(hop=256)
    assert dataclasses.replace(short_hop, **{field: OTHERS[field]}).digest != short_hop.digest
    assert FrontendConfig(hop=256).digest == short_hop.digest


def test_the_digest_of_the_shipped_features_does_not_drift() -> None:
    assert DEFAULT.digest == "654512a370c5214e"


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame": 500},
        {"frame": 1024},
        {"hop": 0},
        {"hop": 513},
        {"bands": 7},
        {"bands": 65},
        {"low_hz": -1},
        {"low_hz": 7600},
        {"high_hz": 8001},
        {"preemphasis": -0.1},
        {"preemphasis": 0.98},
        {"preemphasis": float("nan")},
        {"frame": 256, "bands": 64},
    ],
    ids=str,
)
def test_what_the_bounds_do_not_cover_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FrontendConfig(**wrong)


@pytest.mark.parametrize("frame", [256, 512])
def test_the_bounds_that_the_constants_state(frame: int) -> None:
    tables = make_tables(FrontendConfig(frame=frame, hop=160, bands=16, low_hz=300))
    sample = 32768 * (1 + MOST_PREEMPHASIS)
    assert sample < 64553
    assert tables.window_q15.sum() == frame // 2 * 32768
    assert 64553 * 256 * 2**SPECTRUM_BITS < 2**30
    squares = float((tables.window_q15.astype(float) ** 2).sum()) / 2**30
    assert squares <= 192 + 1e-3
    assert 512 * 192 * (64553 * 2**SPECTRUM_BITS) ** 2 < 2**60.6
    assert tables.bank_q12.max() <= 1 << BANK_BITS
    assert 2 ** (60.6 - POWER_SHIFT + BANK_BITS) < 2**63
    assert ENERGY_BITS == 14


def test_tables_hold_the_bank() -> None:
    tables = make_tables(DEFAULT)
    rebuilt = np.zeros(DEFAULT.bank.shape)
    at = 0
    for b, (start, width) in enumerate(zip(tables.start, tables.width, strict=True)):
        rebuilt[b, start : start + width] = tables.bank_q12[at : at + width] / 4096
        at += width
    assert at == len(tables.bank_q12)
    np.testing.assert_allclose(rebuilt, DEFAULT.bank, atol=0.5 / 4096)
    assert DEFAULT.frame_rate_hz == 50
