"""Power, clock, temperature and throttling, read from recorded outputs of the tools and files that tell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelearn.benchmarking.measured import measure
from edgelearn.benchmarking.sensors import PmicMeter, RaplMeter, find_meter, pmic_watts
from edgelearn.device.host import read_condition, throttled_flags, vcgencmd
from edgelearn.engine.counts import Counts
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.voice import VoiceDevice

# `vcgencmd pmic_read_adc` of a Raspberry Pi 5 that idles
PMIC_IDLE = """\
 3V7_WL_SW_A current(0)=0.00195173A
   3V3_SYS_A current(1)=0.05268000A
   1V8_SYS_A current(2)=0.16784000A
  DDR_VDD2_A current(3)=0.02244500A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.18150000A
    0V8_SW_A current(6)=0.32885000A
  VDD_CORE_A current(7)=0.74400000A
   3V3_DAC_A current(17)=0.00006105A
   3V3_ADC_A current(18)=0.00036630A
   0V8_AON_A current(16)=0.00341880A
      HDMI_A current(22)=0.01221000A
 3V7_WL_SW_V volt(8)=3.71820200V
   3V3_SYS_V volt(9)=3.31343900V
   1V8_SYS_V volt(10)=1.79487200V
  DDR_VDD2_V volt(11)=1.10622600V
  DDR_VDDQ_V volt(12)=0.60805900V
   1V1_SYS_V volt(13)=1.10586000V
    0V8_SW_V volt(14)=0.80402500V
  VDD_CORE_V volt(15)=0.73182900V
   3V3_DAC_V volt(20)=3.30860900V
   3V3_ADC_V volt(21)=3.30463200V
   0V8_AON_V volt(19)=0.79823000V
      HDMI_V volt(23)=5.15320000V
     EXT5V_V volt(24)=5.14514000V
      BATT_V volt(25)=0.00976800V
"""
PMIC_BUSY = PMIC_IDLE.replace("current(7)=0.74400000A", "current(7)=2.11000000A")
IDLE_W = sum(
    (
        0.00195173 * 3.718202, 0.05268 * 3.313439, 0.16784 * 1.794872, 0.022445 * 1.106226, 0.0 * 0.608059,
        0.1815 * 1.10586, 0.32885 * 0.804025, 0.744 * 0.731829, 0.00006105 * 3.308609, 0.0003663 * 3.304632,
        0.0034188 * 0.79823, 0.01221 * 5.1532,
    )
)  # fmt: skip
SHIPPED = load_model(BASE_MODEL)


class Tool:
    """`vcgencmd` of a Raspberry Pi 5: idle until the first work, then busy."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.busy = False

    def __call__(self, words: str) -> str | None:
        if words == "pmic_read_adc" and words in self.answers:
            return PMIC_BUSY if self.busy else PMIC_IDLE
        return self.answers.get(words)


def no_tool(words: str) -> None:
    """A machine without vcgencmd."""
    assert words in ("pmic_read_adc", "get_throttled")


def sysfs(root: Path, **files: str) -> Path:
    """A /sys with these files; the names are those of the tests below."""
    places = {
        "clock": "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
        "governor": "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "zone0": "sys/class/thermal/thermal_zone0/temp",
        "zone1": "sys/class/thermal/thermal_zone1/temp",
        "energy": "sys/class/powercap/intel-rapl:0/energy_uj",
        "range": "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
    }
    for name, text in files.items():
        path = root / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_rails_with_current_and_voltage_are_summed() -> None:
    assert pmic_watts(PMIC_IDLE) == pytest.approx(IDLE_W)
    assert pmic_watts(PMIC_BUSY) - IDLE_W == pytest.approx((2.11 - 0.744) * 0.731829)


@pytest.mark.parametrize("text", ["", 'error=1 error_msg="Command not registered"\n', "EXT5V_V volt(24)=5.1V\n"])
def test_what_is_no_reading_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no rail"):
        pmic_watts(text)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("throttled=0x0\n", ()),
        (
            "throttled=0x50005\n",
            ("under-voltage", "throttled", "under-voltage since the start", "throttled since the start"),
        ),
        ("throttled=0x80008\n", ("soft temperature limit", "soft temperature limit since the start")),
    ],
)  # fmt: skip
def test_throttling_in_words(text: str, flags: tuple[str, ...]) -> None:
    assert throttled_flags(text) == flags


def test_nonsense_is_no_throttling_state() -> None:
    with pytest.raises(ValueError, match="not a throttling state"):
        throttled_flags("VCHI initialization failed\n")


def test_condition_of_a_raspberry_pi_5(tmp_path: Path) -> None:
    root = sysfs(tmp_path, clock="2400000\n", governor="ondemand\n", zone0="48250\n", zone1="51000\n")
    condition = read_condition(root, Tool({"get_throttled": "throttled=0x20000\n"}))
    assert condition.clock_mhz == 2400
    assert condition.governor == "ondemand"
    assert condition.temperature_c == 51
    assert condition.throttled == ("clock capped since the start",)
    assert condition.missing == ()


def test_condition_of_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    condition = read_condition(tmp_path, no_tool)
    assert (condition.clock_mhz, condition.governor, condition.temperature_c, condition.throttled) == (None,) * 4
    assert [text.partition(":")[0] for text in condition.missing] == ["clock", "temperature", "throttling"]


def test_sensors_are_found_or_their_absence_is_explained(tmp_path: Path) -> None:
    meter, _ = find_meter(tmp_path, Tool({"pmic_read_adc": ""}))
    assert isinstance(meter, PmicMeter)
    meter, missing = find_meter(tmp_path, no_tool)
    assert meter is None
    assert "neither" in missing
    # a Raspberry Pi 4 has the tool, but its firmware does not know the command
    old, missing = find_meter(tmp_path, lambda _: 'error=1 error_msg="Command not registered"\n')
    assert old is None
    root = sysfs(tmp_path, energy="1000\n", range="262143328850\n")
    meter, _ = find_meter(root, no_tool)
    assert isinstance(meter, RaplMeter)
    sysfs(tmp_path, energy="unreadable")
    meter, missing = find_meter(root, no_tool)
    assert meter is None
    assert "only root" in missing


def test_rapl_counts_on_beyond_its_range(tmp_path: Path) -> None:
    times = iter((10.0, 12.0, 20.0, 21.0))
    root = sysfs(tmp_path, energy="5000000\n", range="100000000\n")
    meter = RaplMeter(root / "sys/class/powercap/intel-rapl:0", lambda: next(times))
    meter.start()
    sysfs(tmp_path, energy="35000000\n")
    assert meter.stop() == pytest.approx(15.0)
    sysfs(tmp_path, energy="99000000\n")
    meter.start()
    sysfs(tmp_path, energy="2000000\n")
    assert meter.stop() == pytest.approx(3.0)
    (root / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(ValueError, match="not readable"):
        meter.stop()


def test_the_power_chip_is_averaged() -> None:
    tool = Tool({"pmic_read_adc": ""})
    meter = PmicMeter(tool, sample_s=0.001)
    meter.start()
    assert meter.stop() == pytest.approx(IDLE_W)
    tool.answers.clear()
    meter.start()
    with pytest.raises(ValueError, match="not readable"):
        meter.stop()


def test_a_tool_that_is_not_there_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vcgencmd("get_throttled") is None
    tool = tmp_path / "vcgencmd"
    tool.write_text("#!/bin/sh\necho throttled=0x0\n")
    tool.chmod(0o755)
    assert vcgencmd("get_throttled") == "throttled=0x0\n"
    tool.write_text("#!/bin/sh\nexit 255\n")
    assert vcgencmd("get_throttled") is None


def test_a_device_is_measured_above_idle_and_not_changed(tmp_path: Path) -> None:
    device = VoiceDevice(SHIPPED)
    before = device.model()
    tool = Tool({"pmic_read_adc": "", "get_throttled": "throttled=0x0\n"})

    def idle(seconds: float) -> None:
        assert seconds == 0.01

    original = device.hearing.hear_exemplars

    def hear() -> tuple[int, Counts]:
        tool.busy = True
        return original()

    device.hearing.hear_exemplars = hear  # type: ignore[method-assign]
    found = measure(device, 1, 0.01, tmp_path, tool, idle)
    assert found.idle_w == pytest.approx(IDLE_W)
    speech, word = found.jobs
    assert (speech.key, word.key) == ("speech_second", "learned_word")
    assert word.title == "learning a word (1 updates)"
    assert speech.runs > 1, "the exemplars are seconds of speech"
    assert speech.seconds > 0
    assert word.seconds > 0
    # learning comes after listening: it is busy from its first sample to its last
    assert word.busy_w == pytest.approx(pmic_watts(PMIC_BUSY))
    assert word.joules is not None
    assert word.joules > 0
    assert found.sensor.startswith("Raspberry Pi 5")
    assert found.after.throttled == ()
    after = device.model()
    assert all((after.params[key] == array).all() for key, array in before.params.items())
    assert np.array_equal(after.rehearsal, before.rehearsal)


def test_without_a_sensor_there_is_time_and_no_energy(tmp_path: Path) -> None:
    found = measure(VoiceDevice(SHIPPED), 1, 0.01, tmp_path, no_tool, lambda _: None)
    assert found.sensor == ""
    assert found.idle_w is None
    assert all(job.joules is None and job.busy_w is None and job.seconds > 0 for job in found.jobs)
    assert [text.partition(":")[0] for text in found.missing] == ["no power", "clock", "temperature", "throttling"]
