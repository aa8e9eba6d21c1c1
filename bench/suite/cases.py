"""cases.py: the table of cases. A case is a row here, a program in bench/cases/NAME.plait and a formula in formulas.py.

To add one, write the three; docs/benchmarks.md explains the columns.
"""
import dataclasses
import fnmatch

from . import formulas

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Least bytes of a run, by size. `odd` is for checking alone: lengths that no vector width divides.
TARGET = {"odd": 40 * KIB, "cache": 64 * KIB, "l2": 1 * MIB, "dram": 256 * MIB, "huge": 1 * GIB}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    dims: dict                    # size: fixed dimensions; a text is an expression over the others
    free: str = "N"               # the dimension that makes up the size
    sample: str = "free"          # a dimension along which elements are independent: a check at full size takes some of
                                  # its values; None: it takes everything
    dtypes: str = "f32 bf16"      # what f32 tensors of the program may become
    keep: str = ""                # tensors that stay f32 then
    data: dict = dataclasses.field(default_factory=dict)      # parameter: generator (data.py); else "normal"
    scalars: dict = dataclasses.field(default_factory=dict)
    exact: bool = False           # sums of the data are exact in float32: they are compared without a bound
    reads: bool = False           # next to nothing is written: the ceiling is that of reading
    bar: float = 0                # fraction of the ceiling that the project asks for, from memory
    huge: bool = False            # also measured at 1 GiB
    partly: dict = dataclasses.field(default_factory=dict)    # parameter: the part of it that must be read
    sweep: str = ""               # "rows bytes": the sweeps that it takes part in

    @property
    def formula(self):
        return getattr(formulas, self.name)

    @property
    def sampled(self):
        return self.free if self.sample == "free" else self.sample


def dims(odd, cache, l2=None, dram=None, huge=None):
    l2 = l2 or cache
    dram = dram or l2
    return {"odd": odd, "cache": cache, "l2": l2, "dram": dram, "huge": huge or dram}


FLAT = dims({}, {})
ROW = dims({"D": 251}, {"D": 1024}, dram={"D": 4096})
LONG = dims({"D": 515}, {"D": 2048}, {"D": 4096}, {"D": 32768})
SQUARE = dims({"D": 77}, {"D": 64}, {"D": 256}, {"D": 8192})
WHOLE = {"data": {"x": "whole"}, "exact": True, "reads": True, "keep": "y"}
PLANES = dims({"C": 3, "S": 35}, {"C": 4, "S": 256}, {"C": 16, "S": 1024}, {"C": 64, "S": 3136})
HEADS = dims({"H": 2, "T": 7, "E": 6}, {"H": 2, "T": 16, "E": 32}, {"H": 4, "T": 64, "E": 64}, {"H": 16, "T": 1024, "E": 128})

CASES = [
    # Elementwise
    Case("chain20", FLAT, dtypes="f32 bf16", bar=0.95, huge=True, sweep="bytes"),
    Case("square_difference", FLAT),
    Case("bias_gelu_tanh", ROW, bar=0.95),
    Case("bias_gelu_erf", ROW, bar=0.85),
    Case("swiglu", ROW, bar=0.95),
    Case("geglu", ROW),
    Case("dropout_residual", ROW, scalars={"p": 0.125, "seed": 7}, bar=0.95),
    Case("batch_norm_relu", PLANES, data={"v": "positive"}, keep="mu v w b"),
    Case("adamw", dims({"D": 63}, {"D": 128}, {"D": 512}, {"D": 1024}), sample=None, dtypes="f32",
         data={f"v{i}": "positive" for i in (1, 2, 3, 4)}, scalars={"lr": 1e-3, "c1": 0.1, "c2": 1e-3}),
    # Views
    Case("image_normalise", dims({"H": 15, "W": 13}, {"H": 32, "W": 32}, {"H": 64, "W": 64}, {"H": 224, "W": 224}),
         data={"x": "byte"}, keep="mu s"),
    Case("rope_qk", HEADS, free="B", data={"c": "sine", "s": "sine"}, keep="c s"),
    Case("embed_scale", dims({"V": "N", "D": 101}, {"V": "N", "D": 256}, {"V": "N", "D": 1024}),
         data={"ids": "permutation"}, sample=None, scalars={"k": 0.7}),
    Case("concat_relu", dims({"A": 33, "B": 66}, {"A": 256, "B": 512}, {"A": 1024, "B": 3072})),
    Case("split_qkv", dims({"H": 3, "E": 10}, {"H": 4, "E": 32}, {"H": 8, "E": 64}, {"H": 32, "E": 128}), free="T",
         exact=True),
    Case("pad", dims({"H": 11, "W": 13}, {"H": 30, "W": 30}, {"H": 62, "W": 62}, {"H": 510, "W": 510}), exact=True),
    Case("transpose_bias_gelu", SQUARE, bar=0.75),
    # Rows
    Case("softmax", ROW, bar=0.85, huge=True, sweep="rows bytes"),
    Case("masked_softmax", ROW, data={"mask": "mask"}, scalars={"scale": 0.125}, bar=0.85),
    Case("causal_softmax", dims({"T": 35}, {"T": 64}, {"T": 256}, {"T": 1024}), free="B", scalars={"scale": 0.125},
         partly={"s": "(T + 1) / (2 * T)"}),
    Case("softcap_softmax", LONG, scalars={"t": 0.75}),
    Case("log_softmax", ROW),
    Case("rms_norm", ROW, bar=0.85, huge=True, sweep="rows bytes"),
    Case("residual_rms_norm", ROW),
    Case("rms_norm_int8", ROW, keep="scale"),
    Case("layer_norm_residual", ROW, bar=0.85),
    Case("group_norm", dims({"G": 3, "C": 2, "S": 35}, {"G": 4, "C": 2, "S": 256}, {"G": 8, "C": 4, "S": 256},
                            {"G": 32, "C": 8, "S": 1024}), keep="w b"),
    Case("l2_norm", ROW),
    Case("amax_fp8", ROW, keep="scale"),
    Case("cumsum", ROW, data={"x": "whole"}, exact=True, dtypes="f32"),
    Case("cumsum_normalise", ROW, data={"x": "count"}, exact=True, dtypes="f32"),
    # Rows to numbers
    Case("cross_entropy", LONG, data={"target": "target"}, keep="loss", reads=True, bar=0.85),
    Case("logsumexp", LONG, keep="y", reads=True, bar=0.95),
    Case("kl_loss", LONG, keep="kl", reads=True),
    Case("variance_skewness", ROW, keep="v s", reads=True),
    Case("argmax", LONG, keep="v", reads=True, bar=0.95),
    Case("sum_rows", ROW, bar=0.95, sweep="rows bytes", huge=True, **WHOLE),
    # Columns and everything
    Case("sum_columns", ROW, sample=None, bar=0.95, **WHOLE),
    Case("sum_all", ROW, sample=None, bar=0.95, **WHOLE),
    Case("column_moments", dims({"D": 65}, {"D": 256}, {"D": 512}), sample=None, keep="mu v", reads=True),
    Case("layer_norm_backward", ROW, sample=None, keep="dw db"),
    Case("amax_transpose_fp8", SQUARE, sample=None, keep="amax", scalars={"scale": 16.0}),
    Case("linear_recurrence", dims({"D": 65}, {"D": 128}, {"D": 512}, {"D": 1024}), free="T", sample="D", dtypes="f32",
         data={"a": "decay"}),
]


def chosen(pattern):
    """The cases whose name matches one of some patterns separated by commas."""
    return [c for c in CASES if any(fnmatch.fnmatch(c.name, p) for p in pattern.split(","))]


def listing():
    """The cases as text."""
    lines = [f"{len(CASES)} cases; sizes: " + ", ".join(f"{k} {v >> 10} KiB" for k, v in TARGET.items())]
    for c in CASES:
        notes = [c.dtypes, "of the read ceiling" if c.reads else "", f"bar {c.bar}" if c.bar else "", "also 1 GiB" if c.huge else "",
                 f"sweeps: {c.sweep}" if c.sweep else ""]
        lines.append(f"{c.name:22}" + "; ".join(filter(None, notes)))
    return "\n".join(lines)
