#!/usr/bin/env python3
"""Runs the inline PTX of folds, which the emulator does not see, on numbers: every thread gets the fold of its team's values.

    tests/cuda_emu/fold_ptx.py build/plait

Programs are printed for many lengths and counts of rows and columns, so that teams of all shapes come up: parts of warps, warps, blocks,
clusters' blocks, columns. Each helper's statement is run for all threads of its block, an instruction at a time, on values whose
sums are exact. The last line is `N passed, N failed`.
"""
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROW = "fn f(x: f32[N, D]) -> y: f32[N, D] {{ y[i, j] = x[i, j] - {}[k](x[i, k]) }}"
COLUMN = "fn f(x: f32[N, D]) -> y: f32[D] {{ y[j] = {}[i](x[i, j]) }}"
LENGTHS = (64, 128, 256, 512, 1000, 2048, 4096, 8192, 16384, 65536, 131072)
SHAPES = [(ROW, n, d) for n in (8, 4096) for d in LENGTHS] + [(COLUMN, d, n) for n in (64, 512, 4096, 16384) for d in (4096, 131072)]
HELPER = re.compile(r"forceinline__ float (\w+)_(sum|max|min)_f32\(float v(?:, float \*part)?\) \{\n#ifdef PLAIT_EMU\n.*?#else\n  asm volatile\((.*?)\n      : (.*?)\);\n#endif", re.S)
FOLD = {"sum": sum, "max": max, "min": min}
COMBINE = {"add.f32": lambda a, b: a + b, "max.NaN.f32": max, "min.NaN.f32": min}
INTEGER = {"and.b32": lambda a, b: a & b, "shr.u32": lambda a, b: a >> b, "setp.eq.u32": lambda a, b: a == b}


class Block:
    """Threads with registers, and shared memory by address."""
    def __init__(self, values, mask):
        self.count, self.shared = len(values), {}
        self.registers = [{"%0": v, "%1": mask if mask is not None else 1024, "%2": t} for t, v in enumerate(values)]

    def value(self, t, text):
        return self.registers[t][text] if text in self.registers[t] else int(text)

    def address(self, t, text):
        base, _, offset = text.strip("[]").partition(" + ")
        return self.value(t, base) + int(offset or 0)

    def step(self, t, before, op, args):
        """What one thread does; `before`: all registers as they were, for shuffles."""
        own = self.registers[t]
        if op == "shfl.sync.bfly.b32":
            to, of, lane, _, members = args
            if not self.value(t, members) >> t % 32 & 1:
                raise AssertionError(f"lane {t % 32} shuffles outside of its mask")
            own[to] = before[t ^ int(lane)][of]
        elif op in COMBINE or op in INTEGER:
            own[args[0]] = (COMBINE.get(op) or INTEGER[op])(self.value(t, args[1]), self.value(t, args[2]))
        elif op == "mad.lo.u32":
            own[args[0]] = self.value(t, args[1]) * self.value(t, args[2]) + self.value(t, args[3])
        elif op == "mov.f32":
            own[args[0]] = self.value(t, args[1])
        elif op == "st.shared.f32":
            self.shared[self.address(t, args[0])] = self.value(t, args[1])
        elif op.startswith("ld.shared"):
            to, start = [a.strip("{}") for a in args[:-1]], self.address(t, args[-1])
            if start % (4 * len(to)):
                raise AssertionError(f"{op} at {start}")
            own.update({name: self.shared[start + 4 * k] for k, name in enumerate(to)})
        else:
            raise AssertionError(f"what is {op}?")

    def run(self, text):
        for line in text.split(";"):
            m = re.match(r"\s*(?:@(\w+) )?([\w.]+) ?(.*)$", line.strip(" {}"), re.S) if not line.strip().startswith("{ .reg") else None
            if not m or m[2].startswith(".reg") or m[2] == "bar.sync":
                continue
            before = [dict(r) for r in self.registers]
            for t in range(self.count):
                if not m[1] or self.registers[t][m[1]]:
                    self.step(t, before, m[2], [a.strip() for a in m[3].split(", ")])


def team_of(name, t, threads):
    """The threads whose values thread t gets."""
    if name.startswith("every"):
        stride = int(re.match(r"every(\d+)_", name)[1])
        return range(t % stride, threads, stride)
    size = {"lanes": int(name[5:]) if name.startswith("lanes") else 0, "warp": 32}.get(name[:5].rstrip("0123456789"), threads)
    return range(t // size * size, t // size * size + size)


def wrong(name, kind, asm, operands):
    """What is wrong with a helper; "" when nothing is."""
    numbers = re.findall(r"\d+", name)
    threads = int(numbers[-1]) if numbers and not name.startswith("lanes") else 64
    values = [float(random.randint(-1000, 1000)) for _ in range(threads)]
    block = Block(values, None)
    if "<<" in operands:
        ones, keep = re.search(r"0x(\w+)u << \(threadIdx.x & (\d+)\)", operands).groups()
        for t, r in enumerate(block.registers):
            r["%1"] = int(ones, 16) << (t & int(keep)) & 0xffffffff
    try:
        block.run("".join(re.findall(r'"([^"]*)"', asm)))
    except (AssertionError, KeyError) as e:
        return f"{type(e).__name__} {e}"
    bad = [t for t in range(threads) if block.registers[t]["%0"] != FOLD[kind](values[s] for s in team_of(name, t, threads))]
    return f"threads {bad[:4]} … have another value" if bad else ""


def main():
    plait, seen, passed, failed = sys.argv[1], set(), 0, 0
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.plait"
        for program, n, d in SHAPES:
            for kind in FOLD:
                path.write_text(program.format(kind))
                p = subprocess.run([plait, "emit", path, "--target", "cuda", "--arch", "sm_90", "-D", f"N={n}", "-D", f"D={d}"], capture_output=True, text=True, check=True)
                for name, kind_of, asm, operands in HELPER.findall(p.stdout):
                    if (name, kind_of) in seen:
                        continue
                    seen.add((name, kind_of))
                    why = wrong(name, kind_of, asm, operands)
                    passed, failed = passed + (not why), failed + bool(why)
                    if why:
                        print(f"{name}_{kind_of}: {why}")
    print(f"{len({re.sub('[0-9]+', '', name) for name, _ in seen})} kinds of teams: {', '.join(sorted({name for name, _ in seen}))}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed < 12


if __name__ == "__main__":
    sys.exit(main())
