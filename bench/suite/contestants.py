"""contestants.py: who takes part. Each class makes runs of a case; a run's calls work on given inputs.

    contestant = Numpy(threads)            raises ImportError, OSError or PlaitError where it cannot be had: it is absent
    run = contestant.ready(program, inputs, outputs)      raises Unsupported where it has no operator
    run.calls[s]()                         once on the inputs' set s, and back when it is done
    run.results()                          what calls[0] left, as NumPy arrays in the types of the program
    contestant.strict                      results must be within Plait's bounds; libraries have their own (check.py)

All have the same number of threads, data where the others have them, and results in memory made before where their
interface takes it. 16-bit inputs are widened, computed in float32 and rounded once, as in Plait.
"""
import ctypes as c
import dataclasses
import os
import time

import numpy as np

import plait
from . import data, native
from .ops import JaxOps, NumpyOps, Unsupported


@dataclasses.dataclass
class Run:
    calls: list
    results: object
    note: dict = dataclasses.field(default_factory=dict)


def arguments(program, tensors):
    """Tensors and scalars in the program's order."""
    tensors = iter(tensors)
    return [program.case.scalars[t.name] if t.name in program.case.scalars else next(tensors) for t in program.params]


def as_tuple(found):
    return found if isinstance(found, tuple) else (found,)


class Plait:
    name, strict = "plait", True

    def __init__(self, threads, compiler="auto", library=None, march=None, dims=True):
        lib = plait.Library(library)
        self.cx = plait.Context(threads=threads, compiler=compiler, march=march, library=lib)
        self.version, self.specialise, self.compiler = lib.version(), dims, None

    def ready(self, program, inputs, outputs):
        start = time.perf_counter()
        entry = self.cx.entry(f"{program.case.name}.plait", program.text, self.entry_name(program))
        run = entry.prepare(dims=program.dims if self.specialise else {})
        first = (time.perf_counter() - start) * 1e3
        self.compiler = run.compiler
        scalars = [np.array(program.case.scalars[t.name], data.NUMPY[t.dtype]) for t in program.params if t not in program.tensor_params]
        calls = [self.bind(run, program, a, scalars, o) for a, o in zip(inputs.arrays, outputs)]
        note = {"kernels": run.nkernels, "prepare_ms": round(first, 1), "compiler": run.compiler,
                "scratch_bytes": calls[0].scratch_bytes}
        note |= {k: int(v) for k, v in entry.cost(program.dims).items() if k in ("bytes_fused", "bytes_minimum")}
        return Run(calls, lambda: outputs[0], note)

    def entry_name(self, program):
        from .program import head
        return head(program.text).split("(")[0].split()[1]

    def bind(self, run, program, tensors, scalars, results):
        tensors, scalars = iter(tensors), iter(scalars)
        params = [(next(scalars if t.name in program.case.scalars else tensors), t.dtype) for t in program.params]
        return run.bind(params, [(a, t.dtype) for a, t in zip(results, program.results)])


class HandWritten:
    """bench/hand.c, of which the faster of two kinds of stores counts."""

    name, strict = "hand", True

    def __init__(self, threads):
        self.hand = native.Hand(threads)
        self.version = self.hand.compiler

    def ready(self, program, inputs, outputs):
        kernel = self.hand.kernel(program.case.name)
        if not kernel or program.dtype != "f32" or any(v % 16 for k, v in program.dims.items() if k in "DN" and self.needs16(program, k)):
            raise Unsupported("not written by hand for this type or length")
        both = [[self.call(kernel, program, a, o, nt) for a, o in zip(inputs.arrays, outputs)] for nt in (0, 1)]
        fastest = min(range(2), key=lambda nt: quickest(both[nt]))
        return Run(both[fastest], lambda: outputs[0], {"streaming": bool(fastest)})

    def needs16(self, program, dim):
        return dim == "D" or program.case.name == "transpose_bias_gelu" or len(program.dims) == 1

    def call(self, kernel, program, tensors, results, nt):
        if program.case.scalars:
            tensors = [*tensors, np.array(list(program.case.scalars.values()), np.float32)]
        dims = (c.c_int64 * len(program.dims))(*program.dims.values())
        ins = (c.c_void_p * len(tensors))(*(a.ctypes.data for a in tensors))
        outs = (c.c_void_p * len(results))(*(a.ctypes.data for a in results))
        args, keep = (dims, ins, outs, c.c_int(nt)), tensors

        def call():
            kernel(*args)
        call.keep = keep
        return call


def quickest(calls):
    """The shortest of three times, the first call left out."""
    times = []
    for i in range(4):
        start = time.perf_counter()
        calls[i % len(calls)]()
        times.append(time.perf_counter() - start)
    return min(times[1:])


class Numpy:
    name, strict = "numpy", False

    def __init__(self, threads):
        self.version, self.ops = np.__version__, NumpyOps()

    def ready(self, program, inputs, outputs):
        kept, self.ops.element = [None], program.dtype

        def call(s):
            with np.errstate(all="ignore"):
                found = as_tuple(program.case.formula(self.ops, *arguments(program, inputs.wide(s))))
            kept[0] = [store(v, t.dtype) for v, t in zip(found, program.results)]
        return Run([bind(call, s) for s in range(inputs.sets)], lambda: kept[0])


def bind(f, s):
    return lambda: f(s)


def store(v, dtype):
    """A float32 result in the type of the program's."""
    v = np.asarray(v)
    v = v if v.flags.c_contiguous else v.copy("C")        # a view is no result
    if dtype == "bf16":
        return data.to_bf16(v)
    if dtype == "f8e4m3":
        import ml_dtypes
        return np.clip(v, -448, 448).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    if dtype == "i8":
        return np.rint(v).astype(np.int8)
    return v.astype(data.NUMPY[dtype], copy=False)


class Numexpr:
    name, strict = "numexpr", False

    # Case: what a user of numexpr writes, the elementwise parts fused, reductions by NumPy. Results go to o.
    FORMS = {
        "square_difference": lambda e, o, a, b: e("a * a + b * b - 2 * a * b", o[0], a=a, b=b),
        "chain20": lambda e, o, x: e(CHAIN, o[0], x=x, **NUMBERS),
        "bias_gelu_tanh": lambda e, o, x, b: e(
            "H * (x + b) * (O + tanh(C * ((x + b) + G * (x + b) * (x + b) * (x + b))))", o[0], x=x, b=b, H=f(0.5), O=f(1),
            C=f(0.7978845608028654), G=f(0.044715)),
        "swiglu": lambda e, o, g, u: e("g / (O + exp(-g)) * u", o[0], g=g, u=u, O=f(1)),
        "geglu": lambda e, o, g, u: e("H * g * (O + tanh(C * (g + G * g * g * g))) * u", o[0], g=g, u=u, H=f(0.5), O=f(1),
                                      C=f(0.7978845608028654), G=f(0.044715)),
        "image_normalise": lambda e, o, x, mu, s: e("(x / D - mu) * s", o[0].transpose(0, 2, 3, 1), x=x, mu=mu, s=s, D=f(255)),
        "softmax": lambda e, o, x: normalised(e, o[0], e("exp(x - m)", o[0], x=x, m=x.max(-1, keepdims=True))),
        "rms_norm": lambda e, o, x, w: e("x * q * w", o[0], x=x, w=w, q=1 / np.sqrt(
            np.einsum("ij,ij->i", x, x)[:, None] / f(x.shape[1]) + f(1e-5))),
        "batch_norm_relu": lambda e, o, x, mu, v, w, b: e(
            "where(y > Z, y, Z)".replace("y", "((x - mu) * k + b)"), o[0], x=x, mu=mu[:, None], b=b[:, None],
            k=(w / np.sqrt(v + f(1e-5)))[:, None], Z=f(0)),
        "adamw": lambda e, o, *a: adamw(e, o, a),
    }

    def __init__(self, threads):
        import numexpr
        self.ne, self.version = numexpr, numexpr.__version__
        numexpr.set_num_threads(threads)

    def ready(self, program, inputs, outputs):
        form = self.FORMS.get(program.case.name)
        if not form or program.dtype != "f32":
            raise Unsupported("not an elementwise expression of numexpr, or bf16")

        def call(s):
            form(self.evaluate, outputs[s], *arguments(program, inputs.arrays[s]))
        return Run([bind(call, s) for s in range(inputs.sets)], lambda: outputs[0])

    def evaluate(self, text, out, **names):
        return self.ne.evaluate(text, names, {}, out=out, casting="same_kind")


f = np.float32
A5 = "sqrt(abs(x * P + B) + U)"
A11 = f"x / (({A5} * S - T) * ({A5} * S - T) + O) * U"
A13 = f"where({A11} > F, F, where({A11} < -F, -F, {A11}))"
A16 = f"(({A13} + {A5}) * {A13} - K)"
CHAIN = f"{A16} / (abs({A16}) + W) * H"                   # numexpr evaluates what stands there twice once
NUMBERS = dict(P=f(1.1), B=f(0.3), U=f(0.5), S=f(0.7), T=f(0.2), O=f(1), F=f(4), K=f(0.25), W=f(2), H=f(1.5))


def normalised(e, out, y):
    return e("y / z", out, y=y, z=y.sum(-1, keepdims=True))


def adamw(e, o, a):
    lr, c1, c2 = a[16:]
    k = dict(A=f(0.9), B=f(0.1), C=f(0.999), D=f(0.001), W=f(1 - lr * 0.01), L=f(lr / c1), V=f(1 / c2), E=f(1e-8))
    for i in range(4):
        p, g, m, v = a[4 * i:4 * i + 4]
        q, n, w = o[3 * i:3 * i + 3]
        e("A * m + B * g", n, m=m, g=g, **k)
        e("C * v + D * g * g", w, v=v, g=g, **k)
        e("p * W - L * n / (sqrt(w * V) + E)", q, p=p, n=n, w=w, **k)


class Jax:
    name, strict = "jax", False

    def __init__(self, threads):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ["NPROC"] = str(threads)                # the size of XLA's thread pool
        import jax
        import ml_dtypes
        self.jax, self.ops, self.version = jax, JaxOps(), jax.__version__
        self.types = {"bf16": ml_dtypes.bfloat16, "f8e4m3": ml_dtypes.float8_e4m3fn}

    def ready(self, program, inputs, outputs):
        jnp, formula, self.ops.element = self.jax.numpy, program.case.formula, program.dtype

        def whole(*tensors):
            wide = [a.astype(jnp.float32) if t.dtype == "bf16" else a for a, t in zip(tensors, program.tensor_params)]
            found = as_tuple(formula(self.ops, *arguments(program, wide)))
            return tuple(self.store(v, t.dtype) for v, t in zip(found, program.results))
        sets = [[self.array(a, t.dtype) for a, t in zip(row, program.tensor_params)] for row in inputs.arrays]
        start = time.perf_counter()
        ready = self.jax.jit(whole).lower(*sets[0]).compile()
        first, kept, wait = (time.perf_counter() - start) * 1e3, [None], self.jax.block_until_ready

        def call(s):
            kept[0] = wait(ready(*sets[s]))
        return Run([bind(call, s) for s in range(inputs.sets)], lambda: [self.back(a, t) for a, t in zip(kept[0], program.results)],
                   {"prepare_ms": round(first, 1)})

    def array(self, a, dtype):
        return self.jax.device_put(a.view(self.types[dtype]) if dtype in self.types else a)

    def store(self, v, dtype):
        jnp = self.jax.numpy
        if dtype == "f8e4m3":
            return jnp.clip(v, -448, 448).astype(self.types[dtype])
        if dtype == "i8":
            return jnp.round(v).astype(jnp.int8)
        return v.astype(self.types.get(dtype) or data.NUMPY[dtype])

    def back(self, a, tensor):
        a = np.asarray(a)
        return a.view(data.NUMPY[tensor.dtype]) if tensor.dtype in self.types else a


class OnnxRuntime:
    name, strict = "onnxruntime", False

    def __init__(self, threads):
        import onnx
        import onnxruntime
        from . import onnx_ops
        self.ort, self.graph, self.version, self.threads = onnxruntime, onnx_ops, onnxruntime.__version__, threads

    def ready(self, program, inputs, outputs):
        if program.dtype != "f32":
            raise Unsupported("bf16 has no kernels on the CPU")
        start = time.perf_counter()
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 4
        model = self.graph.model(program)
        session = self.ort.InferenceSession(model, options, ["CPUExecutionProvider"])
        first = (time.perf_counter() - start) * 1e3
        bindings = [self.binding(session, program, a, o) for a, o in zip(inputs.arrays, outputs)]

        def call(s):
            session.run_with_iobinding(bindings[s])
        return Run([bind(call, s) for s in range(inputs.sets)], lambda: outputs[0], {"prepare_ms": round(first, 1)})

    def binding(self, session, program, arrays, results):
        made, value = session.io_binding(), self.ort.OrtValue.ortvalue_from_numpy
        used = {i.name for i in session.get_inputs()}
        for t, a in zip(program.tensor_params, arrays):
            if t.name in used:
                made.bind_ortvalue_input(t.name, value(a))
        for t, a in zip(program.results, results):
            made.bind_ortvalue_output(t.name, value(a))
        return made
