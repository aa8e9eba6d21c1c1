"""plait_gpu.py: Plait itself."""
import time

import numpy as np

import plait
from suite import data

from .check import Wrong
from .contestant import Run


class Plait:
    name, strict = "plait", True

    def __init__(self, library):
        self.cx = plait.Context(library=plait.Library(library))
        self.device = plait.Device(self.cx)
        self.version = self.cx.lib.version()

    def warm(self):
        """Loads NVRTC and what it reads, so that the first case's compile time is like the others'."""
        run = self.cx.entry("warm.plait", "fn warm(x: f32[N]) -> y: f32[N] { y = exp(x) }").prepare("cuda", {"N": 1024})
        run.scratch(plait.tensors([(self.device.alloc((1024,), 4096), "f32")]), 1)

    def prepared(self, work, params):
        """From text to loaded kernels, and the milliseconds that it took."""
        start = time.perf_counter()
        entry = self.cx.entry(f"{work.case.program}.plait", work.program.text, work.program.entry)
        run = entry.prepare("cuda", work.program.dims)
        size = run.scratch(plait.tensors(params), len(params))
        return run, size, (time.perf_counter() - start) * 1e3

    def ready(self, work):
        memory, program = work.memory, work.program
        params = [self.params(work, s) for s in range(work.sets)]
        run, size, ms = self.prepared(work, params[0])
        scratch = memory.scratch(size)
        outs = [[memory.empty(t) for t in program.results] for _ in range(work.sets)]
        calls = [run.launcher(params[s], self.pairs(work, outs[s], program.results), scratch, memory.stream) for s in range(work.sets)]
        functions = run.functions()
        self.written(work, calls[0], outs[0], run)
        return Run(lambda s: calls[s](), lambda s: outs[s], exec=run, prepare_ms=round(ms, 2), compiler=run.compiler, planned_kernels=run.nkernels,
                   scratch_bytes=size, functions=functions)

    def pairs(self, work, handles, tensors):
        return [(work.memory.buffer(h), t.dtype) for h, t in zip(handles, tensors)]

    def params(self, work, s):
        def scalar(value, tensor):
            return np.array(value, data.NUMPY[tensor.dtype])
        arguments = work.arguments(s, scalar)
        return [(a if isinstance(a, np.ndarray) else work.memory.buffer(a), t.dtype) for a, t in zip(arguments, work.program.params)]

    def written(self, work, call, outs, run):
        """Everything is written, whatever was there before: two runs over two poisons give the same bits."""
        memory, seen = work.memory, []
        for byte in (0xFF, 0x55):
            for handle in outs:
                memory.poison(handle, byte)
            memory.sync()
            call()
            run.wait(memory.stream())
            seen.append([memory.copy(h) for h in outs])
        for tensor, a, b in zip(work.program.results, *seen):
            if not memory.same(a, b):
                raise Wrong(f"{tensor.name} was not written everywhere, or differs from run to run")
