#!/usr/bin/env python3
"""Runs SmolLM2-135M-Instruct through Plait and checks every step against float64.

    examples/smollm2/run.sh [--text TEXT] [--offline]         (run.sh provides the packages)

Each step is a Plait program beside this file, run with `plait run` on the model's own tensors; quantised matrices go in
as the bytes that the weights file holds. A step's result is compared, element by element, with float64 arithmetic on the
same inputs, within bounds that follow from the computation (bounds.py). The exit status is 1 when one is exceeded.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bounds
from bounds import Val, exact
from model import Model, Tokenizer, Weights, weights_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SLICE = HERE.parent / "data" / "smollm2"
EPS = float(np.float32(1e-5))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    """Plait did not run a program."""


class Plait:
    """The plait command: programs of this folder on NumPy arrays."""

    def __init__(self, command: str, folder: Path):
        self.command, self.folder, self.seconds, self.runs = command, folder, 0.0, 0

    def call(self, *args: str) -> str:
        start = time.perf_counter()
        p = subprocess.run([self.command, *args], capture_output=True, text=True)
        self.seconds += time.perf_counter() - start
        if p.returncode:
            raise Failed(f"plait {' '.join(args)}\n{p.stderr}")
        return p.stdout

    def run(self, program: str, outs: list[str], **inputs: np.ndarray | Weights) -> list[np.ndarray]:
        args = ["run", str(HERE / f"{program}.plait")]
        for name, value in inputs.items():
            path = self.folder / f"{name}.npy"
            np.save(path, value.data if isinstance(value, Weights) else value)
            args += ["--in", f"{name}={path}"]
        for name in outs:
            args += ["--out", f"{name}={self.folder / name}.out.npy"]
        self.call(*args)
        self.runs += 1
        return [np.load(self.folder / f"{name}.out.npy") for name in outs]

    def explain(self, program: str, dims: dict[str, int], *options: str) -> str:
        given = [a for name, n in dims.items() for a in ("-D", f"{name}={n}")]
        return self.call("explain", str(HERE / f"{program}.plait"), *given, *options)


class Table:
    """One row for each step."""

    ROW = "{:<42} {:<10} {:>7} {:>10} {:>9} {:>8} {:>9} {:>7}"

    def __init__(self, plait: Plait):
        self.plait, self.rows, self.failed = plait, [], 0

    def step(self, what: str, program: str, dims: dict[str, int], pairs: list[tuple[np.ndarray, Val]]) -> None:
        """Compares results with their references and adds the row. Several layers may share one."""
        used, error, bound = max(worst(got, ref) for got, ref in pairs)
        report = json.loads(self.plait.explain(program, dims, "--json"))
        self.failed += not used <= 1
        self.rows.append(self.ROW.format(
            what, program, len(report["kernels"]), number(error), number(bound),
            "exact" if bound == 0 == error else f"{100 * used:.1f} %" if used <= 1 else "FAILED",
            size(report["bytes_fused"]), f"{report['bytes_fused'] / report['bytes_minimum']:.2f}"))
        say("  " + what)

    def print(self) -> None:
        head = self.ROW.format("step", "program", "kernels", "error", "bound", "of bound", "moved", "÷ least")
        print("\n".join(["", head, "─" * len(head), *self.rows, ""]))
        print("error, bound: at the element that comes nearest to its bound. moved: bytes to and from memory for one run of\n"
              "the program; ÷ least: beside reading each input and writing each result once.\n")


def worst(got: np.ndarray, ref: Val) -> tuple[float, float, float]:
    """(error / bound, error, bound) where the quotient is largest. NaN is beyond all bounds."""
    if got.shape != ref.v.shape or not np.isfinite(got).all():
        return float("inf"), float("inf"), 0.0
    error = np.abs(got - ref.v).ravel()
    bound = ref.e.ravel()
    used = np.where(error > 0, error / np.maximum(bound, 1e-300), 0.0)
    k = int(np.argmax(used)) if used.any() else int(np.argmax(bound))
    return float(used[k]), float(error[k]), float(bound[k])


def number(x: float) -> str:
    return "0" if x == 0 else f"{x:.1e}"


def size(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"


# ---- The steps in float64, with bounds ---------------------------------------------------------------------------

def attention_half(x: Val, g: np.ndarray, w: dict[str, Weights], pos: np.ndarray, base: float) -> Val:
    n = bounds.rms_norm(x, g, EPS)
    q, k, v = (heads(bounds.project(n, w[name])) for name in ("wq", "wk", "wv"))
    o = bounds.causal_attention(bounds.rope_pairs(q, pos, base), bounds.rope_pairs(k, pos, base), v)
    rows = x.v.shape[0]
    return bounds.project(Val(o.v.reshape(rows, -1), o.e.reshape(rows, -1)), w["wo"])


def heads(x: Val) -> Val:
    shape = (x.v.shape[0], -1, 64)
    return Val(x.v.reshape(shape), x.e.reshape(shape))


def add_norm(x: Val, r: Val, g: np.ndarray) -> tuple[Val, Val]:
    s = bounds.add(x, r)
    return s, bounds.rms_norm(s, g, EPS)


def gate_up(h: Val, gate: Weights, up: Weights) -> Val:
    return bounds.mul(bounds.silu(bounds.project(h, gate)), bounds.project(h, up))


def mlp_half(x: Val, r: Val, g: np.ndarray, w: dict[str, Weights]) -> Val:
    s, h = add_norm(x, r, g)
    return bounds.add(s, bounds.project(gate_up(h, w["gate"], w["up"]), w["down"]))


def head(x: Val, g: np.ndarray, table: Weights) -> Val:
    return bounds.project(bounds.rms_norm(x, g, EPS), table)


# ---- The whole model ---------------------------------------------------------------------------------------------

class Layer:
    """The weights of one decoder layer, by the names that the programs use."""

    def __init__(self, model: Model, k: int):
        get = lambda names: {a: model.matrix(f"blk.{k}.{b}") for a, b in names.items()}
        self.g1, self.g2 = model.norm(f"blk.{k}.attn_norm"), model.norm(f"blk.{k}.ffn_norm")
        self.attention = get({"wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output"})
        self.mlp = get({"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"})


def check_decoding(model: Model) -> None:
    """Our decoding of blocks against the gguf package's, which rounds to float32."""
    from gguf.quants import dequantize
    for name in ("blk.0.ffn_gate", "token_embd"):
        t = model.tensors[name + ".weight"]
        theirs, (ours, sizes) = dequantize(t.data[:64], t.tensor_type), Weights(t.data[:64], t.tensor_type.name.lower()).decode()
        assert (np.abs(theirs - ours) <= bounds.U * sizes).all(), name


def online(plait: Plait, table: Table, text: str) -> None:
    say("reading the weights")
    path = weights_file()
    model = Model(path)
    check_decoding(model)
    tokens = model.tokenizer
    ids = np.array(tokens.encode(text), dtype=np.int32)
    assert tokens.decode(ids) == text
    pos = np.arange(len(ids), dtype=np.int32)
    emb, g = model.matrix("token_embd"), model.norm("output_norm")
    t, (v, d) = len(ids), emb.shape
    print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB: {model.layers} layers, {d} wide, {v} tokens")
    print(f"text      {text!r}\ntokens    {t}: {' '.join(repr(tokens.decode([k])) for k in ids)}")

    say("running")
    x, = plait.run("embed", ["x"], table=emb, ids=ids)
    table.step("embedding of the tokens, 8-bit table", "embed", {"V": v, "D": d, "T": t}, [(x, exact(emb.rows(ids).decode()[0]))])

    first = Layer(model, 0)
    f = first.mlp["gate"].shape[0]
    r, = plait.run("attention", ["r"], x=x, g=first.g1, pos=pos, **first.attention)
    s, h = plait.run("add_norm", ["s", "h"], x=x, r=r, g=first.g2)
    table.step("layer 0: residual and norm", "add_norm", {"T": t, "D": d}, list(zip((s, h), add_norm(exact(x), exact(r), first.g2))))
    y, = plait.run("gate_up", ["f"], h=h, gate=first.mlp["gate"], up=first.mlp["up"])
    table.step("layer 0: silu(gate) * up, 4-bit weights", "gate_up", {"T": t, "D": d, "F": f},
               [(y, gate_up(exact(h), first.mlp["gate"], first.mlp["up"]))])

    halves, free = ([], []), exact(x)           # free: the whole pass in float64 alone
    for k in range(model.layers):
        w = Layer(model, k)
        r, = plait.run("attention", ["r"], x=x, g=w.g1, pos=pos, **w.attention)
        y, = plait.run("mlp", ["y"], x=x, r=r, g=w.g2, **w.mlp)
        halves[0].append((r, attention_half(exact(x), w.g1, w.attention, pos, model.base)))
        halves[1].append((y, mlp_half(exact(x), exact(r), w.g2, w.mlp)))
        free = exact(mlp_half(free, exact(attention_half(free, w.g1, w.attention, pos, model.base).v), w.g2, w.mlp).v)
        x = y
        if k % 5 == 4:
            say(f"  {k + 1} of {model.layers} layers, {plait.seconds:.0f} s")
    dims = {"T": t, "D": d, "H": model.heads, "G": model.kv_heads}
    table.step(f"attention half, each of {model.layers} layers", "attention", dims, halves[0])
    table.step(f"MLP half, each of {model.layers} layers", "mlp", {"T": t, "D": d, "F": f}, halves[1])

    last = x[-1:]
    logits, = plait.run("head", ["logits"], x=last, g=g, table=emb)
    table.step("final norm and head, last token", "head", {"T": 1, "D": d, "V": v}, [(logits, head(exact(last), g, emb))])
    p, = plait.run("softmax", ["p"], logits=logits)
    table.step(f"softmax of {v} logits", "softmax", {"T": 1, "V": v}, [(p, bounds.softmax(exact(logits)))])
    table.print()

    reference = head(free[-1:], g, emb).v
    top(p[0], bounds.softmax(exact(reference)).v[0], [tokens.decode([k]) for k in range(v)] , text)
    drift = np.max(np.abs(logits - reference))
    print(f"\nThe whole pass in float64, from the tokens on, gives logits that differ by at most {drift:.1e} (they span "
          f"{np.ptp(reference):.0f}).")
    table.failed += int(np.argmax(reference) != np.argmax(logits))
    explain(plait, {"T": t, "D": d, "F": f})


def top(p: np.ndarray, reference: np.ndarray, texts: list[str], text: str) -> None:
    print(f"What follows {text!r}:\n\n  {'token':<14} {'plait':>8} {'float64':>8}")
    for k in np.argsort(-p)[:5]:
        print(f"  {texts[k]!r:<14} {p[k]:8.4f} {reference[k]:8.4f}")


def explain(plait: Plait, dims: dict[str, int]) -> None:
    print("\n$ plait explain examples/smollm2/mlp.plait " + " ".join(f"-D {k}={n}" for k, n in dims.items()) + "\n")
    print(plait.explain("mlp", dims), end="")


# ---- The slice kept beside the examples --------------------------------------------------------------------------

def offline(plait: Plait, table: Table) -> None:
    facts = json.loads((SLICE / "facts.json").read_text())
    get = lambda name: np.load(SLICE / f"{name}.npy")
    emb, candidates = Weights(get("embedding"), "q8_0"), Weights(get("candidates"), "q8_0")
    gate, up = Weights(get("gate"), "q4_1"), Weights(get("up"), "q4_1")
    t, d, f, c = len(facts["ids"]), emb.shape[1], gate.shape[0], candidates.shape[0]
    print("OFFLINE: the package with the weights is not used. This runs a slice of the same tensors, from examples/data:\n"
          f"the embedding of {t} tokens, layer 0's norm and {f} of 1536 rows of its gate and up projections, and the head\n"
          f"for the {c} likeliest of 49152 tokens. The attention and the other layers are left out.")
    print(f"text      {facts['text']!r}\ntokens    {t}: {' '.join(repr(w) for w in facts['tokens'])}")

    ids = np.arange(t, dtype=np.int32)               # rows of the slice
    x, = plait.run("embed", ["x"], table=emb, ids=ids)
    table.step("embedding of the tokens, 8-bit table", "embed", {"V": t, "D": d, "T": t}, [(x, exact(emb.decode()[0]))])
    r, g = get("residual"), get("ffn_norm")
    s, h = plait.run("add_norm", ["s", "h"], x=x, r=r, g=g)
    table.step("layer 0: residual and norm", "add_norm", {"T": t, "D": d}, list(zip((s, h), add_norm(exact(x), exact(r), g))))
    y, = plait.run("gate_up", ["f"], h=h, gate=gate, up=up)
    table.step("layer 0: silu(gate) * up, 4-bit weights", "gate_up", {"T": t, "D": d, "F": f}, [(y, gate_up(exact(h), gate, up))])
    last, g = get("last"), get("output_norm")
    logits, = plait.run("head", ["logits"], x=last, g=g, table=candidates)
    reference = head(exact(last), g, candidates)
    table.step(f"final norm and head, {c} candidates", "head", {"T": 1, "D": d, "V": c}, [(logits, reference)])
    p, = plait.run("softmax", ["p"], logits=logits)
    table.step(f"softmax of {c} logits", "softmax", {"T": 1, "V": c}, [(p, bounds.softmax(exact(logits)))])
    table.print()
    top(p[0], bounds.softmax(exact(reference.v)).v[0], facts["candidates"], facts["text"])
    explain(plait, {"T": t, "D": d, "F": 1536})


def main() -> int:
    args = argparse.ArgumentParser(description="Runs SmolLM2-135M-Instruct through Plait and checks every step.")
    args.add_argument("--text", default="The capital of France is", help="what to continue")
    args.add_argument("--offline", action="store_true", help="use the slice in examples/data")
    args.add_argument("--plait", default=str(ROOT / "build" / "plait"), help="the plait program")
    o = args.parse_args()
    if not os.access(o.plait, os.X_OK):
        say(f"{o.plait} is not there: build Plait first (cmake -G Ninja -S . -B build && ninja -C build)")
        return 3
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plait = Plait(o.plait, Path(folder))
        table = Table(plait)
        try:
            if o.offline or not weights_file():
                offline(plait, table)
            else:
                online(plait, table, o.text)
        except Failed as e:
            say(str(e))
            return 1
    print(f"\n{len(table.rows) - table.failed} of {len(table.rows)} steps within their bounds; "
          f"{plait.runs} runs of plait in {plait.seconds:.0f} s, {time.perf_counter() - start:.0f} s in all.")
    return int(table.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
