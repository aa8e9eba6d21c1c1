"""The steps of a decoder in float64, each with the bound on what float32 kernels may make of it (bounds.py)."""
import numpy as np

from bounds import Val, add, causal_attention, mul, project, rms_norm, rope_pairs, silu
from model import Weights

EPS = float(np.float32(1e-5))


def qkv(x: Val, g: np.ndarray, w: dict[str, Weights], pos: np.ndarray, base: float) -> tuple[Val, Val, Val]:
    n = rms_norm(x, g, EPS)
    q, k, v = (heads(project(n, w[name])) for name in ("wq", "wk", "wv"))
    return rope_pairs(q, pos, base), rope_pairs(k, pos, base), v


def attend(q: Val, k: Val, v: Val, wo: Weights) -> Val:
    o = causal_attention(q, k, v)
    return project(Val(o.v.reshape(len(o.v), -1), o.e.reshape(len(o.v), -1)), wo)


def heads(x: Val) -> Val:
    shape = (x.v.shape[0], -1, 64)
    return Val(x.v.reshape(shape), x.e.reshape(shape))


def add_norm(x: Val, r: Val, g: np.ndarray) -> tuple[Val, Val]:
    s = add(x, r)
    return s, rms_norm(s, g, EPS)


def gate_up(h: Val, gate: Weights, up: Weights) -> Val:
    return mul(silu(project(h, gate)), project(h, up))


def mlp_half(x: Val, r: Val, g: np.ndarray, w: dict[str, Weights]) -> Val:
    s, h = add_norm(x, r, g)
    return add(s, project(gate_up(h, w["gate"], w["up"]), w["down"]))


def head(x: Val, g: np.ndarray, table: Weights) -> Val:
    return project(rms_norm(x, g, EPS), table)
