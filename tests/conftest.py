"""Fixtures that every part of the suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# how long an example takes says something about the machine, not about what is tested
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts from the same seed in every test."""
    return np.random.default_rng(20240229)


@pytest.fixture
def pins() -> Iterator[Any]:
    """The pins of gpiozero's mock factory, which tell their state."""
    pytest.importorskip("gpiozero", reason="pip install 'edgelearn[gpio]'")
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    before = Device.pin_factory
    Device.pin_factory = factory = MockFactory()
    yield factory
    factory.reset()
    Device.pin_factory = before
