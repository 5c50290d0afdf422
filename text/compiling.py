"""How the hot loops are compiled (Numba), and what they share: activations that vectorise, passes over vectors.

Numba keeps what it has compiled beside the file of the function and looks at that file alone. So the files of loops
hold the hash of this one, ``COMPILED_WITH``, which a test compares: after a change here they change as well, and what
was kept is compiled again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

HALF, ZERO = np.float32(0.5), np.float32(0)

Function = Callable[..., Any]


OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}


def compiled(function: Function) -> Function:
    """Numba's ``njit`` without the GIL, divisions as in NumPy, and kept on disk where there is a place to write to."""
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no writable folder: compiled again in every process
        return numba.njit(**OPTIONS)(function)


def part(function: Function) -> Function:
    """:func:`compiled`, for a function with floats that only compiled functions call: it becomes a part of each.

    As functions of their own, kept on disk, a caller would find another copy of them in a process that compiles than in
    one that loads, and copies may add up in another order: the same training would differ in the last digit.
    """
    return numba.njit(forceinline=True, **OPTIONS)(function)


def fast_tanh(x: Any) -> Any:
    """Hyperbolic tangent; float32 to 3e-7 by a rational approximation that vectorises, float64 exactly."""
    raise NotImplementedError(x)  # the body is chosen by type when compiled


@overload(fast_tanh)
def _choose_tanh(x):  # type: ignore[no-untyped-def] # Numba compares the names of arguments and their annotations
    return (lambda x: rational_tanh(x)) if x == types.float32 else (lambda x: math.tanh(x))


@part
def rational_tanh(x: Any) -> Any:
    """Odd polynomial of degree 13 over an even one of degree 6, the minimax fit on [-7.9, 7.9] that Eigen uses."""
    limit = np.float32(7.90531110763549805)
    x = limit if x > limit else x  # comparisons that leave a NaN what it is
    x = -limit if x < -limit else x
    square = x * x
    above = np.float32(-2.76076847742355e-16)
    above = above * square + np.float32(2.00018790482477e-13)
    above = above * square + np.float32(-8.60467152213735e-11)
    above = above * square + np.float32(5.12229709037114e-08)
    above = above * square + np.float32(1.48572235717979e-05)
    above = above * square + np.float32(6.37261928875436e-04)
    above = above * square + np.float32(4.89352455891786e-03)
    below = np.float32(1.19825839466702e-06)
    below = below * square + np.float32(1.18534705686654e-04)
    below = below * square + np.float32(2.26843463243900e-03)
    below = below * square + np.float32(4.89352518554385e-03)
    return x * above / below


@part
def sigmoid(x: Any) -> Any:
    """Logistic function by way of :func:`fast_tanh`."""
    return HALF + HALF * fast_tanh(HALF * x)


@part
def copy(source: np.ndarray, target: np.ndarray) -> None:
    """``target[:] = source`` for vectors, without the checks that Numba's own assignment makes each time."""
    for j in range(source.shape[0]):
        target[j] = source[j]


@part
def add_scaled(values: np.ndarray, factor: Any, total: np.ndarray) -> None:
    """``total += factor * values`` for vectors."""
    for j in range(values.shape[0]):
        total[j] += factor * values[j]


@part
def inner_product(left: np.ndarray, right: np.ndarray) -> Any:
    """Sum of products of two vectors."""
    total = ZERO * left[0]
    for j in range(left.shape[0]):
        total += left[j] * right[j]
    return total
