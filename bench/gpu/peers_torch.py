"""peers_torch.py: PyTorch on the device: eager, its own kernels where it has one for the case, and compiled.

EAGER is what a user writes; VENDOR the one function of PyTorch that does it, where there is one; COMPILED what is given
to torch.compile where that differs: what must be computed in float32 is widened first.
"""
import time

from .contestant import Run, Unsupported


def as_tuple(found):
    return found if isinstance(found, tuple) else (found,)


def chain(torch, n, x):
    """The first n of the twenty operations."""
    steps = [lambda x: x * 1.1, lambda x: x + 0.3, torch.tanh, lambda x: x * 0.7, lambda x: x - 0.2, torch.abs, lambda x: x + 0.001, torch.sqrt,
             lambda x: x * 1.5, torch.sigmoid, lambda x: x + 0.25, lambda x: x * x, lambda x: x * 0.5, lambda x: -x, torch.exp, lambda x: x + 1.0,
             torch.log, lambda x: x * 2.0, lambda x: torch.clamp(x, min=0.0), lambda x: torch.clamp(x, max=1.25)]
    for step in steps[:n]:
        x = step(x)
    return x


def chains(torch):
    return {f"chain{n}": (lambda x, n=n: chain(torch, n, x)) for n in (1, 2, 5, 10, 20)}


def eager(torch):
    F = torch.nn.functional

    def rms_norm(x, w):
        h = x.float()
        return w * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)

    def layer_norm(x, r, w, b):
        h = x + r
        return h, F.layer_norm(h, w.shape, w, b, 1e-5)

    def causal(s, scale):
        mask = torch.ones(s.shape[-1], s.shape[-1], dtype=torch.bool, device=s.device).tril()
        return torch.softmax((s * scale).masked_fill(~mask, -torch.inf), -1)

    def moments(x):
        v, mu = torch.var_mean(x.float(), 0, unbiased=False)
        return mu, v

    def turn(x, c, s):
        half = x.shape[-1] // 2
        return x * c + torch.cat((-x[..., half:], x[..., :half]), -1) * s

    def quantised(x, r, w, largest):
        h = x + r
        f = h.float()
        n = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-5) * w.float()
        scale = (n.abs().amax(-1, keepdim=True) / largest).clamp(min=1e-12)
        return n / scale, h, scale.squeeze(-1)

    def fp8(x, r, w):
        q, h, scale = quantised(x, r, w, 448.0)
        return q.to(torch.float8_e4m3fn), h, scale

    def int8(x, r, w):
        q, h, scale = quantised(x, r, w, 127.0)
        return q.round().to(torch.int8), h, scale

    def adamw(p, g, m, v, lr, c1, c2):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        return p * (1 - lr * 0.01) - lr * (m / c1) / (torch.sqrt(v / c2) + 1e-8), m, v

    return chains(torch) | {
        "bias_gelu": lambda x, b: F.gelu(x + b),
        "swiglu": lambda g, u: F.silu(g) * u,
        "geglu": lambda g, u: F.gelu(g, approximate="tanh") * u,
        "dropout_residual": lambda x, r, p, seed: F.dropout(x, p, True) + r,
        "softmax": lambda x: torch.softmax(x, -1),
        "log_softmax": lambda x: torch.log_softmax(x, -1),
        "softcap_softmax": lambda x, t: torch.softmax(torch.tanh(x.float() / 30) * (30 / t), -1).to(x.dtype),
        "causal_softmax": causal,
        "rms_norm": rms_norm,
        "layer_norm_residual": layer_norm,
        "sum_columns": lambda x: x.sum(0),
        "sum_rows": lambda x: x.sum(1),
        "sum_all": lambda x: x.sum(),
        "column_moments": moments,
        "batch_norm_relu": lambda x, mu, v, w, b: F.relu(F.batch_norm(x, mu, v, w, b, False, 0.0, 1e-5)),
        "cross_entropy": lambda x, target: F.cross_entropy(x, target, reduction="none"),
        "rope_qk": lambda q, k, c, s: (turn(q, c, s), turn(k, c, s)),
        "logsumexp": lambda x: torch.logsumexp(x, -1),
        "argmax": lambda x: torch.argmax(x, -1),
        "cumsum": lambda x: torch.cumsum(x, -1),
        "transpose_bias_gelu": lambda x, b: F.gelu(x.t() + b).contiguous(),
        "residual_norm_fp8": fp8,
        "residual_norm_int8": int8,
        "group_norm": lambda x, w, b: F.group_norm(x.flatten(1, 2), w.shape[0], w.flatten(), b.flatten(), 1e-5).view(x.shape),
        "adamw": adamw,
        "embed_scale": lambda table, ids, k: F.embedding(ids, table) * k,
    }


def vendor(torch):
    """One function of PyTorch's own for what eager() writes out; for softmax, sums and the like eager() is that already."""
    F = torch.nn.functional
    return {"rms_norm": lambda x, w: F.rms_norm(x, w.shape, w, 1e-5)}


def widened(torch):
    """For torch.compile: the same with the sums of bf16 in float32, and results of the program's types."""
    F = torch.nn.functional
    return {
        "logsumexp": lambda x: torch.logsumexp(x.float(), -1),
        "cross_entropy": lambda x, target: F.cross_entropy(x.float(), target, reduction="none"),
    }


def calling(form, work, **note):
    """A run that keeps the latest results of each set, so that results rotate as inputs do."""
    held, arguments = [None] * work.sets, [work.arguments(s) for s in range(work.sets)]

    def call(s):
        held[s] = form(*arguments[s])
    return Run(call, lambda s: as_tuple(held[s]), **note)


MODES = {"torch.compile": None, "torch.max-autotune": "max-autotune-no-cudagraphs"}


def compiled(torch, form, name):
    return torch.compile(form, fullgraph=True, dynamic=False, mode=MODES[name])


class Torch:
    """name: torch, or torch.vendor: PyTorch's one function."""

    strict = False

    def __init__(self, torch, name="torch"):
        self.torch, self.name, self.version = torch, name, torch.__version__
        self.table = vendor(torch) if name == "torch.vendor" else eager(torch)

    def form(self, work):
        found = self.table.get(work.case.program)
        if not found:
            raise Unsupported("no function of its own")
        return found

    def ready(self, work):
        return calling(self.form(work), work)


class TorchCompile(Torch):
    """name: one of MODES. warm.py has compiled the cases beforehand; `first_call_ms` is what is left to do then."""

    def __init__(self, torch, name):
        super().__init__(torch, name)
        self.table = eager(torch) | widened(torch)

    def ready(self, work):
        torch = self.torch
        torch._dynamo.reset()
        form = compiled(torch, self.form(work), self.name)
        start = time.perf_counter()
        form(*work.arguments(0))
        torch.cuda.synchronize()
        return calling(form, work, first_call_ms=round((time.perf_counter() - start) * 1e3, 1))
