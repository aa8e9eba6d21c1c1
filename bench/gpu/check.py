"""check.py: whether results on the device are right: a sample of them against the formula in float64 with its bounds."""
import types

import numpy as np

from suite import check, data

Wrong = check.Wrong


class Checker(check.Checker):
    """The reference for one set of inputs on the device."""

    sample = 1 << 19

    def __init__(self, program, memory, handles):
        self.program, self.case, self.memory = program, program.case, memory
        self.scalars = [self.case.scalars[t.name] for t in program.params if t.name in self.case.scalars]
        self.at, self.expected = self.sampled_values(), None
        self.arrays = [self.taken(h, t)[0] for h, t in zip(handles, program.tensor_params)]

    def taken(self, handle, tensor):
        axis = tensor.extents.index(self.case.sampled) if self.case.sampled in tensor.extents else None
        return self.memory.part(handle, axis, self.at)

    def part(self, array, tensor):
        return array                                      # taken already

    def compare(self, handles, strict=True):
        """The largest error as a fraction of what is allowed."""
        self.expected = self.expected or self.reference()
        worst = 0.0
        for handle, tensor, (value, bound) in zip(handles, self.program.results, self.expected, strict=True):
            if tuple(handle.shape) != tensor.shape:
                raise Wrong(f"{tensor.name} has shape {tuple(handle.shape)}, not {tensor.shape}")
            got, dtype = self.taken(handle, tensor)
            worst = max(worst, self.one(tensor.name, data.decoded(got, dtype), value, self.allowed(value, bound, dtype, strict)))
        return worst

    def allowed(self, value, bound, dtype, strict):
        """Libraries are held to more than the bound, by the type that they return; but not where sums are exact."""
        if strict or (self.case.exact and dtype != "bf16"):
            return bound
        part = check.LIBRARY_PART.get(dtype, 0) * np.max(np.abs(value), initial=0)
        return np.maximum(check.LIBRARY_TIMES * bound, part)

    def one(self, name, got, value, allowed):
        with np.errstate(invalid="ignore"):
            error = np.abs(got - value)
        if not (error <= allowed).all():
            at = np.unravel_index(np.argmax(np.nan_to_num(error - allowed, nan=np.inf)), error.shape)
            raise Wrong(f"{name}{list(map(int, at))} of the sample is off by {error[at]:.3g}, allowed {allowed[at]:.3g}, value {value[at]:.6g}")
        return float(np.max(error / np.maximum(allowed, 1e-300), initial=0))

    def compare_dropout(self, handles):
        """By another generator: each element dropped or kept whole, about p of them dropped."""
        y, dtype = self.taken(handles[0], self.program.results[0])
        program = types.SimpleNamespace(tensor_params=self.program.tensor_params, results=[types.SimpleNamespace(dtype=dtype)])
        inputs = types.SimpleNamespace(arrays=[self.arrays], program=program, scalars=self.scalars)
        return check.compare_dropout(inputs, [y])[0]
