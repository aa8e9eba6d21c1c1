"""torch_peer.py: PyTorch, eager and compiled.

Each case is what a user of PyTorch would write: FORMS has the cases for which torch.nn.functional has a function or
`out=` saves an allocation, the others run their formula. bench/run.py has set the allocator to keep freed memory.
"""
import os
import time

import numpy as np

from . import data
from .contestants import Run, arguments, as_tuple, bind
from .ops import TorchOps


def forms(torch, rounded):
    F = torch.nn.functional

    def residual_norm(s, w):
        return s, F.rms_norm(s, w.shape, w, 1e-5)

    def layer_norm(s, w, b):
        return s, F.layer_norm(s, w.shape, w, b, 1e-5)

    def causal(s, scale):
        t = s.shape[-1]
        mask = torch.ones(t, t, dtype=torch.bool).triu(1)
        return torch.softmax((s * scale).masked_fill(mask, -torch.inf), -1)

    def masked(s, mask, scale):
        return torch.nan_to_num(torch.softmax((s * scale).masked_fill(~mask, -torch.inf), -1), nan=0.0)

    def backward(x, w, dy):
        mu, d = torch.native_layer_norm(x, w.shape, w, None, 1e-5)[1:]
        return torch.ops.aten.native_layer_norm_backward(dy, x, w.shape, mu, d, w, torch.zeros_like(w), [True, True, True])

    def argmax(x):
        v, ix = torch.max(x, -1)
        return ix, v

    return {
        "bias_gelu_tanh": lambda x, b: F.gelu(x + b, approximate="tanh"),
        "bias_gelu_erf": lambda x, b: F.gelu(x + b),
        "swiglu": lambda g, u: F.silu(g) * u,
        "geglu": lambda g, u: F.gelu(g, approximate="tanh") * u,
        "dropout_residual": lambda x, r, p, seed: r + F.dropout(x, p, True),
        "batch_norm_relu": lambda x, mu, v, w, b: F.relu(F.batch_norm(x, mu, v, w, b, False, 0.0, 1e-5)),
        "transpose_bias_gelu": lambda x, b: F.gelu(x.T + b).contiguous(),
        "softmax": lambda x: torch.softmax(x, -1),
        "masked_softmax": masked,
        "causal_softmax": causal,
        "softcap_softmax": lambda x, t: torch.softmax(torch.tanh(x / 30) * (30 / t), -1),
        "log_softmax": lambda x: torch.log_softmax(x, -1),
        "logsumexp": lambda x: torch.logsumexp(x, -1),
        "cross_entropy": lambda x, target: F.cross_entropy(x, target.long(), reduction="none"),
        "kl_loss": lambda a, b: F.kl_div(F.log_softmax(b, -1), F.log_softmax(a, -1), reduction="none", log_target=True).sum(-1),
        "rms_norm": lambda x, w: F.rms_norm(x, w.shape, w, 1e-5),
        "residual_rms_norm": lambda x, r, w: residual_norm(rounded(x + r), w),
        "layer_norm_residual": lambda x, r, w, b: layer_norm(rounded(x + r), w, b),
        "layer_norm_backward": backward,
        "group_norm": lambda x, w, b: F.group_norm(x.flatten(1, 2), w.shape[0], w.flatten(), b.flatten(), 1e-5).view(x.shape),
        "argmax": argmax,
    }


def outs(torch):
    """Cases of one operator that writes to given memory, eager."""
    return {
        "softmax": lambda o, x: torch.softmax(x, -1, out=o[0]),
        "log_softmax": lambda o, x: torch.log_softmax(x, -1, out=o[0]),
        "logsumexp": lambda o, x: torch.logsumexp(x, -1, out=o[0]),
        "sum_rows": lambda o, x: torch.sum(x, -1, out=o[0]),
        "sum_columns": lambda o, x: torch.sum(x, 0, out=o[0]),
        "cumsum": lambda o, x: torch.cumsum(x, -1, out=o[0]),
    }


class Torch:
    name, strict, compiled = "torch", False, False

    def __init__(self, threads):
        import torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.version, self.ops = torch, torch.__version__, TorchOps()
        self.forms, self.outs = forms(torch, self.ops.rounded), {} if self.compiled else outs(torch)
        self.types = {"f32": torch.float32, "i32": torch.int32, "i8": torch.int8}
        self.narrow = {"bf16": torch.bfloat16, "f8e4m3": torch.float8_e4m3fn}

    def tensor(self, a, dtype):
        if dtype in self.narrow:
            return self.torch.from_numpy(a.view({2: np.int16, 1: np.uint8}[a.itemsize])).view(self.narrow[dtype])
        return self.torch.from_numpy(a)

    def back(self, a, tensor):
        if tensor.dtype in self.narrow:
            a = a.contiguous().view({2: self.torch.int16, 1: self.torch.uint8}[a.element_size()])
        return a.numpy().view(data.NUMPY[tensor.dtype])

    def store(self, v, dtype):
        if dtype == "i8":
            return v.round().to(self.torch.int8)
        if dtype == "f8e4m3":
            return v.clamp(-448, 448).to(self.narrow[dtype])
        return v.to(self.narrow.get(dtype) or self.types[dtype]).contiguous()

    def function(self, program):
        case, torch = program.case, self.torch
        self.ops.element = program.dtype
        form = self.forms.get(case.name) or (lambda *args: case.formula(self.ops, *args))

        def whole(*tensors):
            wide = [a.float() if t.dtype == "bf16" else a for a, t in zip(tensors, program.tensor_params)]
            found = as_tuple(form(*arguments(program, wide)))
            return tuple(self.store(v, t.dtype) for v, t in zip(found, program.results))
        return torch.compile(whole, dynamic=False) if self.compiled else whole

    def ready(self, program, inputs, outputs):
        sets = [[self.tensor(a, t.dtype) for a, t in zip(row, program.tensor_params)] for row in inputs.arrays]
        into = self.outs.get(program.case.name) if program.dtype == "f32" else None
        if into:
            memory = [[self.tensor(a, "f32") for a in row] for row in outputs]
            calls = [lambda s=s: into(memory[s], *sets[s]) for s in range(inputs.sets)]
            return Run(calls, lambda: outputs[0])
        start = time.perf_counter()
        self.torch.compiler.reset()
        whole, kept = self.function(program), [None]
        kept[0] = whole(*sets[0])
        note = {"prepare_ms": round((time.perf_counter() - start) * 1e3, 1)} if self.compiled else {}

        def call(s):
            kept[0] = whole(*sets[s])
        return Run([bind(call, s) for s in range(inputs.sets)], lambda: [self.back(a, t) for a, t in zip(kept[0], program.results)], note)


class TorchCompile(Torch):
    name, strict, compiled = "torch.compile", False, True

    def __init__(self, threads):
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        super().__init__(threads)
