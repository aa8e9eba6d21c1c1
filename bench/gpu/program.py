"""program.py: the Plait program of a case: its text, its tensors, the least bytes that it moves."""
import math
import os
import pathlib
import re

from suite.program import BYTES, PARAM, Tensor, head

SMALL = "PLAIT_GPU_BENCH_SMALL"   # set for all processes of a run at small sizes
FOLDER = pathlib.Path(__file__).resolve().parent / "cases"


class Program:
    def __init__(self, case):
        self.case, self.dtype, self.dims = case, case.element, case.small if os.environ.get(SMALL) else case.dims
        self.text = (FOLDER / f"{case.program}.plait").read_text()
        self.entry = re.findall(r"^fn (\w+)", self.text, re.M)[-1]
        left, _, right = head(self.text).partition("->")
        self.params, self.results = self.tensors(left), self.tensors(right)
        self.least = self.least_bytes()

    def tensors(self, text):
        found = []
        for m in PARAM.finditer(text):
            extents = [e.strip() for e in m[3].split(",")] if m[3] else []
            found.append(Tensor(m[1], m[2], extents, tuple(int(eval(e, {}, self.dims)) for e in extents)))
        return found

    @property
    def tensor_params(self):
        return [t for t in self.params if t.name not in self.case.scalars]

    def least_bytes(self):
        """Each element that is needed read once, each result written once."""
        total = 0
        for t in self.tensor_params + self.results:
            total += math.prod(t.shape) * BYTES[t.dtype] * eval(self.case.partly.get(t.name, "1"), {}, self.dims)
        return int(total)

    def whole_bytes(self):
        """What one set of inputs and results takes in memory."""
        return sum(math.prod(t.shape) * BYTES[t.dtype] for t in self.tensor_params + self.results)
