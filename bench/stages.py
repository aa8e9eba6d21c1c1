#!/usr/bin/env python3
"""Where the time from text to first result goes: the median of several cold starts of `plait run --time-passes`.

Usage: stages.py [--plait PATH] [--runs N] [PROGRAM]   (bench/thirty.plait)
Prints a Markdown table; each run is a process of its own, so nothing is cached.
"""
import argparse
import pathlib
import re
import shlex
import statistics
import subprocess
import time

HERE = pathlib.Path(__file__).parent


def arguments(program):
    """The arguments of the program's `# Run:` line."""
    line = next(l for l in program.read_text().splitlines() if l.startswith("# Run: plait run"))
    return shlex.split(line.removeprefix("# Run: plait"))


def one_run(plait, args):
    """Milliseconds by stage of one process, and of the whole process."""
    start = time.perf_counter()
    done = subprocess.run([plait, *args, "--time-passes"], capture_output=True, text=True, check=True, cwd=HERE.parent)
    wall = (time.perf_counter() - start) * 1e3
    stages = {m[1]: float(m[2]) for m in re.finditer(r"^(\w+)\s+([\d.]+)\s+[\d.]+ %$", done.stderr, re.M)}
    return stages | {"process": wall}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--plait", default=str(HERE.parent / "build" / "plait"))
    options.add_argument("--runs", type=int, default=11)
    options.add_argument("program", nargs="?", type=pathlib.Path, default=HERE / "thirty.plait")
    opt = options.parse_args()
    runs = [one_run(opt.plait, arguments(opt.program)) for _ in range(opt.runs)]
    front = ("parse", "sema")
    own = [n for n in runs[0] if n not in (*front, "emit", "compile", "total", "process")]
    print("| stage | median ms |\n|---|---|")
    for name in runs[0]:
        print(f"| {name} | {statistics.median(r[name] for r in runs):.2f} |")
    print(f"| passes ({', '.join(own)}) | {statistics.median(sum(r[n] for n in own) for r in runs):.2f} |")


if __name__ == "__main__":
    main()
