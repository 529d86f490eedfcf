"""The published design sheet: operations divided by processing elements, nothing that fills, drains or waits.

Source: RENETA's cycle sheet (github.com/SensorsINI/RENETA; Chen et al., AAAI 2024). Cycles on P PEs a step and layer
of N inputs and H units: Wx dx 4H N oc / P, Wh dh 4H H oc / P, the sum of M 12H / P, c 2H / P, h H / P; backward H / P,
3H / P and 12H / P for the gates, W^T CM and CM (x) d each as the forward products, 4N / P for x and x^, 4H / P for h
and h^.
"""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int, int]
"""Inputs and units of a layer."""

FORWARD_H = {"sum of M": 12, "c": 2, "h": 1}
BACKWARD_H = {"Ch": 1, "Cc": 3, "CM": 12, "h, h^": 4}
BACKWARD_N = {"x, x^": 4}
"""Operations for each unit and for each input of a layer."""


def product_cycles(layers: Sequence[Shape], processing_elements: int, occupancy: float) -> float:
    """Cycles a step of one of the three products, of all layers."""
    return sum(4 * h * (n + h) for n, h in layers) * occupancy / processing_elements


def forward_cycles(layers: Sequence[Shape], processing_elements: int, occupancy: float) -> float:
    """Cycles a step of the forward pass."""
    elementwise = sum(sum(FORWARD_H.values()) * h for _, h in layers) / processing_elements
    return product_cycles(layers, processing_elements, occupancy) + elementwise


def backward_cycles(layers: Sequence[Shape], processing_elements: int, occupancy: float) -> float:
    """Cycles a step of the backward pass with the weight gradients."""
    elementwise = sum(sum(BACKWARD_H.values()) * h + sum(BACKWARD_N.values()) * n for n, h in layers)
    return 2 * product_cycles(layers, processing_elements, occupancy) + elementwise / processing_elements
