"""peers_triton.py: kernels in Triton, as its tutorials write them, with several numbers of warps, of which the best counts."""
import triton
import triton.language as tl

from .contestant import Run, Unsupported


@triton.jit
def softmax_rows(Y, X, D: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * D
    at = tl.arange(0, B)
    x = tl.load(X + row + at, mask=at < D, other=-float("inf")).to(tl.float32)
    e = tl.exp(x - tl.max(x, 0))
    tl.store(Y + row + at, (e / tl.sum(e, 0)).to(tl.bfloat16), mask=at < D)


@triton.jit
def softmax_loop(Y, X, D: tl.constexpr, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * D
    at = tl.arange(0, B)
    m = tl.full([B], -float("inf"), tl.float32)
    z = tl.zeros([B], tl.float32)
    for first in range(0, D, B):
        x = tl.load(X + row + first + at).to(tl.float32)
        larger = tl.maximum(m, x)
        z = z * tl.exp(m - larger) + tl.exp(x - larger)
        m = larger
    top = tl.max(m, 0)
    scale = 1.0 / tl.sum(z * tl.exp(m - top), 0)
    for first in range(0, D, B):
        x = tl.load(X + row + first + at).to(tl.float32)
        tl.store(Y + row + first + at, (tl.exp(x - top) * scale).to(tl.bfloat16))


@triton.jit
def rms_rows(Y, X, W, eps, D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * D
    at = tl.arange(0, D)
    x = tl.load(X + row + at).to(tl.float32)
    w = tl.load(W + at).to(tl.float32)
    tl.store(Y + row + at, (x * tl.rsqrt(tl.sum(x * x, 0) / D + eps) * w).to(tl.bfloat16))


@triton.jit
def layer_norm_rows(H, Y, X, R, W, B, eps, D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * D
    at = tl.arange(0, D)
    h = (tl.load(X + row + at).to(tl.float32) + tl.load(R + row + at).to(tl.float32)).to(tl.bfloat16)
    tl.store(H + row + at, h)
    x = h.to(tl.float32)
    x = x - tl.sum(x, 0) / D
    scale = tl.rsqrt(tl.sum(x * x, 0) / D + eps)
    tl.store(Y + row + at, (x * scale * tl.load(W + at).to(tl.float32) + tl.load(B + at).to(tl.float32)).to(tl.bfloat16))


@triton.jit
def cross_entropy_rows(L, X, T, D: tl.constexpr, B: tl.constexpr):
    number = tl.program_id(0).to(tl.int64)
    row = number * D
    at = tl.arange(0, B)
    m = tl.full([B], -float("inf"), tl.float32)
    z = tl.zeros([B], tl.float32)
    for first in range(0, D, B):
        x = tl.load(X + row + first + at, mask=first + at < D, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(tl.maximum(m, x), -1e30)
        z = z * tl.exp(m - larger) + tl.exp(x - larger)
        m = larger
    top = tl.max(m, 0)
    total = tl.sum(z * tl.exp(m - top), 0)
    tl.store(L + number, top + tl.log(total) - tl.load(X + row + tl.load(T + number)).to(tl.float32))


@triton.jit
def dropout(Y, X, R, p, seed, B: tl.constexpr):
    at = tl.program_id(0) * B + tl.arange(0, B)
    x = tl.load(X + at).to(tl.float32)
    r = tl.load(R + at).to(tl.float32)
    kept = tl.rand(seed, at) >= p
    tl.store(Y + at, (tl.where(kept, x / (1 - p), 0.0) + r).to(tl.bfloat16))


def softmax(args, outs, n, d):
    (x,), (y,) = args, outs
    if d > 32768:
        return {f"loop {b}, {w} warps": lambda b=b, w=w: softmax_loop[(n,)](y, x, D=d, B=b, num_warps=w) for b, w in ((8192, 16), (16384, 32))}
    warps = {1024: (2, 4), 4096: (4, 8, 16)}.get(d, (16, 32))
    return {f"{w} warps": lambda w=w: softmax_rows[(n,)](y, x, D=d, B=triton.next_power_of_2(d), num_warps=w) for w in warps}


def rms_norm(args, outs, n, d):
    (x, w), (y,) = args, outs
    return {f"{k} warps": lambda k=k: rms_rows[(n,)](y, x, w, 1e-5, D=d, num_warps=k) for k in ((4, 8, 16) if d <= 4096 else (8, 16, 32))}


def layer_norm(args, outs, n, d):
    (x, r, w, b), (h, y) = args, outs
    return {f"{k} warps": lambda k=k: layer_norm_rows[(n,)](h, y, x, r, w, b, 1e-5, D=d, num_warps=k) for k in (4, 8, 16)}


def cross_entropy(args, outs, n, d):
    (x, target), (loss,) = args, outs
    return {f"block {b}, {w} warps": lambda b=b, w=w: cross_entropy_rows[(n,)](loss, x, target, D=d, B=b, num_warps=w)
            for b, w in ((4096, 8), (8192, 16))}


def dropout_residual(args, outs, n, d):
    (x, r, p, seed), (y,) = args, outs
    return {f"block {b}": lambda b=b: dropout[(n * d // b,)](y, x, r, p, seed, B=b) for b in (1024, 2048)}


FORMS = {"softmax": softmax, "rms_norm": rms_norm, "layer_norm_residual": layer_norm, "cross_entropy": cross_entropy,
         "dropout_residual": dropout_residual}


class Triton:
    name, strict = "triton", False

    def __init__(self, torch):
        self.torch, self.version = torch, triton.__version__

    def variants(self, case, program, arguments, memory, sets):
        """A run for each configuration."""
        form = FORMS.get(case.program)
        if not form:
            raise Unsupported("no kernel in Triton here")
        outs = [[memory.empty(t) for t in program.results] for _ in range(sets)]
        made = [form(arguments(s), outs[s], program.dims["N"], program.dims["D"]) for s in range(sets)]
        return [Run(lambda s, name=name: made[s][name](), lambda s: outs[s], variant=name) for name in made[0]]

    def ready(self, work):
        return self.variants(work.case, work.program, work.arguments, work.memory, work.sets)
