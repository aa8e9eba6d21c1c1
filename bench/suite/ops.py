"""ops.py: the operations that formulas are written in, for NumPy, JAX and PyTorch.

A formula is a function f(m, *parameters): m has the operations, the parameters are arrays of m's library, those stored
in 16 bits already widened to float32; scalars are Python numbers. bounds.py has the same operations on float64 with
error bounds, onnx_ops.py as a graph.
"""
from .data import from_bf16, to_bf16


class Unsupported(Exception):
    """The library has no operator for this."""


class XpOps:
    """NumPy and JAX, which call things alike. element: the type of the program's tensors, for `rounded`."""

    element = "f32"

    def __init__(self, xp):
        self.xp = xp
        for name in ("exp", "log", "tanh", "sqrt", "abs", "maximum", "minimum", "where"):
            setattr(self, name, getattr(xp, name))

    def rsqrt(self, a):
        return 1 / self.xp.sqrt(a)

    def positive(self, a):
        return a > 0

    def truth(self, mask):
        return mask

    def sum(self, a, axis=-1, keep=False):
        return self.xp.sum(a, axis, keepdims=keep)

    def mean(self, a, axis=-1, keep=False):
        return self.xp.mean(a, axis, keepdims=keep)

    def max(self, a, axis=-1, keep=False):
        return self.xp.max(a, axis, keepdims=keep)

    def argmax(self, a):
        return self.xp.argmax(a, -1)

    def cumsum(self, a):
        return self.xp.cumsum(a, -1)

    def pick(self, a, at):
        return self.xp.take_along_axis(a, at[:, None], -1)[:, 0]

    def take(self, table, at):
        return table[at]

    def reshape(self, a, shape):
        return a.reshape(shape)

    def transpose(self, a, order):
        return a.transpose(order)

    def concat(self, arrays, axis):
        return self.xp.concatenate(arrays, axis)

    def pad(self, a, widths):
        return self.xp.pad(a, widths)

    def lower_triangle(self, n):
        return self.xp.tri(n, dtype=bool)


class NumpyOps(XpOps):
    def __init__(self):
        import numpy
        super().__init__(numpy)
        self.random = numpy.random.default_rng(7)

    def rounded(self, a):
        return from_bf16(to_bf16(a)) if self.element == "bf16" else a

    def erf(self, a):
        try:
            from scipy.special import erf
        except ImportError:
            raise Unsupported("erf needs scipy") from None
        return erf(a)

    def uniform(self, seed, shape):
        return self.random.random(shape, "float32")

    def scan(self, a, b, start):
        h = self.xp.empty_like(b)
        for t in range(len(b)):
            self.xp.multiply(a[t], start, out=h[t])
            h[t] += b[t]
            start = h[t]
        return h


class JaxOps(XpOps):
    def __init__(self):
        import jax
        import jax.numpy
        super().__init__(jax.numpy)
        self.jax, self.erf, self.rsqrt = jax, jax.lax.erf, jax.lax.rsqrt

    def uniform(self, seed, shape):
        return self.jax.random.uniform(self.jax.random.key(seed), shape)

    def rounded(self, a):
        return a.astype(self.xp.bfloat16).astype(self.xp.float32) if self.element == "bf16" else a

    def take(self, table, at):
        return table.at[at].get(mode="promise_in_bounds")

    def scan(self, a, b, start):
        def step(h, ab):
            h = ab[0] * h + ab[1]
            return h, h
        return self.jax.lax.scan(step, start, (a, b))[1]


class TorchOps:
    element = "f32"

    def __init__(self):
        import torch
        self.torch = torch
        for name in ("exp", "log", "tanh", "erf", "sqrt", "rsqrt", "abs"):
            setattr(self, name, getattr(torch, name))

    def maximum(self, a, b):
        return self.torch.clamp(a, min=b) if isinstance(b, (int, float)) else self.torch.maximum(a, b)

    def minimum(self, a, b):
        return self.torch.clamp(a, max=b) if isinstance(b, (int, float)) else self.torch.minimum(a, b)

    def where(self, c, a, b):
        return self.torch.where(c, a, b)

    def positive(self, a):
        return a > 0

    def truth(self, mask):
        return mask

    def sum(self, a, axis=-1, keep=False):
        return self.torch.sum(a) if axis is None else self.torch.sum(a, axis, keepdim=keep)

    def mean(self, a, axis=-1, keep=False):
        return self.torch.mean(a, axis, keepdim=keep)

    def max(self, a, axis=-1, keep=False):
        return self.torch.amax(a, () if axis is None else axis, keepdim=keep)

    def argmax(self, a):
        return self.torch.argmax(a, -1)

    def cumsum(self, a):
        return self.torch.cumsum(a, -1)

    def pick(self, a, at):
        return self.torch.gather(a, -1, at.long()[:, None])[:, 0]

    def take(self, table, at):
        return self.torch.nn.functional.embedding(at, table)

    def reshape(self, a, shape):
        return a.reshape(shape)

    def transpose(self, a, order):
        return a.permute(order)

    def concat(self, arrays, axis):
        return self.torch.cat(arrays, axis)

    def pad(self, a, widths):
        flat = [n for pair in reversed(widths) for n in pair]
        return self.torch.nn.functional.pad(a, flat)

    def lower_triangle(self, n):
        return self.torch.ones((n, n), dtype=self.torch.bool).tril()

    def uniform(self, seed, shape):
        return self.torch.rand(shape)

    def rounded(self, a):
        return a.to(self.torch.bfloat16).float() if self.element == "bf16" else a

    def scan(self, a, b, start):
        raise Unsupported("no recurrence")
