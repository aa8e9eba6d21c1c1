#!/usr/bin/env python3
"""Runs SmolLM2-135M-Instruct through Plait and checks every step against float64.

    examples/smollm2/run.sh [--text TEXT] [--offline]         (run.sh provides the packages)

Each step is a Plait program beside this file, run with `plait run` on the model's own tensors; quantised matrices go in
as the bytes that the weights file holds. A step's result is compared, element by element, with float64 arithmetic on the
same inputs, within bounds that follow from the computation (reference.py, bounds.py). The exit status is 1 when one is exceeded.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import numpy as np

from bounds import U, Val, exact, softmax
from model import Model, Weights, weights_file
from reference import add_norm, attend, gate_up, head, mlp_half, qkv

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SLICE = HERE.parent / "data" / "smollm2"


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
        found = [compare(got, ref) for got, ref in pairs]
        (error, bound, _), used = max(found), max(f[2] for f in found)
        report = json.loads(self.plait.explain(program, dims, "--json"))
        self.failed += not used <= 1
        self.rows.append(self.ROW.format(
            what, program, len(report["kernels"]), number(error), number(bound),
            "exact" if bound == 0 == error else f"{100 * used:.2f} %" if used <= 1 else "FAILED",
            size(report["bytes_fused"]), f"{report['bytes_fused'] / report['bytes_minimum']:.2f}"))
        say("  " + what)

    def print(self) -> None:
        head = self.ROW.format("step", "program", "kernels", "error", "bound", "of bound", "moved", "÷ least")
        print("\n".join(["", head, "─" * len(head), *self.rows, ""]))
        print("error: the largest, and the bound of that element; of bound: the largest share that any element takes of its own.\n"
              "moved: bytes to and from memory in one run; ÷ least: beside reading each input and writing each result once.\n")


def compare(got: np.ndarray, ref: Val) -> tuple[float, float, float]:
    """The largest error, its bound, and the largest error / bound of any element. NaN is beyond all bounds."""
    if got.shape != ref.v.shape or not np.isfinite(got).all():
        return float("inf"), 0.0, float("inf")
    error, bound = np.abs(got - ref.v).ravel(), ref.e.ravel()
    k = int(np.argmax(error))
    used = np.where(error > 0, error / np.maximum(bound, 1e-300), 0.0)
    return float(error[k]), float(bound[k]), float(np.max(used))


def number(x: float) -> str:
    return "0" if x == 0 else f"{x:.1e}"


def size(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"


# ---- The whole model ---------------------------------------------------------------------------------------------

class Layer:
    """The weights of one decoder layer, by the names that the programs use."""

    def __init__(self, model: Model, k: int):
        get = lambda names: {a: model.matrix(f"blk.{k}.{b}") for a, b in names.items()}
        self.g1, self.g2 = model.norm(f"blk.{k}.attn_norm"), model.norm(f"blk.{k}.ffn_norm")
        self.qkv = get({"wq": "attn_q", "wk": "attn_k", "wv": "attn_v"})
        self.wo = model.matrix(f"blk.{k}.attn_output")
        self.mlp = get({"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"})


def check_decoding(model: Model) -> None:
    """Our decoding of blocks against the gguf package's, which rounds to float32."""
    from gguf.quants import dequantize
    for name in ("blk.0.ffn_gate", "token_embd"):
        t = model.tensors[name + ".weight"]
        theirs, (ours, sizes) = dequantize(t.data[:64], t.tensor_type), Weights(t.data[:64], t.tensor_type.name.lower()).decode()
        assert (np.abs(theirs - ours) <= U * sizes).all(), name


class Pass:
    """A forward pass through Plait, and beside it, in a thread of its own, the checks and the same pass in float64."""

    def __init__(self, plait: Plait, model: Model, ids: np.ndarray):
        self.plait, self.model, self.pos = plait, model, np.arange(len(ids), dtype=np.int32)
        self.embedding = model.matrix("token_embd")
        self.x, = plait.run("embed", ["x"], table=self.embedding, ids=ids)
        self.free = exact(self.x)                # what float64 alone makes of the tokens
        self.checks = {"qkv": [], "attend": [], "mlp": []}
        self.pool = ThreadPoolExecutor(1)

    def layer(self, k: int) -> Future:
        run, w, x = self.plait.run, Layer(self.model, k), self.x
        q, k, v = run("qkv", ["q", "k", "v"], x=x, g=w.g1, pos=self.pos, **w.qkv)
        self.r, = run("attend", ["r"], q=q, k=k, v=v, wo=w.wo)
        self.x, = run("mlp", ["y"], x=x, r=self.r, g=w.g2, **w.mlp)
        return self.pool.submit(self.check, w, x, q, k, v, self.r, self.x)

    def check(self, w: Layer, x, q, k, v, r, y) -> None:
        inputs = self.pos, self.model.base
        self.checks["qkv"] += zip((q, k, v), qkv(exact(x), w.g1, w.qkv, *inputs))
        self.checks["attend"].append((r, attend(exact(q), exact(k), exact(v), w.wo)))
        self.checks["mlp"].append((y, mlp_half(exact(x), exact(r), w.g2, w.mlp)))
        alone = attend(*map(drop, qkv(self.free, w.g1, w.qkv, *inputs)), w.wo)
        self.free = drop(mlp_half(self.free, drop(alone), w.g2, w.mlp))


def drop(a: Val) -> Val:
    return exact(a.v)


def show_text(text: str, tokens: list[str]) -> None:
    print(f"text    {text!r}\ntokens  {len(tokens)}: {' '.join(map(repr, tokens))}", flush=True)


def online(plait: Plait, table: Table, text: str) -> None:
    say("reading the weights")
    path = weights_file()
    model = Model(path)
    check_decoding(model)
    tokens = model.tokenizer
    ids = np.array(tokens.encode(text), dtype=np.int32)
    assert tokens.decode(ids) == text
    emb, g = model.matrix("token_embd"), model.norm("output_norm")
    v, d = emb.shape
    print(f"{path.name}, {path.stat().st_size / 1e6:.1f} MB: {model.layers} layers, {d} wide, {v} tokens")
    show_text(text, [tokens.decode([k]) for k in ids])

    say("running")
    run = Pass(plait, model, ids)
    dims = {"T": len(ids), "D": d}
    table.step("embedding of the tokens, 8-bit table", "embed", {**dims, "V": v}, [(run.x, exact(emb.rows(ids).decode()[0]))])
    first = Layer(model, 0)
    f = first.mlp["gate"].shape[0]
    x, done = run.x, [run.layer(0)]
    front(plait, table, x, run.r, first.g2, first.mlp["gate"], first.mlp["up"])
    for k in range(1, model.layers):
        done.append(run.layer(k))
        if k % 5 == 4:
            say(f"  {k + 1} of {model.layers} layers")
    for future in done:
        future.result()
    checks = run.checks
    table.step("norm, projections, positions: all layers", "qkv", {**dims, "H": model.heads, "G": model.kv_heads}, checks["qkv"])
    table.step("attention and its projection: all layers", "attend", {**dims, "H": model.heads, "G": model.kv_heads, "E": 64}, checks["attend"])
    table.step("MLP with residuals: all layers", "mlp", {**dims, "F": f}, checks["mlp"])
    logits, p = back(plait, table, run.x[-1:], g, emb)

    alone = head(run.free[-1:], g, emb).v
    table.print()
    top(p[0], probabilities(alone)[0], lambda k: tokens.decode([k]), text)
    print(f"\nfloat64: the whole pass from the tokens on, without Plait. Its logits differ by at most "
          f"{np.max(np.abs(logits - alone)):.1e}; they span {np.ptp(alone):.0f}.")
    table.failed += int(np.argmax(alone) != np.argmax(logits))
    explain(plait, {**dims, "F": f})


def front(plait: Plait, table: Table, x: np.ndarray, r: np.ndarray, g: np.ndarray, gate: Weights, up: Weights) -> None:
    """Layer 0's residual, norm and gated activation, each looked at alone."""
    dims = {"T": x.shape[0], "D": x.shape[1]}
    s, h = plait.run("add_norm", ["s", "h"], x=x, r=r, g=g)
    table.step("layer 0: residual, rounded once", "add_norm", dims, [(s, exact(x + r))])
    table.step("layer 0: its norm, in the same kernel", "add_norm", dims, [(h, add_norm(exact(x), exact(r), g)[1])])
    f, = plait.run("gate_up", ["f"], h=h, gate=gate, up=up)
    table.step("layer 0: silu(gate) * up, 4-bit weights", "gate_up", {**dims, "F": gate.shape[0]}, [(f, gate_up(exact(h), gate, up))])


def back(plait: Plait, table: Table, last: np.ndarray, g: np.ndarray, rows: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the last token, and their softmax."""
    v, d = rows.shape
    logits, = plait.run("head", ["logits"], x=last, g=g, table=rows)
    table.step("last token: final norm and head", "head", {"T": 1, "D": d, "V": v}, [(logits, head(exact(last), g, rows))])
    p, = plait.run("softmax", ["p"], logits=logits)
    table.step(f"last token: softmax of {v} logits", "softmax", {"T": 1, "V": v}, [(p, softmax(exact(logits)))])
    return logits, p


def probabilities(logits: np.ndarray) -> np.ndarray:
    return softmax(exact(logits)).v


def top(p: np.ndarray, alone: np.ndarray, name: Callable[[int], str], text: str) -> None:
    print(f"What follows {text!r}:\n\n  {'token':<14} {'plait':>8} {'float64':>8}")
    for k in np.argsort(-p)[:5]:
        print(f"  {name(k)!r:<14} {p[k]:8.4f} {alone[k]:8.4f}")


def explain(plait: Plait, dims: dict[str, int]) -> None:
    print("\n$ plait explain examples/smollm2/mlp.plait " + " ".join(f"-D {k}={n}" for k, n in dims.items()) + "\n")
    print(plait.explain("mlp", dims), end="")


# ---- The slice kept beside the examples --------------------------------------------------------------------------

def offline(plait: Plait, table: Table) -> None:
    facts = json.loads((SLICE / "facts.json").read_text())
    get = lambda name: np.load(SLICE / f"{name}.npy")
    emb, candidates = Weights(get("embedding"), "q8_0"), Weights(get("candidates"), "q8_0")
    gate, up = Weights(get("gate"), "q4_1"), Weights(get("up"), "q4_1")
    t, d, f, c = len(facts["tokens"]), emb.shape[1], gate.shape[0], candidates.shape[0]
    print("OFFLINE: without the package that has the weights, this runs a slice of the same tensors, kept in examples/data:\n"
          f"the embedding of {t} tokens, layer 0's norm and {f} of the 1536 rows of its gate and up projections, and the head\n"
          f"for the {c} likeliest of 49152 tokens. Attention and the other layers are left out: what they gave is kept too.\n")
    show_text(facts["text"], facts["tokens"])

    say("running")
    x, = plait.run("embed", ["x"], table=emb, ids=np.arange(t, dtype=np.int32))
    table.step("embedding of the tokens, 8-bit table", "embed", {"V": t, "D": d, "T": t}, [(x, exact(emb.decode()[0]))])
    front(plait, table, x, get("attended"), get("ffn_norm"), gate, up)
    last, g = get("last"), get("output_norm")
    logits, p = back(plait, table, last, g, candidates)
    table.print()
    alone = head(exact(last), g, candidates).v
    top(p[0], probabilities(alone)[0], lambda k: facts["candidates"][k], facts["text"])
    print("\nBoth columns are shares among the candidates. float64: norm, head and softmax without Plait.")
    explain(plait, {"T": t, "D": d, "F": 1536})


def main() -> int:
    args = argparse.ArgumentParser(description="Runs SmolLM2-135M-Instruct through Plait and checks every step.")
    args.add_argument("--text", default="The capital of France is", help="what to continue")
    args.add_argument("--offline", action="store_true", help="use the slice in examples/data")
    args.add_argument("--plait", default=str(ROOT / "build" / "plait"), help="the plait program")
    o = args.parse_args()
    if not o.text:
        args.error("--text: a text is needed")
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
