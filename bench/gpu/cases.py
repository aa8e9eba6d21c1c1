"""cases.py: the table of cases on a GPU. A case is a row here, a program in bench/gpu/cases/PROGRAM.plait and a formula.

Sizes are those of the table of peers that the project compares itself with. `bar` is what the project asks for: a part
of the copy ceiling, or of the read ceiling where `reads` is set; `limit_us`, where a time is asked for.
"""
import dataclasses
import fnmatch

from . import formulas


@dataclasses.dataclass(frozen=True)
class Case:
    id: str
    name: str
    program: str                  # also the formula's name
    dims: dict
    small: dict                   # to be checked where there is no GPU
    sample: str                   # a dimension along which elements are independent; "": all is compared
    bar: float = 0
    reads: bool = False           # next to nothing is written: the ceiling is that of reading
    limit_us: float = 0
    mark: str = ""                # "hand": to be no slower than the kernel written by hand
    data: dict = dataclasses.field(default_factory=dict)      # parameter: generator (memory.py); else "normal"
    scalars: dict = dataclasses.field(default_factory=dict)
    exact: bool = False           # sums of the data are exact in float32: they are compared without a bound
    element: str = "bf16"
    partly: dict = dataclasses.field(default_factory=dict)    # parameter: the part of it that must be read

    @property
    def formula(self):
        return getattr(formulas, self.program)

    @property
    def free(self):
        return self.sample or next(iter(self.dims))

    @property
    def sampled(self):
        return self.sample or None


def nd(n, d):
    return {"N": n, "D": d}


def softmax(id, n, d, bar, small):
    return Case(id, f"softmax [{n}, {d}]", "softmax", nd(n, d), small, "N", bar, data={"x": "normal2"})


def rms(id, n, d, bar=0.0, **more):
    return Case(id, f"RMS norm [{n}, {d}]", "rms_norm", nd(n, d), nd(min(n, 5), 512), "N", bar, **more)


def quantise(id, n, kind, bar=0.0, **more):
    return Case(id, f"residual + RMS norm + {kind} [{n}, 4096]", f"residual_norm_{kind}", nd(n, 4096), nd(min(n, 5), 512), "N", bar,
                data={"w": "normal02"}, **more)


def chain(id, n):
    return Case(id, f"chain of {n}, f32 [2^26]", f"chain{n}", {"N": 1 << 26}, {"N": 3000}, "N", 0.98, element="f32")


def total(id, what, program, sample):
    return Case(id, f"sum {what}, f32 [16384, 16384]", program, nd(16384, 16384), nd(48, 200), sample, 0.99, reads=True,
                data={"x": "whole"}, exact=True, element="f32")


CASES = [
    Case("1", "GELU(x + bias) [16384, 4096]", "bias_gelu", nd(16384, 4096), nd(9, 264), "N", 0.92),
    Case("2", "SwiGLU [8192, 14336]", "swiglu", nd(8192, 14336), nd(9, 264), "N", 1.00),
    Case("3", "dropout + residual [16384, 4096]", "dropout_residual", nd(16384, 4096), nd(9, 264), "N", 0.98,
         scalars={"p": 0.1, "seed": 7}),
    softmax("4a", 8192, 4096, 0.95, nd(3, 4096)),
    softmax("4b", 4096, 32768, 0.95, nd(1, 32768)),
    softmax("4c", 32768, 1024, 0.95, nd(8, 1024)),
    softmax("4d", 128, 131072, 0.72, nd(1, 131072)),
    Case("5", "causal scaled softmax [512, 1024, 1024]", "causal_softmax", {"B": 512, "T": 1024}, {"B": 2, "T": 40}, "B", limit_us=600,
         data={"s": "normal8"}, scalars={"scale": 0.125}, partly={"s": "(T + 1) / (2 * T)"}),
    rms("6a", 16384, 4096, 0.97),
    rms("6e", 4096, 16384, 0.97),
    rms("6b", 1, 4096, limit_us=1.5, mark="hand"),
    rms("6c", 16, 4096, limit_us=2.2, mark="hand"),
    rms("6d", 64, 4096, limit_us=2.4, mark="hand"),
    Case("7", "layer norm of x + r, two results [16384, 4096]", "layer_norm_residual", nd(16384, 4096), nd(5, 520), "N", 0.98),
    total("8a", "over rows", "sum_columns", "D"),
    total("8b", "over columns", "sum_rows", "N"),
    total("8c", "over all", "sum_all", ""),
    Case("9a", "mean and variance of columns [131072, 512]", "column_moments", nd(131072, 512), nd(300, 48), "D", 0.85),
    Case("9b", "batch norm + ReLU [64, 256, 3136]", "batch_norm_relu", {"N": 64, "C": 256, "S": 3136}, {"N": 2, "C": 3, "S": 49}, "N", 0.97,
         data={"v": "positive"}),
    Case("10", "cross entropy [8192, 128256]", "cross_entropy", nd(8192, 128256), nd(3, 5000), "N", 0.98, reads=True,
         data={"x": "normal2", "target": "target"}),
    Case("11", "RoPE of q and k [4, 32, 2048, 128]", "rope_qk", {"B": 4, "H": 32, "T": 2048, "E": 128}, {"B": 1, "H": 2, "T": 7, "E": 16}, "H",
         0.98, data={"c": "sine", "s": "sine"}),
    Case("12", "log-sum-exp [8192, 32768]", "logsumexp", nd(8192, 32768), nd(3, 4096), "N", 0.98, reads=True, data={"x": "normal2"}),
    Case("13", "argmax [64, 128256]", "argmax", nd(64, 128256), nd(4, 5000), "N", reads=True, limit_us=9.0, data={"x": "peak"}, exact=True),
    Case("14", "cumulative sum, f32 [8192, 8192]", "cumsum", nd(8192, 8192), nd(3, 1000), "N", 0.95, data={"x": "whole"}, exact=True,
         element="f32"),
    Case("15", "transpose + bias + GELU [8192, 8192]", "transpose_bias_gelu", nd(8192, 8192), nd(72, 40), "N", 0.88),
    quantise("16a", 8192, "fp8", 0.95),
    quantise("16b", 8192, "int8", 0.95),
    quantise("16c", 1, "fp8", limit_us=1.5, mark="hand"),
    quantise("16d", 16, "fp8", limit_us=2.2, mark="hand"),
    quantise("16e", 64, "fp8", limit_us=2.4, mark="hand"),
    chain("20a", 1),
    chain("20b", 2),
    chain("20c", 5),
    chain("20d", 10),
    chain("20", 20),
    Case("30", "GeGLU [8192, 14336]", "geglu", nd(8192, 14336), nd(9, 264), "N"),
    Case("31", "log-softmax [8192, 4096]", "log_softmax", nd(8192, 4096), nd(5, 520), "N", data={"x": "normal2"}),
    Case("32", "softcap + softmax [4096, 32768]", "softcap_softmax", nd(4096, 32768), nd(3, 4096), "N", data={"x": "normal8"},
         scalars={"t": 0.75}),
    Case("33", "group norm [256, 32, 8, 1024]", "group_norm", {"N": 256, "G": 32, "C": 8, "S": 1024}, {"N": 2, "G": 3, "C": 2, "S": 64}, "N"),
    Case("34", "AdamW step, f32 [2^25]", "adamw", {"N": 1 << 25}, {"N": 3000}, "N", data={"v": "positive"},
         scalars={"lr": 1e-3, "c1": 0.1, "c2": 1e-3}, element="f32"),
    Case("35", "embedding + scale [16384, 4096] of 32000", "embed_scale", {"V": 32000, "D": 4096, "N": 16384}, {"V": 50, "D": 64, "N": 20}, "N",
         data={"ids": "distinct"}, scalars={"k": 0.7}, partly={"table": "N / V"}),
]


def chosen(pattern):
    """The cases whose id, name or program matches one of some patterns separated by commas."""
    patterns = pattern.split(",")
    return [c for c in CASES if any(fnmatch.fnmatch(text, p) for p in patterns for text in (c.id, c.name, c.program))]


def by_id(id):
    return next(c for c in CASES if c.id == id)


def asked(case):
    """What the project asks for, as text."""
    if case.mark:
        return f"the hand-written kernel's time ({case.limit_us} µs seen)"
    if case.limit_us:
        return f"{case.limit_us:g} µs"
    return f"{100 * case.bar:.0f} % of the {'read' if case.reads else 'copy'} ceiling" if case.bar else ""


def listing():
    lines = [f"{len(CASES)} cases"]
    lines += [f"{c.id:5}{c.name:52}{c.program:22}{asked(c)}" for c in CASES]
    return "\n".join(lines)
