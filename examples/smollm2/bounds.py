"""What a step must give, in float64, and how far a float32 kernel may be from it.

A Val is an exact value v and a bound e: whatever a kernel computes in its place differs from v by at most e. Every
operation below takes the bounds of its operands to one of its result, by the standard rules of rounding analysis:

    u = 2**-24                half an ulp of float32, relative: one rounding
    gamma(n) = n u / (1-n u)  n roundings, as in a sum of n terms in any order
    F = 4 * 2**-23            4 ulp, what the language promises for exp, rsqrt, sin, cos and **

So nothing here is a tolerance that somebody chose: a kernel outside its bound has a bug. What it may do inside them is
what the language allows: sum in any order, contract a * b + c, move factors out of sums, rescale in one pass.
"""
from dataclasses import dataclass

import numpy as np

U = 2.0**-24
F = 4 * 2.0**-23
TINY = 2.0**-120         # results below 2**-126 may be flushed to zero; this leaves room for a sum of them
RESCALES = 32            # of a softmax computed in one pass: how often its maximum may move


def gamma(n: int) -> float:
    return n * U / (1 - n * U)


@dataclass
class Val:
    v: np.ndarray        # exact, float64
    e: np.ndarray        # |computed - v| <= e

    def __getitem__(self, at) -> "Val":
        return Val(self.v[at], self.e[at])


def exact(x: np.ndarray) -> Val:
    """Data as it is: the kernel reads the same bits."""
    v = np.asarray(x, dtype=np.float64)
    return Val(v, np.zeros_like(v))


def rounded(v: np.ndarray, e: np.ndarray, relative: float = U) -> Val:
    """A result that carries e from its operands and is then computed within a relative error."""
    return Val(v, e + relative * (np.abs(v) + e) + TINY)


def add(a: Val, b: Val) -> Val:
    return rounded(a.v + b.v, a.e + b.e)


def mul(a: Val, b: Val) -> Val:
    return rounded(a.v * b.v, np.abs(a.v) * b.e + np.abs(b.v) * a.e + a.e * b.e)


def project(a: Val, w: "Weights") -> Val:
    """sum[i](a[t, i] * w[o, i]) with quantised w: gamma counts the terms, a product each and the decoding."""
    rows = []
    for values, size in w.parts():
        off = a.e + gamma(a.v.shape[-1] + 4) * (np.abs(a.v) + a.e)
        rows.append(Val(a.v @ values.T, off @ size.T + TINY))
    return Val(np.concatenate([r.v for r in rows], -1), np.concatenate([r.e for r in rows], -1))


def rms_norm(x: Val, g: np.ndarray, eps: float) -> Val:
    """x * rsqrt(mean(x * x) + eps) * g: D + 3 roundings reach the radicand, of which rsqrt takes half."""
    n = x.v.shape[-1]
    square = np.mean(x.v**2, -1, keepdims=True) + eps
    off = (2 * np.sum(np.abs(x.v) * x.e, -1, keepdims=True) + np.sum(x.e**2, -1, keepdims=True)) / n / square
    relative = 0.5 * (off + gamma(n + 3)) * (1 + off + gamma(n + 3)) + F
    r = rounded(1 / np.sqrt(square), relative / np.sqrt(square))
    return mul(mul(x, r), exact(g))


def silu(x: Val) -> Val:
    """x / (1 + exp(-x)): its slope is below 1.1; exp costs F, the sum and the quotient a rounding each."""
    with np.errstate(over="ignore"):
        v = x.v / (1 + np.exp(-x.v))
    return rounded(v, 1.1 * x.e, F + 2 * U)


def softmax_weights(x: Val) -> tuple[np.ndarray, np.ndarray]:
    """exp(x - max) / sum along the last axis, and the relative error of each weight (of a row: that of its sum)."""
    shift = x.v - np.max(x.v, -1, keepdims=True)
    moved = x.e + np.max(x.e, -1, keepdims=True)                          # error of the difference: the operands' …
    off = np.expm1(moved + U * (np.abs(shift) + moved)) + (1 + RESCALES) * (F + U)      # … and its own rounding
    weight = np.exp(shift)
    total = np.sum(weight, -1, keepdims=True)
    whole = np.sum(weight * off, -1, keepdims=True) / total + gamma(x.v.shape[-1])
    return weight / total, (off + whole) * (1 + off + whole)


def softmax(x: Val) -> Val:
    p, off = softmax_weights(x)
    return rounded(p, p * off)


def rope_pairs(x: Val, pos: np.ndarray, base: float) -> Val:
    """Neighbours turned by pos * base ** (-2 j / E); the angle is off by F and a rounding, relative."""
    half = x.v.shape[-1] // 2
    angle = pos[:, None, None] * base ** (-2.0 * np.arange(half) / (2 * half))
    c = Val(np.cos(angle), angle * (F + 3 * U) + F)
    s = Val(np.sin(angle), angle * (F + 3 * U) + F)
    a, b = x[..., 0::2], x[..., 1::2]
    minus = Val(-s.v, s.e)
    y0, y1 = add(mul(a, c), mul(b, minus)), add(mul(b, c), mul(a, s))
    out = Val(np.empty_like(x.v), np.empty_like(x.e))
    for k, y in enumerate((y0, y1)):
        out.v[..., k::2], out.e[..., k::2] = y.v, y.e
    return out


def causal_attention(q: Val, k: Val, v: Val) -> Val:
    """q[T, H, E], k[T, G, E], v[T, G, E] to o[T, H, E]; a position sees itself and what stands before it."""
    t, heads, width = q.v.shape
    out = Val(np.empty_like(q.v), np.empty_like(q.e))
    for h in range(heads):
        g = h // (heads // k.v.shape[1])
        qh, kh, vh = q[:, h], k[:, g], v[:, g]
        size = (np.abs(qh.v) + qh.e) @ (np.abs(kh.v) + kh.e).T
        e = size - np.abs(qh.v) @ np.abs(kh.v).T + (gamma(width + 2) + F) * size         # F: rsqrt(width)
        scores = Val(qh.v @ kh.v.T / np.sqrt(width), e / np.sqrt(width))
        for i in range(t):
            p, off = softmax_weights(scores[i, : i + 1])
            off = off + gamma(i + 4)                                      # the weighted sum and the quotient
            out.v[i, h] = p @ vh.v[: i + 1]
            out.e[i, h] = (p * off) @ np.abs(vh.v[: i + 1]) + (p * (1 + off)) @ vh.e[: i + 1] + TINY
    return out
