"""`edgelearn info`: what is in the model file, and where it came from."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import model_path
from edgelearn.cli.output import emit, table

HELP = "Say what is in the model file: features, network, words, how the base was trained, every change since."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the common flags are enough."""


def run(args: argparse.Namespace) -> int:
    """Print the model's manifest in short."""
    from edgelearn.runtime.model import open_user_model

    path = model_path(args)
    model = open_user_model(path)
    layers = [f"{layer.inputs}->{layer.hidden}" for layer in model.network.layers]
    weights = sum(array.size for key, array in model.params.items() if key.endswith("_hi"))
    thresholds = [(layer.theta_x_q13 / 8192, layer.theta_h_q13 / 8192) for layer in model.network.layers]
    facts = {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "network": " ".join(layers),
        "weights": weights,
        "delta_thresholds": thresholds,
        "frontend": f"{model.frontend.bands} mel bands, {model.frontend.frame_rate_hz:g} frames/s",
        "frontend_digest": model.frontend.digest,
        "words": [word.name for word in model.words],
        "taught_words": sum(word.taught for word in model.words),
        "base_classes": len(model.labels),
        "rehearsal_bytes": len(model.rehearsal),
        "open_set_threshold": model.open_set_q14 / 16384,
        "history": list(model.history),
        "provenance": model.provenance,
    }
    if args.json:
        emit("info", **facts)
    else:
        rows = [
            (name.replace("_", " "), value)
            for name, value in facts.items()
            if name not in ("provenance", "history", "words")
        ]
        rows.append(("words", ", ".join(word.name for word in model.words)))
        rows += [("change", line) for line in model.history]
        rows += [(f"trained: {k}", v) for k, v in model.provenance.get("metrics", {}).items()]
        table(["", ""], [(name, str(value)) for name, value in rows])
    return 0
