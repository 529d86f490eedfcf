"""Write what in the documentation follows from the code: docs/cli.md, and the memory map in ARCHITECTURE.md.

`make docs` runs it.  tests/test_docs.py fails when its result and the files differ, and when a field of `--json` is
not described here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from edgelearn.cli.arguments import Parser, add_common
from edgelearn.cli.verbs import VERBS, exists, load
from edgelearn.config import KEYS, load_settings
from edgelearn.device.sizes import format_size
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.voice import VoiceDevice

ROOT = Path(__file__).resolve().parent.parent
MAP_BEGIN = "<!-- memory map: written by docs/generate.py -->\n"
MAP_END = "<!-- end of memory map -->\n"

INTRODUCTION = """\
# The command line

Written by `make docs` from the program itself; do not edit.

    edgelearn VERB [options]

- Data goes to stdout, talk and progress to stderr. Without `--json` data is tables for people; with it one JSON
  object a line, each with `"v": 1`, the version of the schema, and `"event"`. Within version 1 fields may be added;
  none changes its meaning.
- A setting comes from flag, environment, settings file or default, in this order. An unknown key, variable or option
  is an error.
- The model is your own, created from the shipped one at the first use: `--model`, else `EDGELEARN_MODEL`, else
  `~/.local/share/edgelearn/model.npz` (`XDG_DATA_HOME` is respected). Every write replaces it in one step.
- Energies are estimates of computing on the board in use, in millijoules.
- `EDGELEARN_DEBUG=1` shows tracebacks.
"""

EXIT_CODES = {
    0: "done",
    1: "failed: a take or an update was refused, or something unexpected happened",
    2: "usage, settings, or an input file",
    3: "audio device",
    4: "model file",
    5: "memory budget of the device",
    130: "ended by Ctrl-C",
}

EXITS = {
    "demo": "0 if every word was heard, nothing else was, and the new word was learned; 1 if not; 2, 4, 5.",
    "listen": "0 at the end of the sound or after Ctrl-C; 2 for a file that is no sound; 3, 4, 5.",
    "add": "1 if a take or the update was refused (nothing is changed then); 2 for a name that is taken; 3, 4, 5.",
    "words": "0, 4.",
    "rename": "0; 2 if there is no such word or the new name is taken; 4.",
    "remove": "0; 2 if there is no such word; 4, 5.",
    "undo": "0; 4 if there is nothing to go back to.",
    "info": "0, 4.",
    "devices": "0, also if there is none; 3 if PortAudio is missing.",
    "profile": "0; 2 for an unknown board; 4, 5.",
    "evaluate": "0; 2 for data or words that are not there; 4, 5.",
    "pretrain": "0; 1 without PyTorch; 2 for data that lacks the vocabulary; 4 if the model cannot be written.",
    "bench": "0; 2 for a peer that is not known or a time out of range; 4.",
    "config": "0; 2 for a setting that is unknown or out of range.",
}

WORD = {
    "word": "which word was heard",
    "score": "cosine margin, -1 to 1",
    "start_s": "where it began, in seconds of sound since the stream began",
    "end_s": "where it ended",
    "latency_ms": "from the end of the word to the decision, in sound",
    "sparsity": "share of the utterance's deltas that were skipped",
}
ADDED = {
    "word": "the new word",
    "takes": "recordings it was learned from",
    "seconds": "time spent learning on this machine",
    "updates": "gradient steps that changed the weights",
    "sparsity": "share of deltas that were skipped",
    "macs": "multiply-accumulates of the three matrix products",
    "macs_dense": "what they would have been with every column active",
    "energy_mj": "estimate for the board",
    "board": "the board of the estimate",
    "board_seconds": "estimate for the board",
    "truncated_frames": "frames, over all steps, that were longer ago than the tape reaches",
    "saturations": "numbers that left the range of their format and were clipped, over all steps",
    "peak_bytes": "most bytes of the budget ever in use",
    "budget_bytes": "the budget",
    "old_words_before": "share of the old words' exemplars that were recognised before learning",
    "old_words_after": "the same, after",
}
EVENTS: dict[tuple[str, str], dict[str, str]] = {
    ("demo", "word"): WORD,
    ("demo", "added"): ADDED,
    ("demo", "summary"): {
        "words_expected": "words that were played and should be heard",
        "words_heard": "how many of them were",
        "false_alarms": "events that nothing played accounts for",
        "missed": "recordings that were not heard",
        "heard_while_learning": "words heard while the new one was being learned",
        "word_added": "the new word, null if it was not learned",
        "learn_seconds": "time spent in gradient steps",
        "peak_bytes": "most bytes of the budget ever in use",
        "budget_bytes": "the budget",
        "seconds_of_sound": "length of what was played",
        "realtime_factor": "time it took over that length",
        "sparsity": "of learning",
        "energy_mj": "of learning, estimate",
        "board": "the board of the estimate",
        "passed": "whether all of it worked",
    },
    ("listen", "word"): WORD,
    ("listen", "end"): {
        "frames": "feature frames",
        "overruns": "gaps in the sound",
        "realtime_factor": "computing time over the length of the sound",
        "energy_mj": "estimate of all the computing",
        "seconds": "length of the sound",
        "sparsity": "share of deltas that were skipped, over all utterances",
        "board": "the board of the estimate",
    },
    ("add", "word"): WORD,
    ("add", "added"): ADDED,
    ("words", "vocabulary"): {
        "word": "its name",
        "row": "its row in the table of prototypes",
        "threshold": "least score at which it is reported",
        "threshold_q14": "the same, as the device keeps it",
        "taught": "true for a word of yours, false for a shipped one",
        "takes": "recordings it was taught with",
        "added": "the day it was taught",
        "updates": "gradient steps it took",
    },
    ("rename", "renamed"): {"word": "the old name", "new_name": "the new one"},
    ("remove", "removed"): {"word": "the word that was forgotten"},
    ("undo", "undone"): {
        "words": "the vocabulary now",
        "last_change": "the newest change that is in the model now, null for the shipped model",
    },
    ("info", "info"): {
        "file": "path of the model",
        "file_bytes": "its size",
        "generation": "counts the writes of the file",
        "network": "inputs -> hidden units",
        "weights": "how many weights",
        "delta_thresholds": "[input, hidden] of each layer, in the network's units",
        "frontend": "the features in words",
        "frontend_digest": "changes with every parameter of the features",
        "words": "the vocabulary",
        "taught_words": "how many of it you taught",
        "base_classes": "classes that the base model was trained on",
        "rehearsal_bytes": "bytes of exemplars",
        "open_set_threshold": "threshold of words that are taught",
        "history": "one line for each change",
        "provenance": "how the base model was made: recipe, data sets, versions, metrics",
    },
    ("devices", "device"): {
        "index": "its number, for --device",
        "name": "its name; a part of it will do for --device",
        "host_api": "the sound system",
        "channels": "input channels",
        "rate_hz": "its own rate",
        "default": "whether it is used without --device",
    },
    ("profile", "region"): {
        "name": "part.rest of an array in the device's memory; (padding) is what alignment costs",
        "size_bytes": "its size",
        "offset": "where it begins",
        "dtype": "type of its numbers",
        "shape": "its shape",
    },
    ("profile", "cost"): {
        "what": "speech_frame, speech_second or learned_word",
        "part": "kind of work; total is their sum",
        "cycles": "estimate",
        "energy_mj": "estimate",
        "energy_mj_low": "total: lowest plausible energy",
        "energy_mj_high": "total: highest plausible energy",
        "seconds": "total: of computing",
        "sparsity": "total: share of deltas that were skipped",
        "macs": "total: multiply-accumulates of the matrix products in the whole run",
        "macs_dense": "total: the same with every column active",
        "counts": "total: every counter of the run, saturations among them",
        "share": "total: the cost is this share of the run's",
        "assumptions": "total: figures of the board behind it that are not verified",
    },
    ("profile", "summary"): {
        "board": "its name",
        "used_bytes": "bytes in use",
        "budget_bytes": "the budget",
        "peak_bytes": "most bytes ever in use",
        "parts": "bytes of each part of the memory map",
        "fits_board": "whether the board has that memory",
        "board_bytes": "memory of the board",
        "tape_frames": "frames that a gradient step can look back",
        "rehearsal_bytes": "capacity of the rehearsal memory",
        "rehearsal_used_bytes": "how much of it exemplars take",
        "words_left": "words that can still be taught",
        "mean_power_w": "while speech lasts, idle power included where the board's file knows it",
    },
    ("evaluate", "result"): {
        "protocol": "base or fewshot",
        "metric, value": "base: accuracy",
        "accuracy": "base: share of clips decided for their word, against every class",
        "accuracy_float": "base: the same of the float64 twin with the same weights and thresholds",
        "low95, high95": "base: 95 % interval, by bootstrap over speakers",
        "n, speakers": "base: clips and speakers",
        "split": "base: whose clips",
        "classes": "base: classes that were decided between",
        "sparsity": "base: share of deltas that were skipped",
        "dataset, learner, condition": "fewshot: what this line is about",
        "across_speakers": (
            "fewshot: whether the takes are of N people and the tests of everyone else, and not both of one speaker; "
            "the other words are then those of everyone else too, and base classes that are one of the words "
            "reject it like any other class of the background"
        ),
        "closed_kN": (
            "fewshot: share of test takes whose best novel word is the right one, after N takes "
            "(1, 3, 5; across speakers 1, 5, 10)"
        ),
        "hit_at_1pct_fa_kN, hit_at_5pct_fa_kN": (
            "fewshot: share heard as the right word where 1 % or 5 % of the speaker's other words are accepted"
        ),
        "hit_auto_kN, fa_auto_kN": (
            "fewshot: share heard, and share of other words accepted, at the words' own thresholds"
        ),
        "..._ci95": "fewshot: [low, high] of each of these, by bootstrap over speakers",
        "speakers_kN, n_kN": "fewshot: speakers, and test takes over all draws",
        "base_before, base_after": (
            "fewshot: base accuracy before and after the novel words were learned (from the most takes)"
        ),
        "learn_seconds": "fewshot: seconds to learn a word on this machine",
        "learn_sparsity": "fewshot: share of deltas that were skipped while learning",
        "peak_bytes": "most bytes of the budget ever in use",
        "budget_bytes": "fewshot: the budget",
    },
    ("pretrain", "pretrained"): {
        "model": "path of the model",
        "val_fixed, test_fixed": "base accuracy of the fixed-point model, percent",
        "val_sparsity, test_sparsity": "share of deltas skipped, percent",
        "val_float_twin, test_float_twin": "the same network before its numbers were made fixed-point",
        "val_float_dense, test_float_dense": "its companion without thresholds, trained for as many epochs",
        "open_set_q14": "threshold of taught words",
        "seconds": "of training",
        "total_seconds": "of everything",
    },
    ("bench", "bench"): {
        "name": "what was measured",
        "value": "how long ours takes, or what the unit says",
        "unit": "of value",
        "peer": "what it is compared with",
        "ratio": "above 1: ours is faster; null where there is nothing to compare with",
        "peer_value": "the same of the peer",
        "sparsity": "share of deltas that ours skipped",
        "frames": "frames in one piece of the work",
        "dense_difference": "largest difference of h to the peer's with thresholds 0: it is the same network",
        "ideal, ideal_share": "sparse_speedup: the ratio of the multiplications, and what share of it was reached",
        "matrix_us, whole_step_us, whole_step": (
            "sparse_speedup: time of the matrix part and of a learning step, and the ratio of the latter"
        ),
        "peak_gmac_s, forward_gmac_s, matrix_part_share": (
            "peak_share: most products a second of this core, ours in a dense forward pass, share of the matrix part"
        ),
        "machine, python, versions, date": "what these times must be read with",
    },
    ("config", "setting"): {
        "key": "name of the setting",
        "value": "its value (sizes in bytes)",
        "origin": "flag, environment, file and line, or default",
    },
}  # fmt: skip


def parser_of(verb: str) -> Parser:
    """Return the parser of a verb's own options and arguments."""
    parser = Parser(prog=f"edgelearn {verb}", add_help=False)
    load(verb).add_arguments(parser)
    return parser


def render_cli() -> str:
    """Return the text of docs/cli.md."""
    common = Parser(add_help=False)
    add_common(common)
    settings = load_settings(ROOT / "configs" / "runtime.toml", environ={"HOME": "/"})
    defaults = {
        name: format_size(int(settings.value(name))) if key.kind == "size" else str(settings.value(name)) or "(none)"
        for name, key in KEYS.items()
    }
    parts = [
        INTRODUCTION,
        "## Exit codes\n",
        _table(("code", "meaning"), ((str(code), text) for code, text in EXIT_CODES.items())),
        "## Settings\n",
        "In a file as TOML, the part before the dot as a table: yours is `~/.config/edgelearn/config.toml`,\n"
        "`--config` names another, and `configs/runtime.toml` shows all of them.\n",
        _table(
            ("key", "flag", "environment", "value", "default"),
            (
                (f"`{name}`", f"`{key.flag}`", f"`{key.variable}`", f"{key.help}: {key.wanted}", defaults[name])
                for name, key in KEYS.items()
            ),
        ),
        "## Every command\n",
        _arguments(common),
    ]  # fmt: skip
    for verb, summary in VERBS.items():
        parts.append(f"## {verb}\n")
        if not exists(verb):
            parts.append(f"Not there yet: {summary}. Exits with 2.\n")
            continue
        parser = parser_of(verb)
        names = [_value(action) for action in parser._actions if not action.option_strings]
        needed = [f"{a.option_strings[0]} {_value(a)}" for a in parser._actions if a.option_strings and a.required]
        parts += [
            f"{load(verb).HELP}\n",
            f"    {' '.join(['edgelearn', verb, *names, *needed, '[options]'])}\n",
            _arguments(parser),
        ]
        for (owner, event), fields in EVENTS.items():
            if owner == verb:
                parts += [
                    f"JSON event `{event}`:\n",
                    _table(
                        ("field", "meaning"),
                        ((", ".join(f"`{n}`" for n in name.split(", ")), text) for name, text in fields.items()),
                    ),
                ]
        parts.append(f"Exit codes: {EXITS.get(verb, 'as above.')}\n")
    return "\n".join(part for part in parts if part)


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = []
    for action in parser._actions:
        name = " ".join(text for text in ("/".join(action.option_strings), _value(action)) if text)
        rows.append((f"`{name}`", (action.help or "") % vars(action)))
    return _table(("argument", "meaning"), rows) if rows else ""


def _value(action: argparse.Action) -> str:
    """Return how the value of an argument is written: its name, or its choices; "" for a switch."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        name = action.metavar
    elif action.choices is not None:
        name = "|".join(map(str, action.choices))
    else:
        name = action.dest.upper()
    return f"{name}..." if action.nargs in ("+", "*") else name


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, ("---",) * len(headers), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def memory_map() -> str:
    """Return the parts of the shipped model's memory at the default budget, as an indented block."""
    report = VoiceDevice(load_model(BASE_MODEL)).arena.report()
    return "".join(f"    {line}\n" for line in report.splitlines() if not line.startswith("  "))


def with_memory_map(text: str) -> str:
    """Return the text of ARCHITECTURE.md with the memory map as it is now."""
    before, _, rest = text.partition(MAP_BEGIN)
    _, _, after = rest.partition(MAP_END)
    return f"{before}{MAP_BEGIN}\n{memory_map()}\n{MAP_END}{after}"


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(render_cli(), encoding="utf-8")
    architecture = ROOT / "ARCHITECTURE.md"
    architecture.write_text(with_memory_map(architecture.read_text(encoding="utf-8")), encoding="utf-8")
