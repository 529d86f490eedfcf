"""Write what in the documentation follows from the code: docs/cli.md, and the memory map in ARCHITECTURE.md.

`make docs` runs it.  tests/test_docs.py fails when its result and the files differ, and when a field of `--json` is
not described here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.pages import with_block
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
    "listen": (
        "0 at the end of the sound or after Ctrl-C; 2 for a file that is no sound, or if another `listen` is running "
        "with this model; 3, 4, 5."
    ),
    "add": "1 if a take or the update was refused (nothing is changed then); 2 for a name that is taken; 3, 4, 5.",
    "confirm": (
        "0; 1 if the utterance is no take of the word or the update was refused (nothing is changed then); "
        "2 if there is "
        "no such word or no such utterance; 4, 5."
    ),
    "reject": "0; 1 if the update was refused (nothing is changed then); 2 if nothing was heard as a word; 4, 5.",
    "words": "0, 4.",
    "rename": "0; 2 if there is no such word or the new name is taken; 4.",
    "remove": "0; 2 if there is no such word; 4, 5.",
    "undo": "0; 4 if there is nothing to go back to.",
    "info": "0, 4.",
    "devices": "0, also if there is none; 3 if PortAudio is missing, or there is no microphone to test.",
    "doctor": "0 if no check has failed, 1 if one has.",
    "profile": "0; 1 without matplotlib; 2 for an unknown board, battery or kind of picture; 4, 5.",
    "evaluate": "0; 2 for data or words that are not there; 4, 5.",
    "pretrain": "0; 1 without PyTorch; 2 for data that lacks the vocabulary; 4 if the model cannot be written.",
    "export": "0; 2 for a folder that cannot be written or a budget whose plan firmware cannot follow; 4, 5.",
    "bench": "0; 2 for a peer that is not known or a time out of range; 4.",
    "wyoming": "0 after Ctrl-C; 1 if the address is taken or its package is missing; 2 for no address; 4, 5.",
    "service": "0; 1 without root or systemd, or if the service does not start; 2 for a user that is not there.",
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
    "updates": "gradient steps of the network: 0 from fewer than three takes, and from noisy ones",
    "sparsity": "share of deltas that were skipped",
    "macs": "multiply-accumulates of the three matrix products",
    "macs_dense": "what they would have been with every column active",
    "energy_mj": "estimate for the board, from the first take to the threshold",
    "board": "the board of the estimate",
    "board_seconds": "estimate for the board",
    "truncated_frames": "frames, over all steps, that were longer ago than the tape reaches",
    "saturations": "numbers that left the range of their format and were clipped, over all steps",
    "peak_bytes": "most bytes of the budget ever in use",
    "budget_bytes": "the budget",
    "old_words_before": "share of the old words' exemplars that were recognised before learning",
    "old_words_after": "the same, after",
    "gained": "whether the gradient steps set the word further apart than the plain mean of its takes, and were kept",
    "confusable": "words that it sounds like, the closest first: [{word, score}], score the cosine to its takes",
}
LAST = {
    "heard": "what the utterance was heard as, null for no word",
    "heard_score": "the best score that a word had then",
    "age_s": "seconds since then",
}
MEANWHILE = {
    "frames_due": "in a running session: feature frames in the sound that came while it was learned",
    "frames_heard": "in a running session: how many of them were heard",
    "frames_lost": "in a running session: the difference",
    "overruns": "in a running session: how often sound could not be kept meanwhile",
}
UNDONE = {
    "words": "the vocabulary now",
    "last_change": "the newest change that is in the model now, null for the shipped model",
}
REMOVED = {"word": "the word that was forgotten"}
RENAMED = {"word": "the old name", "new_name": "the new one"}
MICROPHONE = {
    "state": "lost, back, dead (digital silence), clipped or quiet (far too quiet)",
    "device": "name of the microphone",
    "message": "the same for people",
    "advice": "what to do, if there is something",
    "away_s": "back: how long it was lost",
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
        "overruns": "how often sound came and could not be kept",
        "gaps": "how often sound is missing: overruns and reopens",
        "reopens": "how often the microphone was lost and came back",
        "realtime_factor": "computing time over the length of the sound",
        "energy_mj": "estimate of all the computing",
        "seconds": "length of the sound",
        "sparsity": "share of deltas that were skipped, over all utterances",
        "board": "the board of the estimate",
    },
    ("listen", "microphone"): MICROPHONE,
    ("listen", "added"): ADDED | LAST | MEANWHILE | {"word": "the word that another command taught"},
    ("listen", "undone"): UNDONE,
    ("listen", "removed"): REMOVED,
    ("listen", "renamed"): RENAMED,
    ("add", "microphone"): MICROPHONE,
    ("add", "word"): WORD,
    ("add", "added"): ADDED | MEANWHILE,
    ("confirm", "added"): ADDED | LAST | MEANWHILE | {"word": "the word that was confirmed", "takes": "1"},
    ("reject", "added"): ADDED | LAST | MEANWHILE | {"word": "the word that was not said", "takes": "1"},
    ("words", "vocabulary"): {
        "word": "its name",
        "row": "its row in the table of prototypes",
        "threshold": "least score at which it is reported",
        "threshold_q14": "the same, as the device keeps it",
        "taught": "true for a word of yours, false for a shipped one",
        "takes": "recordings it was taught with",
        "added": "the day it was taught",
        "updates": "gradient steps that its lessons kept",
        "rejects": "the word whose false alarms this one takes to itself, empty for a word that is reported",
    },
    ("rename", "renamed"): RENAMED,
    ("remove", "removed"): REMOVED,
    ("undo", "undone"): UNDONE,
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
        "whitened": "whether embeddings are whitened; those of a model that is older than the whitening are not",
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
    ("devices", "level"): {
        "index, name": "the microphone",
        "rate_hz": "the rate it was opened at",
        "seconds": "of sound that was measured",
        "peak_dbfs, rms_dbfs": "peak and mean in decibels of full scale, null for digital silence",
        "clipped": "share of samples at full scale",
        "overruns": "how often sound came and could not be kept",
        "problem": "dead (digital silence), clipped, quiet (no word could be heard), or empty",
        "advice": "what to do about it",
    },
    ("doctor", "check"): {
        "name": "what was looked at",
        "status": "ok, warn or fail",
        "detail": "what was found",
        "advice": "what to do, if there is something",
    },
    ("profile", "region"): {
        "name": "part.rest of an array in the device's memory; (padding) is what alignment costs",
        "size_bytes": "its size",
        "offset": "where it begins",
        "dtype": "type of its numbers",
        "shape": "its shape",
        "listening": "whether it is in use while nothing is learned",
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
    ("profile", "option"): {
        "tape_frames": "frames that a gradient step would look back",
        "checkpoint_every": (
            "0: all gates are kept, weight gradients are summed column by column; else gates are recomputed from a "
            "checkpoint every so many frames, and gradients stored"
        ),
        "rehearsal_bytes": "capacity of the rehearsal memory",
        "needed_bytes": "the smallest budget of this way to learn",
        "fits": "whether the budget has room for it",
        "chosen": "whether it is the plan in use",
        "update_seconds, update_energy_mj": "a gradient step, estimate",
        "time_ratio": "its time over that of the plan in use",
    },
    ("profile", "day"): {
        "part": "with --battery: what the board does in that part of a day",
        "seconds": "how long; the parts are a day",
        "energy_j": "estimate",
        "energy_j_low, energy_j_high": "lowest and highest plausible energy",
    },
    ("profile", "battery"): {
        "watt_hours": "the battery",
        "days": "how long it lasts, estimate",
        "days_low, days_high": "least and most plausible",
        "energy_j": "of a day, the sum of its parts",
        "mean_power_w": "over the day",
        "busy_share": "share of the day in which the core computes",
        "assumptions": "figures of the board behind it that are not verified",
    },
    ("profile", "measured"): {
        "what": "with --measure: speech_second or learned_word, really run on this machine",
        "seconds": "processor time of one",
        "runs": "how many were timed",
        "busy_w": "mean power meanwhile, null without a sensor",
        "energy_mj": "of one, above idle; null without a sensor",
    },
    ("profile", "machine"): {
        "sensor": "with --measure: what told the power, null if nothing does",
        "idle_w": "mean power while idle",
        "before, after": "clock_mhz, most_mhz, governor, temperature_c, throttled; null for what nothing here tells",
        "missing": "what could not be measured, and why",
    },
    ("profile", "summary"): {
        "board": "its name",
        "used_bytes": "bytes in use",
        "budget_bytes": "the budget",
        "peak_bytes": "most bytes ever in use",
        "listening_bytes": "of them in use while nothing is learned",
        "parts": "bytes of each part of the memory map",
        "fits_board": "whether the board has that memory",
        "board_bytes": "memory of the board",
        "tape_frames": "frames that a gradient step can look back",
        "checkpoint_every": "0, or the interval of the tape's checkpoints",
        "rehearsal_bytes": "capacity of the rehearsal memory",
        "rehearsal_used_bytes": "how much of it exemplars take",
        "words_left": "words that can still be taught",
        "mean_power_w": "while speech lasts, idle power included where the board's file knows it",
    },
    ("evaluate", "result"): {
        "protocol": "base, fewshot, stream or incremental",
        "model": "base, fewshot, stream: path of the model that is measured: without `--model` the user's own",
        "metric, value": "base: accuracy",
        "accuracy": "base: share of clips decided for their word, against every class",
        "accuracy_float": "base: the same of the float64 twin with the same weights and thresholds",
        "low95, high95": "base: 95 % interval, by bootstrap over speakers",
        "n, speakers": "base: clips and speakers",
        "split": "base: whose clips",
        "classes": "base: classes that were decided between",
        "sparsity": "base: share of deltas that were skipped",
        "dataset, learner, condition": (
            "fewshot: what this line is about; learner, in incremental: sparse_bptt, directions (no gradient), "
            "sweeps (gradient steps on rows only) or prototype"
        ),
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
        "shots": "stream: takes of each word",
        "snr_db, noise": (
            "stream: ratio of each word to the noise in dB, null in a quiet room; which noise: background is what the "
            "data calls _noise_, events what it calls _noise_:something"
        ),
        "miss_rate, miss_rate_ci95": "stream: share of words that were not heard as themselves, interval over speakers",
        "not_found_rate": "stream: share that no threshold would have found: not ended in time, or nearer to another "
        "word",
        "wrong_word_rate": "stream: share of words during which another one was heard",
        "false_accepts_per_hour, false_accepts_per_hour_upper95": (
            "stream: taught words heard in speech (in this noise) and in noise alone, an hour, and the Poisson bound of"
            " as many as are independent: devices that accept the same sound are not"
        ),
        "shipped_words_per_hour": "stream: shipped words heard there; running speech does hold some of them",
        "latency_ms_median": "stream: from the end of the word to the decision, in sound",
        "hours, hours_of_sound": (
            "stream: sound without the words, over all speakers and draws, and how much of it is different"
        ),
        "miss_rate_at_1_fa_per_hour, margin_at_1_fa_per_hour": (
            "stream: misses with all thresholds moved so that at most one false accept an hour is left, and by how much"
        ),
        "miss_rate_at_1_fa_per_hour_everywhere, margin_everywhere": (
            "stream: the same where at most one an hour is left in each of the conditions"
        ),
        "curve": "stream: [{false_accepts_per_hour, miss_rate}], the trade-off",
        "thresholds": "incremental: shipped, or zero for the network that was trained without them",
        "step, seed": "incremental: 0 are the base words; which words, in which order",
        "accuracy_joint": "incremental: of the network that was trained on all words together",
        "accuracy_ci95": "incremental: interval of accuracy over speakers",
        "rehearsal_bytes, rehearsal_used_bytes": "incremental: bytes of what is remembered, and how many were used",
        "updates": "incremental: gradient steps of this step",
        "macs, macs_dense": "incremental: multiply-accumulates of these, and with every column active",
        "memory_accesses, memory_accesses_dense": "incremental: bytes of weights read and written by these, the same",
        "macs_inference, macs_inference_dense, memory_accesses_inference, memory_accesses_inference_dense": (
            "incremental: of testing"
        ),
        "saturations": "incremental: numbers that were clipped",
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
    ("export", "file"): {
        "path": "a file that was written",
        "bytes": "its size",
    },
    ("export", "summary"): {
        "arena_bytes": "RAM of the arena; the rest of the budget is for other variables and the stack",
        "image_bytes": "flash of the model",
        "tape_frames": "frames that gradients reach back over",
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
    ("wyoming", "ready"): {
        "uri": "where it waits for clients, with the port that it got",
        "words": "the words that it knows",
    },
    ("wyoming", "detection"): {
        "client": "number of the client that was told, in the order in which they came",
        "word": WORD["word"],
        "score": WORD["score"],
        "end_s": "where it ended, in seconds of the client's sound",
    },
    ("wyoming", "end"): {
        "clients": "how many clients there were",
        "words": "how many words they were told",
    },
    ("service", "unit"): {
        "path": "where the unit belongs",
        "text": "the unit",
        "installed": "whether it was installed and started",
    },
    ("config", "setting"): {
        "key": "name of the setting; those of an action are `actions.NAME.KEY`",
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
    defaults = {name: str(settings.value(name)) or "(none)" for name in KEYS}
    defaults["device.budget"] = format_size(settings.device.budget_bytes)
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
                (f"`{name}`", f"`{key.flag}`", f"`{key.variable}`", f"{key.help}: {key.value.wanted}", defaults[name])
                for name, key in KEYS.items()
            ),
        ),
        "## Every command\n",
        _arguments(common),
        "## What was learned\n",
        "The event `added`, of every command that teaches:\n",
        _fields(ADDED),
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
            if owner == verb and event == "added":
                own = {name: text for name, text in fields.items() if ADDED.get(name) != text}
                also = ", and" if own else ""
                parts += [f"JSON event `added`, see [What was learned](#what-was-learned){also}\n", _fields(own)]
            elif owner == verb:
                parts += [f"JSON event `{event}`:\n", _fields(fields)]
        parts.append(f"Exit codes: {EXITS.get(verb, 'as above.')}\n")
    return "\n".join(part for part in parts if part)


def _fields(fields: Mapping[str, str]) -> str:
    names = ((", ".join(f"`{n}`" for n in name.split(", ")), text) for name, text in fields.items())
    return _table(("field", "meaning"), names) if fields else ""


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
    return with_block(text, MAP_BEGIN, MAP_END, memory_map())


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(render_cli(), encoding="utf-8")
    architecture = ROOT / "ARCHITECTURE.md"
    architecture.write_text(with_memory_map(architecture.read_text(encoding="utf-8")), encoding="utf-8")
