"""memory.py: tensors on the device and their contents, through PyTorch or, where it is not there, through Plait alone.

A handle is a torch.Tensor or a plait.Buffer. Both kinds of memory have the same functions; what is random differs.
"""
import math

import numpy as np

import plait
from suite import data
from suite.program import BYTES

GENERATORS = data.GENERATORS | {
    "normal2": lambda g, n: 2 * g.standard_normal(n, np.float32),
    "normal8": lambda g, n: 8 * g.standard_normal(n, np.float32),
    "normal02": lambda g, n: np.float32(0.2) * g.standard_normal(n, np.float32),
}


def host_values(tensor, kind, dims, seed):
    """Random contents as a NumPy array, as stored."""
    g = np.random.default_rng(seed)
    if kind == "target":
        return g.integers(0, dims["D"], tensor.shape)
    if kind == "distinct":
        return g.permutation(dims["V"])[:dims["N"]]
    values = GENERATORS["normal" if kind == "peak" else kind](g, math.prod(tensor.shape)).reshape(tensor.shape)
    if kind == "peak":
        values[np.arange(len(values)), g.integers(0, values.shape[1], len(values))] = 20
    return data.encoded(values, tensor.dtype)


class Plain:
    """Through Plait's own functions; for checks without PyTorch."""

    torch = None

    def __init__(self, device):
        self.device, self.dtypes = device, {}

    def stream(self):
        return None

    def sync(self):
        pass                                              # uploads and downloads are in the stream's order

    def empty(self, tensor):
        return self.raw(tensor.shape, tensor.dtype)

    def raw(self, shape, dtype):
        made = self.device.alloc(shape, math.prod(shape) * BYTES[dtype])
        self.dtypes[made] = dtype
        return made

    def filled(self, tensor, kind, dims, seed):
        made = self.empty(tensor)
        self.device.upload(made, np.ascontiguousarray(host_values(tensor, kind, dims, seed)))
        return made

    def poison(self, handle, byte):
        self.device.upload(handle, np.full(handle.nbytes, byte, np.uint8))

    def buffer(self, handle):
        return handle

    def scratch(self, size):
        return self.device.alloc((size,), size)

    def stored(self, handle):
        """The whole tensor as NumPy bytes."""
        array = np.empty(handle.nbytes, np.uint8)
        self.device.download(array, handle)
        return array

    def same(self, a, b):
        return np.array_equal(self.stored(a), self.stored(b))

    def copy(self, handle):
        made = self.raw(handle.shape, self.dtypes[handle])
        self.device.upload(made, self.stored(handle))
        return made

    def part(self, handle, axis, at):
        """Elements as stored, those with indices `at` along an axis (None: all), and their type."""
        dtype = self.dtypes[handle]
        array = self.stored(handle).view(data.NUMPY[dtype]).reshape(handle.shape)
        return (array if at is None or axis is None else np.take(array, at, axis)), dtype

    def release(self):
        for handle in self.dtypes:
            self.device.free(handle)
        self.dtypes = {}


class Torch:
    """Through PyTorch."""

    def __init__(self, torch):
        self.torch = torch
        self.types = {"f32": torch.float32, "bf16": torch.bfloat16, "f8e4m3": torch.float8_e4m3fn, "i8": torch.int8, "i64": torch.int64,
                      "i32": torch.int32}
        self.names = {v: k for k, v in self.types.items()}

    def stream(self):
        return self.torch.cuda.current_stream().cuda_stream

    def sync(self):
        self.torch.cuda.synchronize()

    def empty(self, tensor):
        return self.torch.empty(tensor.shape, dtype=self.types[tensor.dtype], device="cuda")

    def filled(self, tensor, kind, dims, seed):
        t, shape = self.torch, tensor.shape
        t.manual_seed(seed)
        if kind == "target":
            return t.randint(0, dims["D"], shape, device="cuda")
        if kind == "distinct":
            return t.randperm(dims["V"], device="cuda")[:dims["N"]].contiguous()
        if kind == "positive":
            values = t.rand(shape, device="cuda") + 0.5
        elif kind == "whole":
            values = t.randint(-4, 5, shape, device="cuda", dtype=t.int8)
        elif kind == "sine":
            values = t.sin(t.rand(shape, device="cuda") * 6.28)
        else:
            values = t.randn(shape, device="cuda", dtype=self.types[tensor.dtype])
            values.mul_({"normal2": 2, "normal8": 8, "normal02": 0.2}.get(kind, 1))
        if kind == "peak":
            values[t.arange(shape[0], device="cuda"), t.randint(0, shape[1], (shape[0],), device="cuda")] = 20
        return values.to(self.types[tensor.dtype])

    def poison(self, handle, byte):
        handle.view(-1).view(self.torch.uint8).fill_(byte)

    def buffer(self, handle):
        return plait.Buffer(handle.data_ptr(), handle.shape, handle.numel() * handle.element_size())

    def scratch(self, size):
        made = self.torch.empty(max(1, size), dtype=self.torch.uint8, device="cuda")
        buffer = self.buffer(made)
        buffer.keep = made
        return buffer

    def same(self, a, b):
        return self.torch.equal(a.view(-1).view(self.torch.uint8), b.view(-1).view(self.torch.uint8))

    def copy(self, handle):
        return handle.clone()

    def part(self, handle, axis, at):
        t, dtype = self.torch, self.names[handle.dtype]
        if at is not None and axis is not None:
            bits = {1: t.uint8, 2: t.int16, 4: t.int32, 8: t.int64}[handle.element_size()]
            handle = handle.contiguous().view(bits).index_select(axis, t.from_numpy(at).cuda())
        elif handle.element_size() < 4:
            handle = handle.contiguous().view({1: t.uint8, 2: t.int16}[handle.element_size()])
        return handle.cpu().numpy().view(data.NUMPY[dtype]), dtype

    def release(self):
        import gc
        gc.collect()
        self.torch.cuda.empty_cache()
