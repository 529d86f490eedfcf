"""`edgelearn info`: what is in the model file, and where it came from."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import open_model
from edgelearn.cli.output import emit, table

HELP = "Say what is in the model file: features, network, words, how the base was trained, every change since."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the common flags are enough."""


def run(args: argparse.Namespace) -> int:
    """Print the model's manifest in short."""
    path, model = open_model(args)
    layers = [f"{layer.inputs}->{layer.hidden}" for layer in model.network.layers]
    weights = sum(array.size for key, array in model.params.items() if key.endswith("_hi"))
    thetas = [(layer.theta_x_q13, layer.theta_h_q13) for layer in model.network.layers]
    thresholds = [[round(x / 8192, 4), round(h / 8192, 4)] for x, h in thetas]
    facts: dict[str, object] = {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "generation": model.generation,
        "network": " ".join(layers),
        "weights": weights,
        "delta_thresholds": thresholds,
        "frontend": f"{model.frontend.bands} mel bands, {model.frontend.frame_rate_hz:g} frames/s",
        "frontend_digest": model.frontend.digest,
        "words": [word.name for word in model.words],
        "taught_words": sum(word.taught for word in model.words),
        "base_classes": model.base_classes,
        "whitened": len(model.whitening) > 0,
        "rehearsal_bytes": len(model.rehearsal),
        "open_set_threshold": round(model.open_set_q14 / 16384, 4),
        "history": list(model.history),
        "provenance": model.provenance,
    }
    if args.json:
        emit("info", **facts)
    else:
        facts["delta_thresholds"] = ", ".join(f"x {x:g} h {h:g}" for x, h in thresholds)
        facts["whitened"] = "yes" if facts["whitened"] else "no"
        facts["words"] = ", ".join(word.name for word in model.words)
        rows = [(name.replace("_", " "), facts[name]) for name in facts if name not in ("provenance", "history")]
        rows += [("change", line) for line in model.history]
        rows += [(f"trained: {k}", v) for k, v in model.provenance.get("metrics", {}).items()]
        table(["model", ""], [(name, str(value)) for name, value in rows])
    return 0
