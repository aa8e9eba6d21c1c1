"""formulas.py: what each case computes, over any object m with the operations of ops.py.

One text serves as the float64 reference with its error bounds (bounds.py) and as the program of NumPy, JAX, PyTorch and
ONNX Runtime. Parameters are in the order of the Plait program in bench/cases/, results are returned in its order.
"""
INF = float("inf")


def gelu_tanh(m, x):
    return 0.5 * x * (1 + m.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def gelu(m, x):
    return 0.5 * x * (1 + m.erf(x * 0.7071067811865476))


def chain20(m, x):
    a5 = m.sqrt(m.abs(x * 1.1 + 0.3) + 0.5)
    a7 = a5 * 0.7 - 0.2
    a13 = m.minimum(m.maximum(x / (a7 * a7 + 1.0) * 0.5, -4.0), 4.0)
    a16 = (a13 + a5) * a13 - 0.25
    return a16 / (m.abs(a16) + 2.0) * 1.5


def bias_gelu_tanh(m, x, b):
    return gelu_tanh(m, x + b)


def bias_gelu_erf(m, x, b):
    return gelu(m, x + b)


def swiglu(m, g, u):
    return g / (1 + m.exp(-g)) * u


def geglu(m, g, u):
    return gelu_tanh(m, g) * u


def dropout_residual(m, x, r, p, seed):
    kept = m.positive(m.uniform(seed, x.shape) - p + 2.0**-26)        # u >= p, for u and p in steps of 2^-24
    return r + m.where(kept, x / (1 - p), 0.0)


def square_difference(m, a, b):
    return a * a + b * b - 2 * a * b


def batch_norm_relu(m, x, mu, v, w, b):
    def channel(a):
        return m.reshape(a, (1, a.shape[0], 1))
    scale = m.rsqrt(v + 1e-5) * w
    return m.maximum((x - channel(mu)) * channel(scale) + channel(b), 0.0)


def adamw(m, *args):
    lr, c1, c2 = args[16:]
    results = []
    for p, g, first, second in zip(*(args[i:16:4] for i in range(4))):
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g * g
        results += [p * (1 - lr * 0.01) - lr * (first / c1) / (m.sqrt(second / c2) + 1e-8), first, second]
    return tuple(results)


def image_normalise(m, x, mu, s):
    return m.transpose((x / 255.0 - mu) * s, (0, 3, 1, 2))


def rope_qk(m, q, k, c, s):
    half = c.shape[-1]

    def turn(x):
        a, b = x[..., :half], x[..., half:]
        return m.concat([a * c - b * s, b * c + a * s], -1)
    return turn(q), turn(k)


def embed_scale(m, table, ids, k):
    return m.take(table, ids) * k


def concat_relu(m, a, b):
    return m.maximum(m.concat([a, b], 1), 0.0)


def split_qkv(m, x):
    y = m.transpose(x, (1, 2, 0, 3))
    return y[0], y[1], y[2]


def pad(m, x):
    return m.pad(x, ((0, 0), (1, 1), (1, 1)))


def transpose_bias_gelu(m, x, b):
    return gelu(m, m.transpose(x, (1, 0)) + b)


def softmax(m, x):
    e = m.exp(x - m.max(x, keep=True))
    return e / m.sum(e, keep=True)


def masked_softmax(m, s, mask, scale):
    mask, s = m.truth(mask), s * scale
    top = m.max(m.where(mask, s, -INF), keep=True)
    e = m.where(mask, m.exp(s - top), 0.0)
    z = m.sum(e, keep=True)
    return m.where(m.positive(z), e / z, 0.0)


def causal_softmax(m, s, scale):
    mask, s = m.lower_triangle(s.shape[-1]), s * scale
    e = m.where(mask, m.exp(s - m.max(m.where(mask, s, -INF), keep=True)), 0.0)
    return e / m.sum(e, keep=True)


def softcap_softmax(m, x, t):
    return softmax(m, m.tanh(x / 30) * 30 / t)


def log_softmax(m, x):
    x = x - m.max(x, keep=True)
    return x - m.log(m.sum(m.exp(x), keep=True))


def logsumexp(m, x):
    top = m.max(x, keep=True)
    return m.log(m.sum(m.exp(x - top))) + top[..., 0]


def cross_entropy(m, x, target):
    return logsumexp(m, x) - m.pick(x, target)


def kl_loss(m, a, b):
    la, lb = log_softmax(m, a), log_softmax(m, b)
    return m.sum(m.exp(la) * (la - lb))


def rms_norm(m, x, w):
    return x * m.rsqrt(m.mean(x * x, keep=True) + 1e-5) * w


def residual_rms_norm(m, x, r, w):
    s = m.rounded(x + r)                                  # a result: who reads it reads what is stored
    return s, rms_norm(m, s, w)


def rms_norm_int8(m, x, w):
    h = rms_norm(m, x, w)
    scale = m.max(m.abs(h), keep=True) / 127
    return h / scale, scale[..., 0]


def centred(m, x, axis):
    """x less its mean, and one over its standard deviation."""
    x = x - m.mean(x, axis, keep=True)
    return x, m.rsqrt(m.mean(x * x, axis, keep=True) + 1e-5)


def layer_norm_residual(m, x, r, w, b):
    s = m.rounded(x + r)
    c, d = centred(m, s, -1)
    return s, c * d * w + b


def layer_norm_backward(m, x, w, dy):
    c, d = centred(m, x, -1)
    h, g = c * d, dy * w
    dx = d * (g - m.mean(g, keep=True) - h * m.mean(g * h, keep=True))
    return dx, m.sum(dy * h, 0), m.sum(dy, 0)


def group_norm(m, x, w, b):
    groups, channels = w.shape
    c, d = centred(m, x, (2, 3))
    shape = (1, groups, channels, 1)
    return c * d * m.reshape(w, shape) + m.reshape(b, shape)


def column_moments(m, x):
    mu = m.mean(x, 0)
    c = x - mu
    return mu, m.mean(c * c, 0)


def variance_skewness(m, x):
    c = x - m.mean(x, keep=True)
    v = m.mean(c * c)
    return v, m.mean(c * c * c) / (v * m.sqrt(v))


def sum_rows(m, x):
    return m.sum(x)


def sum_columns(m, x):
    return m.sum(x, 0)


def sum_all(m, x):
    return m.sum(x, None)


def argmax(m, x):
    return m.argmax(x), m.max(x)


def amax_fp8(m, x):
    scale = m.max(m.abs(x), keep=True) / 448
    return x / scale, scale[..., 0]


def amax_transpose_fp8(m, x, scale):
    y = x * scale
    return m.max(m.abs(x), None), y, m.transpose(y, (1, 0))


def cumsum(m, x):
    return m.cumsum(x)


def cumsum_normalise(m, x):
    c = m.cumsum(x)
    return c / c[..., -1:]


def linear_recurrence(m, a, b, h0):
    return m.scan(a, b, h0)


def l2_norm(m, x):
    return x * m.rsqrt(m.sum(x * x, keep=True))
