"""The generated headers: sizes and memory map, constant tables, the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.activity import (
    BEGIN_FRAMES,
    BEGUN_FRAMES,
    END_FRAMES,
    LAG_FRAMES,
    PAUSE_FRAMES,
    SPOKEN_Q18,
    SURE_Q18,
    UNSPOKEN_Q14,
    WITHIN_TALK_Q14,
)
from edgelearn.audio.endpoint import BACKGROUND_FRAMES, BLOCK_FRAMES, BLOCKS, LATE_FADE, LATE_FRAMES, SPREAD
from edgelearn.audio.melbank import ENERGY_BITS, LOG_BITS, PREEMPHASIS_BITS, make_tables
from edgelearn.audio.noise import QUIET_FLOOR, subtraction_table
from edgelearn.engine.fixedpoint import bias_limit
from edgelearn.engine.layout import scaled
from edgelearn.firmware.image import shape_digest
from edgelearn.learning.directions import (
    COMPARED_Q28,
    DIRECTIONS,
    LEAST_TAKES,
    MOST_LENGTH_Q14,
    MOST_TAKES,
    ROUNDS,
)
from edgelearn.learning.head import EXP2_Q15, MOST_MAGNITUDE_Q23
from edgelearn.learning.learner import LEAST_GAIN_Q14
from edgelearn.learning.thresholds import ABOVE_BACKGROUND_Q14, BELOW_TAKES_Q14
from edgelearn.learning.variants import FAR_Q14, OWN_VOICE_WEIGHT, VOICES_Q8
from edgelearn.runtime.last_utterances import LAST_BYTES

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena
    from edgelearn.learning.learner import LearnerConfig
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.voice import VoiceDevice

GENERATED = "/* Written by `edgelearn export`; do not edit. */\n"
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t"} | {
    "int32": "int32_t",
    "int64": "int64_t",
}
STATE_FIELDS = ("memory", "c", "h", "h_hat", "x_hat")
GRADIENT_FIELDS = ("h", "c", "memory", "h_hat", "x_hat")


def config_header(device: VoiceDevice, model: Model, learner: LearnerConfig) -> str:
    """Return edgelearn_config.h: every size and number of the device, and its memory map as a struct."""
    frontend, endpoint, layers = model.frontend, model.endpoint, model.network.layers
    rows = device.classifier.config
    random = np.random.PCG64(learner.seed).state["state"]
    numbers = {
        "EL_DIGEST": f"UINT32_C(0x{shape_digest(model, rows.taught_rows):08X})",
        "EL_SAMPLE_RATE_HZ": frontend.sample_rate_hz,
        "EL_FRAME": frontend.frame,
        "EL_HOP": frontend.hop,
        "EL_BANDS": frontend.bands,
        "EL_PREEMPHASIS_Q14": round(frontend.preemphasis * (1 << PREEMPHASIS_BITS)),
        "EL_UNIT_Q10": (ENERGY_BITS + frontend.frame.bit_length() - 1) << LOG_BITS,
        "EL_CENTRE_Q10": frontend.centre_q10,
        "EL_GAIN_Q20": frontend.gain_q20,
        "EL_MARGIN": endpoint.stream_margin,
        "EL_ONSET_EXCESS": endpoint.onset,
        "EL_RELEASE": endpoint.release,
        "EL_FADE": endpoint.fade,
        "EL_ONSET_FRAMES": endpoint.onset_frames,
        "EL_HANG_FRAMES": endpoint.hang_frames,
        "EL_PRE_FRAMES": endpoint.pre_frames,
        "EL_POST_FRAMES": endpoint.post_frames,
        "EL_OUTER_PRE_FRAMES": endpoint.outer_pre_frames,
        "EL_OUTER_POST_FRAMES": endpoint.outer_post_frames,
        "EL_LONGEST": endpoint.longest,
        "EL_BACKGROUND_FRAMES": BACKGROUND_FRAMES,
        "EL_BLOCKS": BLOCKS,
        "EL_BLOCK_FRAMES": BLOCK_FRAMES,
        "EL_SPREAD": SPREAD,
        "EL_LATE_FRAMES": LATE_FRAMES,
        "EL_LATE_FADE": LATE_FADE,
        "EL_QUIET_FLOOR": QUIET_FLOOR,
        "EL_RING_FRAMES": endpoint.most_frames,
        "EL_LAYERS": len(layers),
        "EL_INPUTS": model.network.inputs,
        "EL_HIDDEN": model.network.hidden,
        "EL_COLUMNS": sum(layer.inputs + layer.hidden for layer in layers),
        "EL_BASE_ROWS": rows.base_rows,
        "EL_BACKGROUND_ROWS": rows.background_rows,
        "EL_ROWS": rows.rows,
        "EL_REHEARSAL_BYTES": device.memory.capacity_bytes,
        "EL_LAST_BYTES": LAST_BYTES,
        "EL_TAPE_FRAMES": device.tape.capacity_frames,
        "EL_TAPE_ENTRIES": device.tape.capacity_entries,
        "EL_OPEN_SET_Q14": model.open_set_q14,
        "EL_BIAS_Q14": device.recognizer.bias_q14,
        "EL_REFRACTORY_FRAMES": device.recognizer.refractory_frames,
        "EL_RATE_Q16": learner.rate_q16,
        "EL_STEPS": learner.steps,
        "EL_LEAST_TAKES": learner.least_takes,
        "EL_LEAST_SPREAD": learner.least_spread,
        "EL_SWEEPS": learner.sweeps,
        "EL_MANY_TAKES": learner.many_takes,
        "EL_ALIKE_Q14": learner.alike_q14,
        "EL_ROW_RATE_Q16": learner.row_rate_q16,
        "EL_MOST_OLD_LOSS_Q16": round(learner.max_old_loss * 65536),
        "EL_LEAST_GAIN_Q14": LEAST_GAIN_Q14,
        "EL_ABOVE_BACKGROUND_Q14": ABOVE_BACKGROUND_Q14,
        "EL_BELOW_TAKES_Q14": BELOW_TAKES_Q14,
        "EL_DIRECTIONS": DIRECTIONS,
        "EL_DIRECTION_TAKES": LEAST_TAKES,
        "EL_COMPARED_Q28": COMPARED_Q28,
        "EL_ROUNDS": ROUNDS,
        "EL_MOST_TAKES": MOST_TAKES,
        "EL_MOST_LENGTH_Q14": MOST_LENGTH_Q14,
        "EL_VOICES": len(VOICES_Q8),
        "EL_OWN_VOICE_WEIGHT": OWN_VOICE_WEIGHT,
        "EL_FAR_Q14": FAR_Q14,
        "EL_SEED_STATE_HIGH": _wide(random["state"] >> 64),
        "EL_SEED_STATE_LOW": _wide(random["state"]),
        "EL_SEED_INCREMENT_HIGH": _wide(random["inc"] >> 64),
        "EL_SEED_INCREMENT_LOW": _wide(random["inc"]),
        "EL_MOST_MAGNITUDE_Q23": MOST_MAGNITUDE_Q23,
        "EL_WHITENED": int(len(model.whitening) > 0),
        "EL_ACTIVITY_BIAS_Q18": model.activity.bias_q18,
        "EL_SURE_Q18": SURE_Q18,
        "EL_SPOKEN_Q18": SPOKEN_Q18,
        "EL_UNSPOKEN_Q14": UNSPOKEN_Q14,
        "EL_PAUSE_FRAMES": PAUSE_FRAMES,
        "EL_WITHIN_TALK_Q14": WITHIN_TALK_Q14,
        "EL_LAG_FRAMES": LAG_FRAMES,
        "EL_BEGIN_FRAMES": BEGIN_FRAMES,
        "EL_END_FRAMES": END_FRAMES,
        "EL_BEGUN_FRAMES": BEGUN_FRAMES,
        "EL_IDLE_REGION": identifier(idle_region(len(layers))),
        "EL_ARENA_BYTES": device.arena.used_bytes,
    }
    defines = "".join(f"#define {name} {_number(value)}\n" for name, value in numbers.items())
    table = ", \\\n".join(f"        {_layer(device.arena, model, k, learner.theta_q8)}" for k in range(len(layers)))
    struct = _struct(device.arena, len(layers))
    return (
        f"{GENERATED}#ifndef EDGELEARN_CONFIG_H\n#define EDGELEARN_CONFIG_H\n\n"
        "#include <stddef.h>\n#include <stdint.h>\n\n"
        f"{defines}\n{struct}\n#define EL_LAYER_TABLE \\\n    {{ \\\n{table} \\\n    }}\n\n#endif\n"
    )


def tables_header(model: Model) -> str:
    """Return edgelearn_tables.h: the constants of front end, classifier and voices, which tables.c defines."""
    t = make_tables(model.frontend)
    frontend: list[tuple[str, str, NDArray[Any]]] = [
        ("int32_t", "el_window_q15", t.window_q15),
        ("uint8_t", "el_reverse", t.reverse),
        ("int32_t", "el_twiddles_q30", t.twiddles_q30),
        ("int32_t", "el_turns_q30", t.turns_q30),
        ("int32_t", "el_bank_q12", t.bank_q12),
        ("int16_t", "el_band_first", t.start),
        ("int16_t", "el_band_width", t.width),
        ("int32_t", "el_log_q16", t.log_q16),
        ("int8_t", "el_subtraction", subtraction_table(model.frontend.gain_q20)),
        ("int32_t", "el_exp2_q15", EXP2_Q15),
        ("int16_t", "el_voices_q8", np.array(VOICES_Q8)),
        ("int8_t", "el_activity_q5", _activity_q5(model)),
        ("int8_t", "el_whitening", model.whitening if len(model.whitening) else np.zeros(1, np.int8)),
    ]
    declared = "".join(f"extern const {kind} {name}[{array.size}];\n" for kind, name, array in frontend)
    defined = "".join(f"{c_array(f'const {kind} {name}', array.ravel().tolist())}" for kind, name, array in frontend)
    return (
        f"{GENERATED}#ifndef EDGELEARN_TABLES_H\n#define EDGELEARN_TABLES_H\n\n#include <stdint.h>\n\n{declared}\n"
        f"#ifdef EL_DEFINE_TABLES\n{defined}#endif\n\n#endif\n"
    )


def model_header(model: Model, image: bytes) -> str:
    """Return edgelearn_model.h: the image that a device starts from, and its words' names; tables.c defines them."""
    names = "".join(f"    {_text(word.name)},\n" for word in model.words) or "    0,\n"
    count = max(1, len(model.words))
    return (
        f"{GENERATED}#ifndef EDGELEARN_MODEL_H\n#define EDGELEARN_MODEL_H\n\n#include <stdint.h>\n\n"
        f"extern const char *const el_word_names[{count}];\nextern const uint8_t el_model_image[{len(image)}];\n\n"
        f"#ifdef EL_DEFINE_MODEL\nconst char *const el_word_names[{count}] = {{\n{names}}};\n"
        f"{c_array('const uint8_t el_model_image', image)}#endif\n\n#endif\n"
    )


def c_array(declaration: str, values: Iterable[int]) -> str:
    """Return the definition of a constant array of integers."""
    numbers = [_number(value) for value in values]
    rows, row = [], "   "
    for number in numbers:
        if len(row) + len(number) + 2 > 118:
            rows.append(row)
            row = "   "
        row += f" {number},"
    return f"{declaration}[{len(numbers)}] = {{\n" + "\n".join([*rows, row]) + "\n};\n"


def identifier(region: str) -> str:
    """Return the name that a region of the arena has in C."""
    return region.replace(".", "_")


def idle_region(layers: int) -> str:
    """Return the region that is idle between two gradient steps, where the sweeps of a lesson keep what they need."""
    return f"tape.layer{layers - 1}.gates"


def _activity_q5(model: Model) -> NDArray[np.int8]:
    """Return the weights of a model's `ActivityReadout`; zeros are as good as none."""
    weights = model.activity.weights_q5
    return weights if len(weights) else np.zeros(model.network.hidden, np.int8)


def _struct(arena: Arena, layers: int) -> str:
    """Return the arena as a struct whose members lie where the regions of the planned arena lie."""
    members, checks, end = [], [], 0
    for region in arena.regions:
        if region.size_bytes == 0:
            continue
        if region.offset > end:
            members.append(f"    uint8_t padding_{end}[{region.offset - end}];\n")
        name, kind = identifier(region.name), C_TYPES[region.dtype]
        count = region.size_bytes // (int(region.dtype.lstrip("uint")) // 8)
        if region.name == "frontend.scratch":  # the transform in 32 bits, then the band energies in 64
            members.append(f"    union {{\n        int64_t energies[{count}];\n        int32_t values[{2 * count}];\n")
            members.append(f"    }} {name};\n")
        elif region.name == idle_region(layers):
            members.append(f"    union {{\n        int16_t i16[{count}];\n        int32_t i32[{count // 2}];\n")
            members.append(f"    }} {name};\n")
        else:
            members.append(f"    {kind} {name}[{count}];\n")
        checks.append(f"offsetof(el_arena, {name}) == {region.offset}")
        end = region.offset + region.size_bytes
    if arena.used_bytes > end:
        members.append(f"    uint8_t padding_{end}[{arena.used_bytes - end}];\n")
    tests = "".join(f"typedef char el_offset_{n}[{check} ? 1 : -1];\n" for n, check in enumerate(checks))
    title = "/* The memory map: everything the device works on. */\n"
    return f"{title}typedef struct {{\n{''.join(members)}}} el_arena;\n\n{tests}"


def _layer(arena: Arena, model: Model, k: int, theta_q8: int) -> str:
    """Return the initialiser of one `el_layer`; theta_q8: of a lesson, see `LearnerConfig`."""
    layer = model.network.layers[k]
    there = {region.name for region in arena.regions if region.size_bytes}

    def place(name: str) -> str:
        member = ".i16" if name == idle_region(len(model.network.layers)) else ""
        return f"el_memory.{identifier(name)}{member}" if name in there else "NULL"

    numbers = (layer.inputs, layer.hidden, layer.weight_shift, bias_limit(layer.inputs, layer.hidden))
    fields = [str(number) for number in numbers]
    for theta in (layer.theta_x_q13, layer.theta_h_q13):
        fields.append(f"{{{theta}, {scaled(theta, theta_q8)}}}")
    fields += [place(f"network.layer{k}.{name}") for name in ("weights_hi", "weights_lo", "bias")]
    for state in ("listening.state", "learning.state"):
        fields.append("{" + ", ".join(place(f"{state}.layer{k}.{name}") for name in STATE_FIELDS) + "}")
    fields += [place(f"tape.layer{k}.{name}") for name in ("gates", "c")]
    fields += [place(f"learning.gradients.layer{k}.{name}") for name in GRADIENT_FIELDS]
    return "{" + ", ".join(fields) + "}"


def _number(value: object) -> str:
    # a negative number in parentheses, so that it can stand behind a minus; the lowest int32 is no constant of C
    if isinstance(value, int):
        return str(value) if value >= 0 else f"({value})" if value > -(2**31) else "(-2147483647 - 1)"
    return str(value)


def _wide(value: int) -> str:
    return f"UINT64_C(0x{value & (1 << 64) - 1:016X})"


def _text(text: str) -> str:
    plain = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'"{plain}"'
