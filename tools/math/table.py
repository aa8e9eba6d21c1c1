#!/usr/bin/env python3
"""The tables of errors and times in docs/math.md: builds tools/math/sweep.c, runs it, and writes them between their markers.

    tools/math/table.py                       errors over all 2^32 floats: an hour and a half of two cores
    tools/math/table.py --time                times; on a machine that does nothing else
    tools/math/table.py --step 997 exp erf    a quick look at some functions: prints, writes nothing

Results of pieces that are done are kept in BUILD/math, so that a sweep that was stopped goes on where it was.
"""
import argparse, hashlib, os, pathlib, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = "-std=gnu17 -w -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math -fno-strict-aliasing -shared -fPIC".split()
CLANG, GCC = ["clang-19", "-ffp-contract=on"], ["gcc", "-ffp-contract=fast"]        # as runtime/jit_clang.cpp and jit_cc.c
WIDE = ["-march=native", "-mprefer-vector-width=512"]
JUDGED = [("clang, FMA", CLANG + WIDE), ("gcc, FMA", GCC + WIDE), ("clang", CLANG + ["-march=x86-64"]), ("gcc", GCC + ["-march=x86-64"])]
TIMED = [(f"{cc[0].split('-')[0]} {name}", cc + flags)
         for name, flags in (("AVX-512", WIDE), ("AVX2", ["-march=x86-64-v3"]), ("SSE2", ["-march=x86-64"])) for cc in (CLANG, GCC)]
PIECES, PAIRS = 16, 1 << 30


def output(*command):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def bodies(text):
    """Name to text of each function."""
    parts = re.split(r"^(?=(?:static inline|void) )", text, flags=re.M)
    return {re.search(r"(?!__attribute__)\b(\w+)\(\w", part).group(1): part for part in parts if "(" in part}


class Sweep:
    """The program, its list of functions, and shared objects of the loops made in several ways."""

    def __init__(self, build, ways):
        output("cmake", "--build", build, "--target", "math-sweep")
        self.program = build / "math-sweep"
        text = output(self.program, "write")
        self.ways, self.bodies = ways, bodies(text)
        self.folder = build / "math"
        self.folder.mkdir(exist_ok=True)
        self.objects = [self.compile(text, way) for _, way in ways]
        self.functions = [line.split() for line in output(self.program, "names").splitlines()]

    def compile(self, text, way):
        path = self.folder / f"{digest(text + repr(way))}.so"
        if not path.exists():
            source = path.with_suffix(".c")
            source.write_text(text)
            output(way[0], *FLAGS, *way[1:], source, "-o", path, "-lm")
        return path

    def key(self, name):
        """Says which text of the function, and of all that it calls, a kept piece is about."""
        seen, todo = [], [f"loop_{name}"]
        while todo:
            f = todo.pop()
            seen.append(f)
            todo += [w for w in sorted(set(re.findall(r"\w+", self.bodies[f]))) if w in self.bodies and w not in seen + todo]
        return digest("".join(self.bodies[f] for f in seen) + repr(self.ways))

    def kept(self, name, piece, step):
        return self.folder / f"{name}.{self.key(name)}.{piece}.{step}"

    def judge(self, names, two, piece, step):
        """Judges one piece for those of the names for which it has not been done: forms of one operation."""
        count = (PAIRS if two else 1 << 32) // PIECES
        missing = [name for name in names if not self.kept(name, piece, step).exists()]
        if not missing:
            return
        lines = output(self.program, "judge", piece * count, count, step, ",".join(missing), *self.objects).splitlines()
        for k, name in enumerate(missing):
            path = self.kept(name, piece, step)
            path.with_suffix(".new").write_text("\n".join(lines[k * len(self.ways):(k + 1) * len(self.ways)]))
            os.replace(path.with_suffix(".new"), path)

    def judged(self, name, piece, step):
        return [line.split() for line in self.kept(name, piece, step).read_text().splitlines()]


def worst_of(pieces, way):
    """Largest error, where, how many wrong and how many unlike the way before."""
    rows = [piece[way] for piece in pieces]
    top = max(rows, key=lambda r: float(r[0]))
    return float(top[0]), top[1:3], sum(int(r[3]) for r in rows), sum(int(r[4]) for r in rows)


def error_text(name, error, limit, composed):
    coarse = name.endswith("f16")
    return f"2^{logarithm(error):.2f}" if coarse else f"{error * 2**24:.2f}" if composed else f"{error:.3f}"


def logarithm(x):
    import math
    return math.log2(x) if x > 0 else -1074.0


def sweep_errors(s, wanted, step, jobs):
    rows, bad = [], 0
    functions = [f for f in s.functions if not wanted or f[0] in wanted]
    groups = {}
    for name, op, two, limit in functions:
        groups.setdefault(op if op != "none" else name, []).append((name, op, two == "1", float(limit)))
    with ThreadPoolExecutor(jobs) as pool:
        for group in groups.values():
            names, two = [f[0] for f in group], group[0][2]
            list(pool.map(lambda k: s.judge(names, two, k, step), range(PIECES)))
            for name, op, _, limit in group:
                row, row_bad = error_row(name, op, two, limit, [s.judged(name, k, step) for k in range(PIECES)])
                print(row, flush=True)
                rows.append(row)
                bad += row_bad
    return rows, bad


def error_row(name, op, two, limit, pieces):
    composed = op == "none"
    cells, bad = [], 0
    for way in (0, 2):
        error, at, wrong, _ = worst_of(pieces, way)
        cells += [error_text(name, error, limit, composed), ", ".join(f"`{v}`" for v in at[:2 if two else 1])]
        bad += wrong > 0 or (not composed and error > limit)
    unlike = worst_of(pieces, 1)[3] + worst_of(pieces, 3)[3]
    allowed = "" if composed else error_text(name, limit, limit, False).replace(".00", "").replace(".000", "")
    if not composed and not name.endswith("f16"):
        allowed = f"{limit:g}"
    return f"| `{name}` | {allowed} | " + " | ".join(cells) + f" | {unlike or 'the same'} |", bad + (unlike > 0)


HEAD_ERRORS = ["| function | allowed | with FMA | at | without | at | bits by gcc and clang |", "|---|--:|--:|---|--:|---|---|"]


def sweep_times(s, wanted):
    rows = []
    for name, *_ in s.functions:
        if wanted and name not in wanted:
            continue
        ns = output(s.program, "time", name, *s.objects).split()
        rows.append(f"| `{name}` | " + " | ".join(f"{float(v):.2f}" for v in ns) + " |")
        print(rows[-1], flush=True)
    return rows


HEAD_TIMES = ["| ns | " + " | ".join(name for name, _ in TIMED) + " |", "|---|" + "--:|" * len(TIMED)]


def machine(s):
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    kind = "AMX, AVX-512" if "amx_tile" in flags else "AVX-512" if "avx512f" in flags else "AVX2"
    return f"{model.group(1) if model else 'unknown'} ({kind}), {output(s.program, 'clock').strip()} GHz"


def write(mark, lines):
    """Puts the lines between `<!-- mark -->` and the next `<!-- end -->` of docs/math.md."""
    path = ROOT / "docs" / "math.md"
    before, rest = path.read_text().split(f"<!-- {mark} -->\n", 1)
    after = rest[rest.index("<!-- end -->"):]
    path.write_text(before + f"<!-- {mark} -->\n" + "\n".join(lines) + "\n" + after)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", help="functions; without any: all, and the table is written")
    p.add_argument("--time", action="store_true", help="times instead of errors")
    p.add_argument("--step", type=int, default=1, help="every N-th float only; prints, writes nothing")
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    o = p.parse_args()
    s = Sweep(o.build, TIMED if o.time else JUDGED)
    whole = not o.names and o.step == 1
    if o.time:
        rows, bad = sweep_times(s, o.names), 0
        lines = [f"{machine(s)}; one thread, 4096 elements in L1.", ""] + HEAD_TIMES + rows
    else:
        rows, bad = sweep_errors(s, o.names, o.step, o.jobs)
        lines = HEAD_ERRORS + rows
    if whole:
        write("times" if o.time else "errors", lines)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
