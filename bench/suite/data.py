"""data.py: memory and its contents.

Buffers are whole pages, huge ones where the system grants them on request, first written by the threads that use them
(the native library's `touch`), so that no contestant pays page faults. Inputs repeat a block of a million random
values; its length is prime, so neighbouring rows differ. 16-bit floats are kept as their bits in uint16.
"""
import functools
import math
import mmap

import numpy as np

NUMPY = {"f32": np.float32, "bf16": np.uint16, "f8e4m3": np.uint8, "i8": np.int8, "u8": np.uint8, "bool": np.bool_,
         "i32": np.int32, "i64": np.int64, "u64": np.uint64}
BLOCK = 1_000_003
POISON = {"f32": np.nan, "bf16": 0x7FC1, "f8e4m3": 0x7F, "i8": 0x55, "i32": 0x55555555}


def to_bf16(x):
    """The nearest bf16 of float32 values, as bits; ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


@functools.cache
def e4m3_table():
    """The values of the 256 patterns of f8e4m3."""
    code = np.arange(256)
    exponent, fraction = (code >> 3) & 15, code & 7
    v = np.where(exponent == 0, fraction / 8 * 2.0**-6, (1 + fraction / 8) * 2.0 ** (exponent - 7.0))
    v[(code & 127) == 127] = np.nan
    return np.where(code < 128, v, -v)


def decoded(array, dtype):
    """Stored values as float64."""
    if dtype == "bf16":
        return from_bf16(array).astype(np.float64)
    if dtype == "f8e4m3":
        return e4m3_table()[array]
    return array.astype(np.float64)


def encoded(values, dtype):
    """float64 or float32 values as they are stored."""
    return to_bf16(values) if dtype == "bf16" else values.astype(NUMPY[dtype])


GENERATORS = {
    "normal": lambda g, n: g.standard_normal(n, np.float32),
    "positive": lambda g, n: g.uniform(0.5, 1.5, n).astype(np.float32),
    "whole": lambda g, n: g.integers(-4, 5, n).astype(np.float32),
    "count": lambda g, n: g.integers(1, 4, n).astype(np.float32),
    "decay": lambda g, n: g.uniform(0.5, 0.999, n).astype(np.float32),
    "sine": lambda g, n: np.sin(g.uniform(0, 6.28, n)).astype(np.float32),
    "byte": lambda g, n: g.integers(0, 256, n),
    "mask": lambda g, n: g.random(n) < 0.75,
}


@functools.cache
def block(kind, dtype):
    values = GENERATORS[kind](np.random.default_rng(20), BLOCK)
    return encoded(values, dtype)


class Memory:
    """Hands out buffers. touch(address, bytes) writes zeros with the threads that will use them."""

    def __init__(self, touch):
        self.touch = touch

    def empty(self, shape, dtype):
        kind = np.dtype(NUMPY[dtype])
        size = max(1, math.prod(shape)) * kind.itemsize
        pages = mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if size >= 1 << 21:
            pages.madvise(mmap.MADV_HUGEPAGE)
        array = np.frombuffer(pages, kind, max(1, math.prod(shape))).reshape(shape)
        self.touch(array.ctypes.data, size)
        return array


def fill(array, tensor, kind, dims, shift):
    """Writes a parameter's data. shift: where in the block to begin, another for each tensor and set."""
    flat = array.reshape(-1)
    if kind == "permutation":
        flat[:] = np.random.default_rng(shift).permutation(dims["N"])
    elif kind == "target":
        flat[:] = np.random.default_rng(shift).integers(0, dims["D"], flat.size)
    else:
        source = np.roll(block(kind, tensor.dtype), -shift)
        for at in range(0, flat.size, BLOCK):
            flat[at:at + BLOCK] = source[:flat.size - at]
    if kind == "mask":
        array[0] = False                                  # a row of which nothing is kept


class Inputs:
    """The parameters of a program: `sets` of them, so that data from memory come from memory again in each call."""

    def __init__(self, program, memory, sets):
        self.program, self.sets, case = program, sets, program.case
        self.scalars = [case.scalars[t.name] for t in program.params if t.name in case.scalars]
        self.arrays = []
        for s in range(sets):
            row = []
            for i, t in enumerate(program.tensor_params):
                row.append(memory.empty(t.shape, t.dtype))
                fill(row[-1], t, case.data.get(t.name, "normal"), program.dims, 7919 * (i + 16 * s))
            self.arrays.append(row)

    def wide(self, s):
        """Set s as NumPy arrays of 32 bits or exact integers, for libraries without bf16."""
        return [from_bf16(a) if t.dtype == "bf16" else a for a, t in zip(self.arrays[s], self.program.tensor_params)]


def poison(array, dtype):
    array[...] = POISON[dtype]
