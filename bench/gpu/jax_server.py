#!/usr/bin/env python3
"""XLA in a process of its own, so that its memory and its threads disturb nobody. Used by peers_jax.py.

A request is a line of JSON on stdin, an answer one on stdout: compile {ids}, ready {case, sets, check_only},
round {seconds}, finish {}. An answer has `error` where something failed.
"""
import concurrent.futures
import json
import os
import pathlib
import sys
import time

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)                                             # what libraries print is no answer

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from gpu import cases, check  # noqa: E402
from gpu.program import Program  # noqa: E402
from suite import data  # noqa: E402
from suite.ops import JaxOps  # noqa: E402

TYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16, "f8e4m3": jnp.float8_e4m3fn, "i8": jnp.int8, "i64": jnp.int32}
NAMES = {"float32": "f32", "bfloat16": "bf16", "float8_e4m3fn": "f8e4m3", "int8": "i8", "int32": "i32"}


class Ops(JaxOps):
    """The suite's, with a key that is an argument: else XLA would draw the numbers when it compiles."""

    def uniform(self, seed, shape):
        return jax.random.uniform(self.key, shape)


def function(program):
    ops, case = Ops(), program.case
    ops.element = program.dtype

    def store(v, dtype):
        return (jnp.round(v) if dtype == "i8" else v).astype(TYPES[dtype])

    def whole(key, *tensors):
        ops.key, wide = key, iter([a.astype(jnp.float32) if a.dtype == jnp.bfloat16 else a for a in tensors])
        args = [case.scalars[t.name] if t.name in case.scalars else next(wide) for t in program.params]
        found = case.formula(ops, *args)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(store(v, t.dtype) for v, t in zip(found, program.results))
    return jax.jit(whole)


def filled(tensor, kind, dims, seed):
    """Random contents; compiled with the seed as its argument."""
    key, shape = jax.random.key(seed, impl="rbg"), tensor.shape
    one, two = jax.random.split(key)
    if kind == "target":
        return jax.random.randint(key, shape, 0, dims["D"])
    if kind == "distinct":
        return jax.random.permutation(key, dims["V"])[:dims["N"]].astype(jnp.int32)
    if kind == "positive":
        values = jax.random.uniform(key, shape) + 0.5
    elif kind == "whole":
        values = jax.random.randint(key, shape, -4, 5)
    elif kind == "sine":
        values = jnp.sin(jax.random.uniform(key, shape) * 6.28)
    else:
        values = jax.random.normal(one, shape, TYPES[tensor.dtype]) * {"normal2": 2, "normal8": 8, "normal02": 0.2}.get(kind, 1)
    if kind == "peak":
        values = values.at[jnp.arange(shape[0]), jax.random.randint(two, (shape[0],), 0, shape[1])].set(20)
    return values.astype(TYPES[tensor.dtype])


class Memory:
    """What the checker needs of it. Taking a sample is compiled beforehand, as all else."""

    def __init__(self):
        self.takers = {}

    def prepare(self, shape, dtype, axis, count):
        key = (shape, str(jnp.dtype(dtype)), axis, count)
        if key not in self.takers:
            at = jax.ShapeDtypeStruct((count,), jnp.int32)
            self.takers[key] = jax.jit(lambda x, at: jnp.take(x, at, axis=axis)).lower(jax.ShapeDtypeStruct(shape, dtype), at).compile()
        return self.takers[key]

    def part(self, handle, axis, at):
        if at is not None and axis is not None:
            handle = self.prepare(handle.shape, handle.dtype, axis, len(at))(handle, jnp.asarray(at, jnp.int32))
        array, dtype = np.asarray(handle), NAMES[str(handle.dtype)]
        return array.view(data.NUMPY[dtype]) if array.dtype.itemsize < 4 else array, dtype


class Server:
    def __init__(self):
        self.made, self.key, self.memory = {}, jax.random.key(7), Memory()

    def compiled(self, id):
        """The compiled case and the seconds that it took."""
        if id not in self.made:
            program = Program(cases.by_id(id))
            shapes = [jax.ShapeDtypeStruct(t.shape, TYPES[t.dtype]) for t in program.tensor_params]
            start = time.perf_counter()
            made = function(program).lower(jax.ShapeDtypeStruct(self.key.shape, self.key.dtype), *shapes).compile()
            seconds = time.perf_counter() - start
            self.made[id] = program, made, seconds, self.fillers(program)
            self.prepare_samples(program)
        return self.made[id]

    def fillers(self, program):
        """Functions of a seed that make the inputs, compiled."""
        found, kinds = [], program.case.data
        for t in program.tensor_params:
            kind = kinds.get(t.name, "normal")
            made = jax.jit(lambda seed, t=t, kind=kind: filled(t, kind, program.dims, seed))
            found.append(made.lower(jax.ShapeDtypeStruct((), jnp.int32)).compile())
        return found

    def prepare_samples(self, program):
        checker = check.Checker.__new__(check.Checker)
        checker.program, checker.case = program, program.case
        at, dim = checker.sampled_values(), program.case.sampled
        for t in program.tensor_params + program.results:
            if at is not None and dim in t.extents:
                self.memory.prepare(t.shape, TYPES[t.dtype], t.extents.index(dim), len(at))

    def compile(self, ids):
        def one(id):
            try:
                return round(self.compiled(id)[2], 3)
            except Exception as e:  # noqa: BLE001
                return f"{type(e).__name__}: {str(e)[:200]}"
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return {"seconds": dict(zip(ids, pool.map(one, ids)))}

    def ready(self, case, sets):
        self.finish()
        self.program, self.call, seconds, fill = self.compiled(case)
        c = self.program.case
        self.inputs = [[f(jnp.int32(1000 * s + i + 1)) for i, f in enumerate(fill)] for s in range(sets)]
        self.results = [None] * sets
        checker = check.Checker(self.program, self.memory, self.inputs[0])
        found = self.call(self.key, *self.inputs[0])
        error = checker.compare_dropout(found) if c.program == "dropout_residual" else checker.compare(found, False)
        self.rough()
        return {"error_found": round(float(error), 4), "compile_s": round(seconds, 3)}

    def rough(self):
        jax.block_until_ready([self.call(self.key, *row) for row in self.inputs[:2]])
        start = time.perf_counter()
        jax.block_until_ready(self.call(self.key, *self.inputs[0]))
        self.once = time.perf_counter() - start

    def queue(self, n):
        """Seconds of n calls, which wait for each other on the device alone."""
        sets, start = len(self.inputs), time.perf_counter()
        for i in range(n):
            self.results[i % sets] = self.call(self.key, *self.inputs[i % sets])
        jax.block_until_ready(self.results[(n - 1) % sets])
        return time.perf_counter() - start

    def round(self, seconds):
        n = max(2, min(400, int(seconds / 2 / self.once)))
        self.queue(2)
        return {"us": [self.queue(n) / n * 1e6 for _ in range(2)], "calls": n}

    def busy(self):
        """Microseconds that the device works for a call, and its kernels; through the profiler that PyTorch brings."""
        try:
            import torch
            from torch.autograd import DeviceType
            torch.cuda.init()
            n = max(4, min(16, len(self.inputs)))
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
                self.queue(n)
                torch.cuda.synchronize()
            events = [e for e in seen.events() if e.device_type == DeviceType.CUDA]
            return {"busy_us": sum(e.time_range.elapsed_us() for e in events) / n or None, "kernels": round(len(events) / n, 2)}
        except Exception as e:  # noqa: BLE001
            return {"busy_us": None, "kernels": None, "note": f"no profile: {type(e).__name__}: {str(e)[:100]}"}

    def finish(self):
        self.inputs = self.results = self.call = None
        return {}

    def version(self):
        return {"version": jax.__version__, "device": str(jax.devices()[0])}


def main():
    server = Server()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("do"))(**request)
        except Exception as e:  # noqa: BLE001
            answer = {"error": f"{type(e).__name__}: {' '.join(str(e).split())[:500]}"}
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
