"""program.py: the Plait program of a case at one dtype and size: its text, its tensors, the least bytes that it moves."""
import dataclasses
import math
import pathlib
import re

from . import cases

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "cases"
BYTES = {"f32": 4, "bf16": 2, "f8e4m3": 1, "i8": 1, "u8": 1, "bool": 1, "i32": 4, "i64": 8, "u64": 8}
PARAM = re.compile(r"(\w+): (\w+)(?:\[([^\]]*)\])?")


@dataclasses.dataclass
class Tensor:
    name: str
    dtype: str
    extents: list                 # as source; [] for a scalar
    shape: tuple = ()

    @property
    def bytes(self):
        return math.prod(self.shape) * BYTES[self.dtype]


def head(text):
    """The last function's signature, from `fn` to its body."""
    return re.findall(r"^fn .*?(?=\{|\bwhere\b)", text, re.M | re.S)[-1]


def narrowed(text, case, dtype):
    """The program with its f32 tensors stored as dtype, but for those that the case keeps; scalars stay."""
    if dtype == "f32":
        return text
    def change(m):
        return m[0] if m[2] != "f32" or m[3] is None or m[1] in case.keep.split() else f"{m[1]}: {dtype}[{m[3]}]"
    return re.sub(PARAM, change, text) if "[..]" not in text else text


class Program:
    """A case at one dtype and size. `size` is a key of cases.TARGET, or (label, least bytes, fixed dimensions)."""

    def __init__(self, case, dtype, size):
        self.case, self.dtype = case, dtype
        label, target, fixed = (size, cases.TARGET[size], case.dims[size]) if isinstance(size, str) else size
        self.size = label
        self.text = narrowed((FOLDER / f"{case.name}.plait").read_text(), case, dtype)
        left, _, right = head(self.text).partition("->")
        self.params, self.results = [self.tensors(side) for side in (left, right)]
        self.dims = self.solve(fixed, target)
        for t in self.params + self.results:
            t.shape = tuple(self.value(e, self.dims) for e in t.extents)
        self.least = self.bytes(self.dims)

    @property
    def tensor_params(self):
        return [t for t in self.params if t.name not in self.case.scalars]

    def tensors(self, text):
        return [Tensor(m[1], m[2], [e.strip() for e in m[3].split(",")] if m[3] else []) for m in PARAM.finditer(text)]

    def value(self, extent, dims):
        return int(eval(extent, {}, dims))

    def bytes(self, dims):
        """Each element that is needed read once, each result written once."""
        total = 0
        for t in self.tensor_params + self.results:
            part = eval(self.case.partly.get(t.name, "1"), {}, dims)
            total += math.prod(self.value(e, dims) for e in t.extents) * BYTES[t.dtype] * part
        return int(total)

    def solve(self, fixed, target):
        """The dimensions: the free one so that the target is met nearly; a round number of rows when there are many."""
        def at(n):
            dims = {k: v for k, v in fixed.items() if not isinstance(v, str)} | {self.case.free: n}
            return dims | {k: eval(v, {}, dims) for k, v in fixed.items() if isinstance(v, str)}
        one, two = self.bytes(at(1)), self.bytes(at(2))
        n = max(1, 1 + round((target - one) / (two - one)))
        step = 1 if self.size == "odd" or n < 8 else 4 if n < 64 else 16
        return at(round(n / step) * step)
