#!/usr/bin/env python3
"""What can only be tested on a GPU, in as many processes as there are cores.

    tests/gpu/run.py [build/plait] [--only PARTS] [--count N] [--jobs N] [--tool-seconds N]

    fuzz       N (1000) random programs: kernels against the interpreter (plait-diff)
    ops        every operation, reduction and cast of every type on special values
    files      the programs of tests/ and examples/ with random shapes and inputs
    examples   every example as its `# Run:` line says, against the interpreter
    sanitize   compute-sanitizer's memcheck, racecheck, initcheck and synccheck on small programs of every kind of schedule

The last line is `N passed, M failed`. Without a GPU it says so and exits with 77. The emulator passes for one:
LD_LIBRARY_PATH=build/cuda_emu PLAIT_NVRTC=$PWD/build/cuda_emu/libnvrtc.so.13 tests/gpu/run.py --only files,examples
"""
import argparse
import concurrent.futures
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("fuzz", "ops", "files", "examples", "sanitize")
TYPES = "f64 f32 f16 bf16 f8e4m3 f8e5m2 i64 i32 i16 i8 i4 u64 u32 u16 u8 u4 bool".split()
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SPECIALS, UNFUSED = 100, 100      # more random programs, with special values and without fusion

# Small programs of every kind of schedule: a program of bench/gpu/cases and its arguments.
SANITIZED = {
    "chain20": "x=random:10007", "bias_gelu": "x=random:9x1024 b=random", "dropout_residual": "x=random:7x513 r=random p=0.1 seed=7",
    "softmax": "x=random:9x4096", "rms_norm": "x=random:64x4096 w=random", "layer_norm_residual": "x=random:5x1000 r=random w=random b=random",
    "causal_softmax": "s=random:2x64x64 scale=0.125", "sum_columns": "x=random:3000x128", "sum_all": "x=random:700x512",
    "column_moments": "x=random:2000x65", "cross_entropy": "x=random:3x20000 target=random:3:0..20000", "argmax": "x=random:3x40000",
    "cumsum": "x=random:4x5000", "transpose_bias_gelu": "x=random:130x70 b=random", "residual_norm_fp8": "x=random:4x4096 r=random w=random",
    "rope_qk": "q=random:1x2x5x64 k=random c=random s=random",
}
WIDE = {"softmax of a cluster": ("softmax", "x=random:2x131072")}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("plait", nargs="?", default=str(ROOT / "build" / "plait"))
    p.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help=f"of {', '.join(PARTS)}, separated by commas (all)")
    p.add_argument("--count", type=int, default=1000, help="of random programs (1000)")
    p.add_argument("--jobs", type=int, default=min(14, len(os.sched_getaffinity(0))), help="processes at once (the cores, at most 14)")
    p.add_argument("--tool-seconds", type=int, default=40, help="for each of compute-sanitizer's tools (40)")
    p.add_argument("--total", type=int, default=200, help="seconds after which no other test is begun (200)")
    return p.parse_args()


class Run:
    """Tests side by side, and what became of them."""

    def __init__(self, opt):
        self.plait, self.diff = str(Path(opt.plait).resolve()), str(Path(opt.plait).resolve().parent / "plait-diff")
        self.opt, self.passed, self.failed, self.started, self.examples = opt, 0, 0, time.monotonic(), examples(opt.plait)

    def command(self, *args, seconds=150):
        """Exit status and what was said; none later than 20 s behind the last moment to begin."""
        seconds = max(1, min(seconds, self.opt.total + 20 - (time.monotonic() - self.started)))
        try:
            done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, timeout=seconds, errors="replace")
        except subprocess.TimeoutExpired as e:
            return None, f"not done in {seconds:.0f} s\n{e.stdout or ''}"
        return done.returncode, done.stdout + done.stderr

    def counted(self, *args):
        """plait-diff: its own counts."""
        status, said = self.command(self.diff, *args, "--target", "cuda")
        if "no arguments were found" in said or "ended in a fault of the data" in said:
            return 0, 0, ""                               # random arguments do not fit a program whose data has structure
        found = re.search(r"^(\d+) passed, (\d+) failed", said, re.M)
        if not found or status not in (0, 1):
            return 0, 1, said
        return int(found[1]), int(found[2]), said if int(found[2]) else ""

    def example(self, path):
        with tempfile.TemporaryDirectory() as folder:
            try:
                command = self.examples.ready(path)
                found, meaning = (self.examples.results(command, Path(folder), t) for t in ("cuda", "ref"))
                assert found and found.keys() == meaning.keys()
                for name, (kind, value) in found.items():
                    self.examples.agree(name, kind, value, meaning[name][1])
            except self.examples.Skip:
                return 0, 0, ""
            except (AssertionError, subprocess.TimeoutExpired) as e:
                return 0, 1, str(e)
        return 1, 0, ""

    def sanitized(self, tool, program, arguments):
        """One tool over one program; clean when it says that nothing was found."""
        args = sum((["--in", a] if "random" in a else ["--set", a] for a in arguments.split()), [])
        run = [self.plait, "run", f"bench/gpu/cases/{program}.plait", "--target", "cuda", *entry(program), *args]
        status, said = self.command(sanitizer(), "--tool", tool, "--error-exitcode", "9", *run, seconds=self.opt.tool_seconds)
        clean = status == 0 and re.search(r"ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards", said)
        return (1, 0, "") if clean else (0, 1, said)

    def tests(self):
        """(name, function that gives passed, failed and what was said), the long ones first."""
        opt, parts = self.opt, self.opt.only.split(",")
        if "fuzz" in parts:
            yield from self.random_programs(opt.count, opt.jobs)
        if "ops" in parts:
            yield from ((f"ops {t}", lambda t=t: self.counted("ops", t)) for t in TYPES)
        if "files" in parts:
            yield from ((f"files {f}", lambda f=f: self.counted("files", f, "--count", "3")) for f in programs())
        if "examples" in parts:
            yield from ((f"example {p.relative_to(ROOT)}", lambda p=p: self.example(p)) for p in sorted((ROOT / "examples").rglob("*.plait")))

    def random_programs(self, count, jobs):
        kinds = [(1, count, []), (1000001, SPECIALS, ["--specials"]), (2000001, UNFUSED, ["--unfused"])]
        for begin, n, more in kinds if count >= 1000 else kinds[:1]:
            share = max(1, n // (8 * jobs))
            for first in range(begin, begin + n, share):
                yield f"fuzz from seed {first}", lambda s=first, k=min(share, begin + n - first), m=more: self.fuzz(s, k, m)

    def fuzz(self, seed, n, more):
        """n random programs; one by one where one of them ends the process."""
        passed, failed, said = self.counted("fuzz", "--count", str(n), "--seed", str(seed), *more)
        if passed or not failed or n == 1:
            return passed, failed, said if n > 1 or not failed else f"seed {seed} {' '.join(more)}\n{said}"
        each = [self.fuzz(s, 1, more) for s in range(seed, seed + n)]
        return sum(e[0] for e in each), sum(e[1] for e in each), "".join(e[2] for e in each)

    def sanitizer_tests(self):
        if "sanitize" not in self.opt.only.split(","):
            return
        if not sanitizer():
            print("sanitize: left out, there is no compute-sanitizer", flush=True)
            return
        all_programs = {k: (k, v) for k, v in SANITIZED.items()} | WIDE
        for tool in TOOLS:
            for name, (program, arguments) in all_programs.items():
                yield f"{tool} {name}", lambda t=tool, p=program, a=arguments: self.sanitized(t, p, a)

    def side_by_side(self, tests, jobs):
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(self.in_time, test): name for name, test in tests}
            for done in concurrent.futures.as_completed(running):
                self.note(running[done], *done.result())

    def in_time(self, test):
        if time.monotonic() - self.started > self.opt.total:
            return 0, 1, "not begun: no time left"
        return test()

    def note(self, name, passed, failed, said):
        self.passed, self.failed = self.passed + passed, self.failed + failed
        if failed:
            print(f"FAILED  {name}\n{said[-3000:]}", flush=True)

    def part(self, name, tests, jobs):
        tests, before, start = list(tests), (self.passed, self.failed), time.monotonic()
        self.side_by_side(tests, jobs)
        if tests:
            print(f"{name}: {self.passed - before[0]} passed, {self.failed - before[1]} failed, {time.monotonic() - start:.0f} s", flush=True)

    def all(self):
        self.part("programs", self.tests(), self.opt.jobs)
        self.part("compute-sanitizer", self.sanitizer_tests(), max(1, self.opt.jobs // 2))
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def sanitizer():
    places = ["/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/cuda/extras/compute-sanitizer"]
    return shutil.which("compute-sanitizer") or next((f"{p}/compute-sanitizer" for p in places if os.path.exists(f"{p}/compute-sanitizer")), None)


def examples(plait):
    """tests/examples/run.py as a module."""
    spec = importlib.util.spec_from_file_location("examples_run", ROOT / "tests" / "examples" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PLAIT = str(Path(plait).resolve())
    return module


def programs():
    """Files that have something to run."""
    found = [*ROOT.glob("tests/language/*.plait"), *ROOT.glob("tests/diff/programs/*.plait"), *ROOT.glob("examples/*/*.plait")]
    return sorted(str(p.relative_to(ROOT)) for p in found if re.search(r"^fn ", p.read_text(), re.M))


def entry(program):
    names = re.findall(r"^fn (\w+)", (ROOT / "bench" / "gpu" / "cases" / f"{program}.plait").read_text(), re.M)
    return ["--entry", names[-1]] if len(names) > 1 else []


def a_gpu_is_here(plait):
    """Whether a program runs, or why none does."""
    with tempfile.NamedTemporaryFile("w", suffix=".plait") as f:
        f.write("fn one(x: f32[N]) -> y: f32[N] { y = x + 1 }\n")
        f.flush()
        done = subprocess.run([plait, "run", f.name, "--target", "cuda", "--in", "x=random:100"], capture_output=True, text=True)
    return done.returncode == 0, done.stderr.strip()


def main():
    opt = options()
    good, why = a_gpu_is_here(opt.plait)
    if not good:
        print(f"no GPU: left out\n{why}")
        return 77
    return Run(opt).all()


if __name__ == "__main__":
    sys.exit(main())
