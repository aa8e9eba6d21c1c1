"""check.py: whether results are right, by the formula in float64 and its bounds.

At small sizes everything is compared. At full size a sample is: some values of a dimension along which elements do not
depend on each other (Case.sample), the first and the last among them; the rest must only have been written.
"""
import numpy as np

from . import bounds, data

# Libraries may use forms that are worse than the formula where results are small beside their terms (PyTorch folds a batch
# norm's mean into one offset), and keep in float32 what the program stores (torch.compile, a residual in bf16): they are
# held to a multiple of the bound, or to this part of the largest value.
LIBRARY_TIMES, LIBRARY_PART = 4, {"f32": 2.0**-20, "bf16": 2.0**-8}


class Wrong(Exception):
    pass


class Checker:
    """The reference for one set of inputs; compare() takes any number of contestants' results."""

    sample = 1 << 21              # elements of the largest tensor that are compared at full size

    def __init__(self, inputs, s=0):
        self.program, self.case, self.scalars = inputs.program, inputs.program.case, inputs.scalars
        self.arrays, self.expected = inputs.arrays[s], None
        self.at = self.sampled_values()

    def sampled_values(self):
        """Values of the sampled dimension; None: all."""
        dim, p = self.case.sampled, self.program
        largest = max(int(np.prod(t.shape)) for t in p.params + p.results)
        if not dim or largest <= self.sample:
            return None
        n = p.dims[dim]
        count = min(n, max(2, n * self.sample // largest))
        inner = np.random.default_rng(3).choice(n, count, replace=False)
        return np.unique(np.concatenate([[0, n - 1], inner[:count - 2]]))

    def part(self, array, tensor):
        """The sampled part of a tensor."""
        if self.at is None or self.case.sampled not in tensor.extents:
            return array
        return np.take(array, self.at, tensor.extents.index(self.case.sampled))

    def reference(self):
        """For each result its values and bounds."""
        p = self.program
        rows = np.arange(p.dims[self.case.free]) if self.at is None else self.at
        narrow = all(t.dtype in ("bf16", "f8e4m3") for t in p.results)
        m = bounds.Bounds(self.case.exact, rows, p.dtype, narrow)
        tensors = iter([bounds.Bounded(data.decoded(self.part(a, t), t.dtype)) for a, t in zip(self.arrays, p.tensor_params)])
        args = [self.case.scalars[t.name] if t.name in self.case.scalars else next(tensors) for t in p.params]
        with np.errstate(all="ignore"):
            found = self.case.formula(m, *args)
            found = found if isinstance(found, tuple) else (found,)
            return [bounds.stored(v, t.dtype) for v, t in zip(found, p.results)]

    def compare(self, results, strict=True):
        """The largest error as a fraction of its bound, and the largest bound beside the largest value."""
        self.expected = self.expected or self.reference()
        worst = loosest = 0.0
        for got, tensor, (value, bound) in zip(results, self.program.results, self.expected):
            if got.shape != tensor.shape:
                raise Wrong(f"{tensor.name} has shape {got.shape}, not {tensor.shape}")
            if tensor.dtype in ("f32", "bf16") and np.isnan(decoded_flat(got, tensor.dtype)).any():
                raise Wrong(f"{tensor.name} has NaN or was not written everywhere")
            error = np.abs(data.decoded(self.part(got, tensor), tensor.dtype) - value)
            allowed = bound
            if not (strict or self.case.exact):
                part = LIBRARY_PART.get(tensor.dtype, 0) * np.max(np.abs(value), initial=0)
                allowed = np.maximum(LIBRARY_TIMES * bound, part)
            if not (error <= allowed).all():
                at = np.unravel_index(np.argmax(np.nan_to_num(error - allowed, nan=np.inf)), error.shape)
                raise Wrong(f"{tensor.name}{list(map(int, at))} is off by {error[at]:.3g}, allowed {allowed[at]:.3g}, value {value[at]:.6g}")
            worst = max(worst, float(np.max(error / np.maximum(bound, 1e-300), initial=0)))
            loosest = max(loosest, float(np.max(bound, initial=0) / max(1e-30, np.max(np.abs(value), initial=0))))
        return worst, loosest


def decoded_flat(array, dtype):
    return data.from_bf16(array.reshape(-1)) if dtype == "bf16" else array.reshape(-1)


def compare_dropout(inputs, results):
    """For generators of others: each element is dropped or kept whole, about p of them are dropped, not in a pattern."""
    x, r = (data.decoded(a[:256], t.dtype) for a, t in zip(inputs.arrays[0], inputs.program.tensor_params))
    p, dtype = inputs.scalars[0], inputs.program.results[0].dtype
    y = data.decoded(results[0][:256], dtype)
    relative = bounds.STORE[dtype][0] * 4
    kept = r + x / (1 - p)
    near = relative * (np.abs(r) + np.abs(x)) + 1e-30
    is_kept, is_dropped = np.abs(y - kept) <= near, np.abs(y - r) <= near
    if not (is_kept | is_dropped).all():
        raise Wrong("an element is neither kept nor dropped")
    ambiguous = (is_kept & is_dropped).sum()
    dropped, n = (is_dropped & ~is_kept).sum(), x.size - ambiguous
    if abs(dropped / n - p) > 6 * (p * (1 - p) / n) ** 0.5:
        raise Wrong(f"{dropped / n:.4f} of the elements are dropped, not {p}")
    return 0.0, relative
