"""formulas.py: what the cases compute that the suite on the CPU does not have; see bench/suite/formulas.py."""
from suite.formulas import *  # noqa: F401,F403
from suite.formulas import bias_gelu_erf, rms_norm

bias_gelu = bias_gelu_erf


def sigmoid(m, x):
    return 1 / (1 + m.exp(-x))


def chain1(m, x):
    return x * 1.1


def chain2(m, x):
    return x * 1.1 + 0.3


def chain5(m, x):
    return m.tanh(x * 1.1 + 0.3) * 0.7 - 0.2


def chain10(m, x):
    return sigmoid(m, m.sqrt(m.abs(chain5(m, x)) + 0.001) * 1.5)


def chain20(m, x):
    a11 = chain10(m, x) + 0.25
    a15 = m.exp(-(a11 * a11 * 0.5))
    return m.minimum(m.maximum(m.log(a15 + 1) * 2, 0.0), 1.25)


def rope_qk(m, q, k, c, s):
    half = c.shape[-1] // 2

    def turn(x):
        return x * c + m.concat([-x[..., half:], x[..., :half]], -1) * s
    return turn(q), turn(k)


def argmax(m, x):
    return m.argmax(x)


def adamw(m, p, g, first, second, lr, c1, c2):
    first = 0.9 * first + 0.1 * g
    second = 0.999 * second + 0.001 * g * g
    return p * (1 - lr * 0.01) - lr * (first / c1) / (m.sqrt(second / c2) + 1e-8), first, second


def quantised(m, h, w, largest):
    n = rms_norm(m, h, w)
    scale = m.maximum(m.max(m.abs(n), keep=True) / largest, 1e-12)
    return n / scale, scale[..., 0]


def residual_norm_fp8(m, x, r, w):
    h = m.rounded(x + r)
    q, scale = quantised(m, h, w, 448)
    return q, h, scale


def residual_norm_int8(m, x, r, w):
    h = m.rounded(x + r)
    q, scale = quantised(m, h, w, 127)
    return q, h, scale
