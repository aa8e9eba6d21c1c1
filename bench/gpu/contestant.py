"""contestant.py: what a contestant makes of a case, and what a case gives to it."""
import math

from .check import Checker

SPAN = 320 << 20                  # inputs and results of all sets span at least this, so that calls read memory, not the cache
MOST_SETS = 256


class Absent(Exception):
    """A contestant that cannot be had here."""


class Unsupported(Exception):
    """It has nothing for this case."""


class Run:
    """call(s) runs set s on the current stream; results(s) are its results, in the program's order."""

    def __init__(self, call, results, **note):
        self.call, self.results, self.note = call, results, note


class Work:
    """A case on the device: sets of inputs, and the checker of the first."""

    def __init__(self, program, memory, rotate=True):
        self.program, self.case, self.memory = program, program.case, memory
        self.sets = max(1, min(MOST_SETS, math.ceil(SPAN / program.whole_bytes()))) if rotate else 1
        self.scalars = [self.case.scalars[t.name] for t in program.params if t.name in self.case.scalars]
        self.inputs = [self.one(s) for s in range(self.sets)]
        self.checker = Checker(program, memory, self.inputs[0])

    def one(self, s):
        kinds = self.case.data
        return [self.memory.filled(t, kinds.get(t.name, "normal"), self.program.dims, 1000 * s + i + 1)
                for i, t in enumerate(self.program.tensor_params)]

    def arguments(self, s, scalar=lambda value, tensor: value):
        """Tensors of set s and scalars, in the program's order."""
        tensors = iter(self.inputs[s])
        return [scalar(self.case.scalars[t.name], t) if t.name in self.case.scalars else next(tensors) for t in self.program.params]
