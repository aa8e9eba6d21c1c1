#!/usr/bin/env python3
"""Prints the coefficients that bench/hand.c has, and how far the forms are from the functions (in exact arithmetic).

Least squares at Chebyshev points; for erf the weights are raised where the error is largest, over and over, which
levels it (Lawson). Needs NumPy and SciPy: bench/run.py --setup brings them.
"""
import numpy as np
from scipy.special import erf


def chebyshev(n, end):
    return end * np.cos((2 * np.arange(n) + 1) * np.pi / (2 * n))


def powers(s, n):
    return np.vander(s, n, increasing=True)


def value(coefficients, s):
    return np.polyval(coefficients[::-1], s)


def exp():
    """exp(r) = 1 + r + r^2 P(r) for |r| <= ln 2 / 2, P of degree 4."""
    r = chebyshev(400, np.log(2) / 2 * 1.0002)
    weight = r**2 / np.exp(r)
    p = np.linalg.lstsq(powers(r, 5) * weight[:, None], (np.exp(r) - 1 - r) / r**2 * weight, rcond=None)[0]
    return {"P": p}, np.max(np.abs((1 + r + r**2 * value(p, r)) / np.exp(r) - 1))


def erf_rational():
    """erf(z) = z P(z^2) / Q(z^2) for |z| <= 3.93, P of degree 6, Q of degree 4 with Q(0) = 1."""
    z = chebyshev(2001, 3.93)
    z = z[z > 1e-6]
    s, f = z * z, erf(z)
    lawson, q = np.ones_like(z), np.ones_like(z)
    for _ in range(200):
        weight = np.sqrt(lawson) * z / (q * f)
        columns = np.hstack([powers(s, 7), -(f / z)[:, None] * powers(s, 5)[:, 1:]])
        found = np.linalg.lstsq(columns * weight[:, None], f / z * weight, rcond=None)[0]
        p, q = value(found[:7], s), 1 + s * value(found[7:], s)
        error = np.abs(z * p / q / f - 1)
        lawson *= error / error.mean() + 1e-3
        lawson /= lawson.mean()
    return {"P": found[:7], "Q": np.concatenate([[1.0], found[7:]])}, error.max()


if __name__ == "__main__":
    for fit in (exp, erf_rational):
        coefficients, error = fit()
        print(fit.__doc__, f"  relative error {error:.2e}", sep="\n")
        for name, row in coefficients.items():
            print(f"  {name}:", ", ".join(f"{c:.10g}" for c in row))
