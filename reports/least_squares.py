"""Least squares on logarithms with dummy coding: ratios, means and intervals of an unbalanced factorial.

log y = constant + a term per column, a column being a product of level indicators. What the design cannot
tell apart (a contrast outside the row space of its matrix) is not estimated. Source: any text on linear
models, e.g. Searle, Linear Models, chapters 5 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.points import t_quantile

Column = tuple[tuple[int, int], ...]  # (factor, level) pairs whose indicators are multiplied; () the constant
Row = tuple[int, tuple[int, ...], float]  # number of the point, its level per factor, a positive measurement
Matrix = NDArray[np.float64]
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval, None where the data have none."""

    value: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """The interval leaves 1 out."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Error:
    """Where intervals come from: "repeats", "residual" of the model, or "none"; variance is of logarithms."""

    kind: str
    variance: float
    freedom: int


class Fit:
    """Least squares of the logarithms of rows on columns, and what the design can tell of them."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        self._columns = list(columns)
        matrix = np.array([[_inside(levels, column) for column in columns] for _, levels, _ in rows], float)
        logs = np.log([value for _, _, value in rows])
        inverse = np.linalg.pinv(matrix)
        self._solution: Matrix = inverse @ logs
        self._projection: Matrix = inverse @ matrix
        self._covariance: Matrix = inverse @ inverse.T
        rank = int(np.linalg.matrix_rank(matrix))
        residual = float(np.sum((logs - matrix @ self._solution) ** 2))
        self.error = _error([point for point, _, _ in rows], logs, residual, len(rows) - rank)

    def ratio(self, *columns: Column) -> Ratio | None:
        """exp of the sum of these columns' terms; None where the design does not tell it from others."""
        contrast = self._contrast(dict.fromkeys(columns, 1.0))
        middle = self._estimate(contrast)
        if middle is None:
            return None
        if self.error.kind == "none":
            return Ratio(math.exp(middle), None, None)
        variance = self.error.variance * float(contrast @ self._covariance @ contrast)
        half = t_quantile(self.error.freedom) * math.sqrt(max(variance, 0.0))
        return Ratio(math.exp(middle), math.exp(middle - half), math.exp(middle + half))

    def mean(self, weights: Mapping[Column, float]) -> float | None:
        """exp of the weighted sum of terms, the constant among them; None where it cannot be told."""
        middle = self._estimate(self._contrast(weights))
        return None if middle is None else math.exp(middle)

    def _contrast(self, weights: Mapping[Column, float]) -> Matrix:
        return np.array([weights.get(column, 0.0) for column in self._columns])

    def _estimate(self, contrast: Matrix) -> float | None:
        told = float(np.max(np.abs(contrast @ self._projection - contrast))) <= _TOLERANCE
        return float(contrast @ self._solution) if told else None


def _inside(levels: Sequence[int], column: Column) -> bool:
    return all(levels[factor] == level for factor, level in column)


def _error(points: Sequence[int], logs: Matrix, residual: float, residual_freedom: int) -> Error:
    """From the repeats within points where there are any, else from the residual of the model."""
    groups: dict[int, list[float]] = {}
    for point, value in zip(points, logs, strict=True):
        groups.setdefault(point, []).append(float(value))
    freedom = sum(len(values) - 1 for values in groups.values())
    if freedom:
        within = sum(float(np.var(values)) * len(values) for values in groups.values())
        return Error("repeats", within / freedom, freedom)
    if residual_freedom > 0:
        return Error("residual", residual / residual_freedom, residual_freedom)
    return Error("none", 0.0, 0)
