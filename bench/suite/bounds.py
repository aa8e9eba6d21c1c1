"""bounds.py: float64 values that carry a bound on the error that the same computation has in float32.

A case's formula is written once, over an object m of operations (see ops.py). Run with m = Bounds() it gives for each
element a value v and a bound e: whoever computes the formula in float32, in any order, with functions within 4 ulp,
stays within 2 e of v. The rules are the usual ones of forward error analysis:

    a + b        ea + eb                       + u |v|         nothing where exact operands have an exact sum
    a * b        |a| eb + |b| ea + ea eb       + u |v| + TINY
    a / b        (ea + |v| eb) / (|b| - eb)    + 2 u |v| + TINY
    f(a)         |f'| ea, at the worst place   + 8 u |v| + TINY       f within 4 ulp, results below 2^-126 flushed;
                                                                      2^-12 |v| where only bf16 and f8 results depend on f
    max, min     the larger of the operands' bounds
    sum of n     sum of the terms' bounds      + c(n) u sum |terms|   c(n) = min(n, 8 sqrt(n)) + 32

u = 2^-24. c(n): n is the bound for any order; for long sums rounding errors behave as a random walk and 8 sqrt(n) holds
but for a chance below 2 exp(-32) [Higham and Mary 2019]; 32 pays for rescaling in one-pass forms. The factor 2 pays for
what a compiler may move: a factor out of a sum, a product and a sum rounded once.
Sums of integers that stay below 2^24 are exact in float32 in any order; a case with such data says so, and its sums
get no bound at all: one lost element shows.
"""
import numpy as np

U = 2.0**-24
TINY = 2.0**-126


class Bounded:
    __array_ufunc__ = None                                # so that NumPy leaves operators to this class

    def __init__(self, v, e=0.0, rounded=False):
        self.v, self.e, self.rounded = v, e, rounded      # rounded: v is of the element type already

    shape = property(lambda self: self.v.shape)

    def __add__(self, other):
        return added(self, lift(other))

    def __sub__(self, other):
        return added(self, -lift(other))

    def __rsub__(self, other):
        return added(lift(other), -self)

    def __mul__(self, other):
        return multiplied(self, lift(other))

    def __truediv__(self, other):
        return divided(self, lift(other))

    def __rtruediv__(self, other):
        return divided(lift(other), self)

    def __neg__(self):
        return Bounded(-self.v, self.e)

    def __getitem__(self, at):
        return Bounded(self.v[at], self.e if is_zero(self.e) else np.broadcast_to(self.e, self.v.shape)[at])

    __radd__, __rmul__ = __add__, __mul__


def is_zero(e):
    return isinstance(e, float) and e == 0.0


def lift(x):
    """A literal rounds to float32; arrays of inputs are exact."""
    if isinstance(x, Bounded):
        return x
    if isinstance(x, (int, float)):
        return Bounded(np.float64(x), 0.0 if x == float(np.float32(x)) else U * abs(x))
    return Bounded(np.asarray(x, np.float64))


def added(a, b):
    v = a.v + b.v
    if is_zero(a.e) and is_zero(b.e):
        return Bounded(v, np.where(v == v.astype(np.float32), 0, U * np.abs(v)))
    return Bounded(v, a.e + b.e + U * np.abs(v))


def multiplied(a, b):
    v = a.v * b.v
    e = U * np.abs(v) + TINY
    if not is_zero(a.e):
        e = e + np.abs(b.v) * a.e
    if not is_zero(b.e):
        e = e + (np.abs(a.v) + a.e) * b.e
    return Bounded(v, e)


def divided(a, b):
    v = a.v / b.v
    room = np.abs(b.v) - b.e
    moved = np.where(room > 0, (a.e + np.abs(v) * b.e) / np.where(room > 0, room, 1), np.inf)
    return Bounded(v, moved + 2 * U * np.abs(v) + TINY)




class Bounds:
    """The operations of ops.py on Bounded arrays. exact_sums: the data are such integers; rows: the numbers of the rows that
    are looked at, for `uniform`; element: the type of the program's tensors; narrow: all results are bf16 or f8."""

    def __init__(self, exact_sums=False, rows=None, element="f32", narrow=False):
        self.exact_sums, self.rows, self.element = exact_sums, rows, element
        self.of_function = 2.0**-12 if narrow else 8 * U

    def function(self, v, moved):
        return Bounded(v, moved + self.of_function * np.abs(v) + TINY)

    def exp(self, a):
        v = np.exp(a.v)
        return self.function(v, v * np.expm1(a.e))

    def log(self, a):
        return self.function(np.log(a.v), -np.log1p(-np.minimum(a.e / a.v, 0.5)))

    def tanh(self, a):
        return self.function(np.tanh(a.v), a.e)

    def erf(self, a):
        return self.function(erf(a.v), 1.13 * a.e)

    def sqrt(self, a):
        v = np.sqrt(a.v)
        return self.function(v, a.e / np.maximum(v, 2.0**-63))

    def rsqrt(self, a):
        v, low = 1 / np.sqrt(a.v), a.v - a.e
        return self.function(v, np.where(low > 0, 1 / np.sqrt(np.where(low > 0, low, 1)), np.inf) - v)

    def abs(self, a):
        return Bounded(np.abs(a.v), a.e)

    def maximum(self, a, b):
        a, b = lift(a), lift(b)
        return Bounded(np.maximum(a.v, b.v), np.maximum(a.e, b.e))

    def minimum(self, a, b):
        a, b = lift(a), lift(b)
        return Bounded(np.minimum(a.v, b.v), np.maximum(a.e, b.e))

    def where(self, c, a, b):
        a, b = lift(a), lift(b)
        return Bounded(np.where(c, a.v, b.v), np.where(c, a.e, b.e))

    def positive(self, a):
        return a.v > 0

    def truth(self, mask):
        return mask.v != 0

    def sum(self, a, axis=-1, keep=False):
        v = a.v.sum(axis, keepdims=keep)
        e = 0.0 if is_zero(a.e) else np.broadcast_to(a.e, a.v.shape).sum(axis, keepdims=keep)
        if not self.exact_sums:
            n = a.v.size / max(1, v.size)
            e = e + (min(n, 8 * n**0.5) + 32) * U * np.abs(a.v).sum(axis, keepdims=keep)
        return Bounded(v, e)

    def mean(self, a, axis=-1, keep=False):
        total = self.sum(a, axis, keep)
        return total / (a.v.size / max(1, total.v.size))

    def max(self, a, axis=-1, keep=False):
        e = a.e if np.ndim(a.e) == 0 else np.broadcast_to(a.e, a.v.shape).max(axis, keepdims=keep)
        return Bounded(a.v.max(axis, keepdims=keep), e)

    def argmax(self, a):
        assert is_zero(a.e), "the place of a rounded maximum is not one place"
        return Bounded(a.v.argmax(-1))

    def cumsum(self, a):
        assert self.exact_sums and is_zero(a.e), "only cumulative sums of exact data are compared"
        return Bounded(a.v.cumsum(-1))

    def scan(self, a, b, start):
        """h[t] = a[t] h[t - 1] + b[t] along the first axis, after `start`."""
        h, hs, es = start, np.empty_like(b.v), np.empty_like(b.v)
        for t in range(len(b.v)):
            h = a[t] * h + b[t]
            hs[t], es[t] = h.v, h.e
        return Bounded(hs, es)

    def pick(self, a, at):
        assert is_zero(a.e)
        return Bounded(np.take_along_axis(a.v, self.index(at)[:, None], -1)[:, 0])

    def take(self, table, at):
        return Bounded(table.v[self.index(at)])

    def index(self, at):
        return at.v.astype(np.int64)

    def move(self, f, *arrays):
        """A change of shape or order, the same for values and bounds."""
        v = f(*(a.v for a in arrays))
        if all(is_zero(a.e) for a in arrays):
            return Bounded(v)
        return Bounded(v, f(*(np.broadcast_to(a.e, a.v.shape) for a in arrays)))

    def reshape(self, a, shape):
        return self.move(lambda x: x.reshape(shape), a)

    def transpose(self, a, order):
        return self.move(lambda x: x.transpose(order), a)

    def concat(self, arrays, axis):
        return self.move(lambda *xs: np.concatenate(xs, axis), *arrays)

    def pad(self, a, widths):
        return self.move(lambda x: np.pad(x, widths), a)

    def lower_triangle(self, n):
        return np.tri(n, dtype=bool)

    def rounded(self, a):
        """As stored in the program's element type and read back; next to a tie either neighbour."""
        if self.element == "f32":
            return a
        v, e = nearest_bf16(a.v), np.broadcast_to(a.e, a.v.shape)
        return Bounded(v, np.maximum(nearest_bf16(a.v + e) - v, v - nearest_bf16(a.v - e)), rounded=True)

    def uniform(self, seed, shape):
        rows = np.asarray(self.rows)[:, None]
        return Bounded(philox(seed, rows * shape[-1] + np.arange(shape[-1])))


def erf(x):
    try:
        from scipy.special import erf as fast
        return fast(x)
    except ImportError:
        import math
        return np.vectorize(math.erf, otypes=[np.float64])(x)


def nearest_bf16(x):
    """float64 values as bf16 and back: 7 bits behind the point of the fraction, ties to even."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(fraction * 256), exponent - 8)


def philox(seed, count):
    """Plait's uniform(seed, count): word count % 4 of Philox-4x32-10 at counter count // 4."""
    low = np.uint64(0xFFFFFFFF)
    count = count.astype(np.uint64)
    c = [(count >> np.uint64(2)) & low, count >> np.uint64(34), np.zeros_like(count), np.zeros_like(count)]
    k = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ k[0], b & low, (a >> np.uint64(32)) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    word = np.choose((count & np.uint64(3)).astype(np.int64), c)
    return (word >> np.uint64(8)) * 2.0**-24


# Rounding where a value is stored: relative, absolute, largest finite value.
STORE = {"f32": (U, 2.0**-126, np.inf), "bf16": (2.0**-8, 2.0**-126, np.inf), "f8e4m3": (2.0**-4, 2.0**-10, 448.0),
         "i8": (0.0, 0.5, np.inf), "i32": (0.0, 0.0, np.inf), "i64": (0.0, 0.0, np.inf)}


def stored(a, dtype):
    """Value and whole bound of a result stored as dtype: twice what the computation may be off, and the rounding."""
    relative, absolute, largest = STORE[dtype]
    a = Bounded(np.asarray(a.v), a.e, a.rounded)
    if a.rounded or is_zero(a.e) and dtype == "f32":
        return a.v, a.e + np.zeros_like(a.v)
    v = np.clip(a.v, -largest, largest)
    e = 2 * np.broadcast_to(a.e, a.v.shape)
    return v, e + relative * (np.abs(v) + e) + absolute * (dtype in ("i8", "f8e4m3") or not is_zero(a.e))
