"""The slow, obvious twin of the arithmetic of directions, in Python integers."""

from __future__ import annotations

import math

from tests.reference_head import quantise_prototype


def dot(first: list[int], second: list[int]) -> int:
    """Scalar product."""
    return sum(a * b for a, b in zip(first, second, strict=True))


class Word:
    """What is kept of a word: rows and norms (Q8) of its directions, their lengths (Q14), takes and mean (Q14)."""

    def __init__(self, directions: int, hidden: int) -> None:
        self.rows = [[0] * hidden for _ in range(directions)]
        self.norms_q8 = [1] * directions
        self.lengths_q14 = [0] * directions
        self.takes, self.mean_q14 = 0, 0
        self.largest = 0  # of all products

    def add(self, u: list[int], p: list[int]) -> None:
        """A take u joins, where those before it have the direction p (unit vectors, Q14)."""
        if self.takes >= 1 << 15:
            return
        vectors = [
            [(v * length << 8) // norm for v in row]
            for row, norm, length in zip(self.rows, self.norms_q8, self.lengths_q14, strict=True)
        ]
        share = math.isqrt((self.takes << 28) // (self.takes + 1))
        vectors.append([(((a << 14) - self.mean_q14 * b) * share) >> 28 for a, b in zip(u, p, strict=True)])
        for _ in range(3):
            for k in range(len(vectors)):
                for n in range(k + 1, len(vectors)):
                    vectors[k], vectors[n] = self.turned(vectors[k], vectors[n])
        squares = [dot(v, v) for v in vectors]
        shortest = min(range(len(vectors)), key=lambda k: (squares[k], k != len(vectors) - 1, k))
        last = vectors.pop()
        if shortest < len(vectors):
            vectors[shortest] = last
        self.lengths_q14 = [math.isqrt(dot(v, v)) for v in vectors]
        made = [quantise_prototype(v) for v in vectors]
        self.rows, self.norms_q8 = [row for row, _ in made], [norm for _, norm in made]
        total = self.takes * self.mean_q14
        square = total * total + 2 * total * (dot(u, p) >> 14) + (1 << 28)
        self.mean_q14 = math.isqrt(max(0, square)) // (self.takes + 1)
        self.takes += 1

    def turned(self, first: list[int], second: list[int]) -> tuple[list[int], list[int]]:
        """Two vectors made orthogonal in their plane."""
        apart, both = dot(second, second) - dot(first, first), 2 * dot(first, second)
        self.largest = max(self.largest, dot(first, first), dot(second, second))
        sign = -1 if (apart < 0) != (both < 0) else 1
        apart, both = abs(apart), abs(both)
        while max(apart, both) >= 1 << 30:
            apart, both = apart >> 1, both >> 1
        if both == 0:
            return first, second
        tangent = (both << 15) // (apart + math.isqrt(apart * apart + both * both))
        cosine = (1 << 30) // math.isqrt((1 << 30) + tangent * tangent)
        sine = sign * ((cosine * tangent + (1 << 14)) >> 15)
        pairs = list(zip(first, second, strict=True))
        return (
            [(cosine * a - sine * b + (1 << 14)) >> 15 for a, b in pairs],
            [(sine * a + cosine * b + (1 << 14)) >> 15 for a, b in pairs],
        )

    def taken_back(self, u: list[int], row: list[int], norm_q8: int, compared_q28: int) -> int:
        """What is added to the cosine (Q14) of u to the word's row."""
        total = 0
        for v, norm, length in zip(self.rows, self.norms_q8, self.lengths_q14, strict=True):
            apart = (dot(u, v) << 8) // norm - (dot(row, v) << 30) // (norm * norm_q8)
            share = (length * length << 15) // (length * length + compared_q28)
            total += (apart * apart * share) >> 29
        return total >> 1
