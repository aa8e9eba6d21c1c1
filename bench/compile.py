#!/usr/bin/env python3
"""How the time from text to C, or CUDA C, grows with the number of equations: generated programs of 10 to 10,000.

    bench/compile.py [--target cuda] [--shape NAMES] [--sizes 10,100,1000] [--runs 3] [--limit SECONDS] > compile.jsonl
    bench/compile.py --table compile.jsonl

A line for each shape and size: milliseconds by stage (the fastest of the runs, each in a process of its own), of the
front end, and of passes and emission, which are asked to stay below 1 s for 1,000 equations. Then a line for each
shape with the exponent by which passes and emission grow: the slope of log time over log size, from 100 equations on.
n log n has a slope of 1.1 to 1.2 there.
"""
import argparse
import collections
import json
import math
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FRONT = ("parse", "sema")


def chain(n):
    """One value through n operations; every seventh reads the input again."""
    forms = ["a{0} = a{1} * 1.0625 + 0.25", "a{0} = abs(a{1}) - 0.5", "a{0} = max(a{1}, -2.0)", "a{0} = a{1} / (1 + abs(a{1}))",
             "a{0} = a{1} * b", "a{0} = sqrt(abs(a{1}) + 1)", "a{0} = a{1} - x"]
    body = ["a0 = x + b"] + [forms[i % 7].format(i, i - 1) for i in range(1, n - 1)]
    return program("x: f32[N, D], b: f32[D]", "y: f32[N, D]", [*body, f"y = a{n - 2} + x"])


def independent(n):
    """Up to 100 results, each with an input, a length and a chain of its own."""
    k = min(n, 100)
    body = []
    for i in range(k):
        steps = n // k + (i < n % k)
        names = ["x", *(f"t{s}_" for s in range(steps - 1)), "y"]
        body += [f"{names[s + 1]}{i} = abs({names[s]}{i} * {1 + i % 5}.5) + {s}" for s in range(steps)]
    return program(", ".join(f"x{i}: f32[N{i}]" for i in range(k)), ", ".join(f"y{i}: f32[N{i}]" for i in range(k)), body)


def siblings(n):
    """Reductions over the rows of one input, of which up to 100 results are sums: nine in ten equations are reductions."""
    k, many = min(100, max(1, n // 10)), n - min(100, max(1, n // 10))
    kinds = ("sum[j](x[i, j] * {0}.5)", "max[j](x[i, j] + {0})", "sum[j](abs(x[i, j] - {0}))")
    body = [f"s{e}[i] = {kinds[e % 3].format(e)}" for e in range(many)]
    body += [f"y{r}[i] = " + " + ".join(f"s{e}[i]" for e in range(r, many, k)) for r in range(k)]
    return program("x: f32[N, D]", ", ".join(f"y{r}: f32[N]" for r in range(k)), body)


def norms(n):
    """Blocks as in a model without its products: residual, RMS norm, gate, softmax; the column sums
    of up to 32 blocks are results."""
    body, results, last, blocks = [], ["y: f32[N, D]"], "x", max(1, n // 7)
    every = -(-blocks // 32)                              # block whose column sum is a result
    for k in range(blocks):
        body += [f"m{k}[i] = mean[j]({last}[i, j] * {last}[i, j])", f"h{k}[i, j] = {last}[i, j] * rsqrt(m{k}[i] + 1e-5) * w[j]",
                 f"g{k}[i, j] = h{k}[i, j] / (1 + exp(-h{k}[i, j]))", f"t{k}[i] = max[j](g{k}[i, j])",
                 f"z{k}[i] = sum[j](exp(g{k}[i, j] - t{k}[i]))", f"p{k}[i, j] = exp(g{k}[i, j] - t{k}[i]) / z{k}[i]",
                 f"s{k}[i, j] = p{k}[i, j] + {last}[i, j]"]
        last = f"s{k}"
        if k % every == 0:
            body.append(f"c{k}[j] = sum[i](p{k}[i, j])")
            results.append(f"c{k}: f32[D]")
    return program("x: f32[N, D], w: f32[D]", ", ".join(results), [*body, f"y = {last} * 2"])


def shift(n):
    """Each equation reads its neighbour in the one before, where there is one."""
    body = [f"t{k}[i < N] = 0.5 * {f't{k - 1}' if k else 'x'}[i] + ({f't{k - 1}' if k else 'x'}[i + 1] ?? 0)" for k in range(n)]
    return program("x: f32[N]", "y: f32[N]", [*body, f"y = t{n - 1} * 2"])


SHAPES = {"chain": chain, "independent": independent, "siblings": siblings, "norms": norms, "shift": shift}


def program(params, results, body):
    return f"fn f({params}) -> ({results}) {{\n  " + "\n  ".join(body) + "\n}\n"


def one(shape, n, target):
    """Milliseconds by stage of one program, on stdout: the work of a process of its own."""
    sys.path.insert(0, str(HERE))
    import plait
    spent = collections.Counter()
    note = plait.TIMING(lambda _user, stage, ms: spent.update({stage.decode(): ms}))
    text = SHAPES[shape](n)
    entry = plait.Context().entry("generated.plait", text, timing=note)
    printed = entry.emit(target, timing=note)
    print(json.dumps({"stages": spent, "text_bytes": len(text), f"{target}_bytes": len(printed)}))


def timed(shape, n, target, runs, limit):
    """The fastest run, or what went wrong."""
    best = None
    for _ in range(runs):
        try:
            done = subprocess.run([sys.executable, __file__, "--one", shape, str(n), "--target", target], capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"error": f"more than {limit:g} s"}
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300]}
        run = json.loads(done.stdout)
        run["front_ms"] = round(sum(v for k, v in run["stages"].items() if k in FRONT), 3)
        run["passes_and_emit_ms"] = round(sum(v for k, v in run["stages"].items() if k not in FRONT), 3)
        if not best or run["passes_and_emit_ms"] < best["passes_and_emit_ms"]:
            best = run
        if sum(run["stages"].values()) > 5000:            # long enough that noise does not count
            break
    return best


def slope(points):
    """Of log time over log size, least squares."""
    xs, ys = [math.log(n) for n, _ in points], [math.log(t) for _, t in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)


def measure(opt):
    for shape in opt.shape.split(","):
        points = []
        for n in map(int, opt.sizes.split(",")):
            line = {"kind": "compile", "shape": shape, "target": opt.target, "equations": n} | timed(shape, n, opt.target, opt.runs, opt.limit)
            print(json.dumps(line), flush=True)
            print(f"{shape} {n}: {line.get('error') or line['passes_and_emit_ms']}", file=sys.stderr, flush=True)
            if "error" in line:
                break
            points.append((n, line))
        large = [p for p in points if p[0] >= 100]
        if len(large) >= 2:
            stages = set(large[-1][1]["stages"])
            print(json.dumps({"kind": "growth", "shape": shape, "target": opt.target, "from": large[0][0], "to": large[-1][0],
                              "passes_and_emit": round(slope([(n, l["passes_and_emit_ms"]) for n, l in large]), 2),
                              "front": round(slope([(n, l["front_ms"]) for n, l in large]), 2),
                              "by_stage": {s: round(slope([(n, max(l["stages"].get(s, 0), 1e-3)) for n, l in large]), 2) for s in sorted(stages)}}),
                  flush=True)


def table(path):
    lines = [json.loads(l) for l in open(path, encoding="utf-8")]
    sizes = sorted({l["equations"] for l in lines if l["kind"] == "compile"})
    growth = {l["shape"]: l for l in lines if l["kind"] == "growth"}
    print("| passes and emission, ms | " + " | ".join(f"{n:,}" for n in sizes) + " | exponent | steepest stages |\n|---" + "|---" * (len(sizes) + 2) + "|")
    for shape in dict.fromkeys(l["shape"] for l in lines):
        at = {l["equations"]: l for l in lines if l["kind"] == "compile" and l["shape"] == shape}
        cells = [f"{at[n]['passes_and_emit_ms']:.1f}" if "stages" in at.get(n, {}) else at.get(n, {}).get("error", "") for n in sizes]
        g = growth.get(shape, {"passes_and_emit": "", "by_stage": {}})
        steep = sorted(g["by_stage"].items(), key=lambda s: -s[1])[:3]
        print(f"| {shape} | " + " | ".join(cells) + f" | {g['passes_and_emit']} | " + ", ".join(f"{s} {e}" for s, e in steep) + " |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", default=",".join(SHAPES), help="of " + ", ".join(SHAPES))
    p.add_argument("--target", choices=("c", "cuda"), default="c", help="what is printed (c)")
    p.add_argument("--sizes", default="10,30,100,300,1000,3000,10000")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--limit", type=float, default=60, help="seconds for one program (60); what takes longer ends its shape")
    p.add_argument("--table", metavar="FILE", help="print a Markdown table of these lines")
    p.add_argument("--print", nargs=2, metavar=("SHAPE", "N"), help="print the program")
    p.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    opt = p.parse_args()
    if opt.one:
        one(opt.one[0], int(opt.one[1]), opt.target)
    elif opt.print:
        print(SHAPES[opt.print[0]](int(opt.print[1])), end="")
    elif opt.table:
        table(opt.table)
    else:
        measure(opt)


if __name__ == "__main__":
    main()
