#!/usr/bin/env python3
"""Compiles the kernels of bench/cases, examples, golden programs and tests/diff/programs with Clang in the process, as where there is no NVRTC.

    tests/cuda_emu/clang.py build/plait [WORD…]

Each entry point is compiled for all sizes for sm_90 and, in bench/cases and examples, for numbers in the place of its dimensions for
sm_80. The assembly text must hold every function that it calls. Only programs whose path contains every WORD are
compiled. The last line is `N passed, N failed`.
"""
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from budgets import ROOT, SIZE, entries

FOLDERS, SIZED = ("bench/cases", "examples", "tests/golden", "tests/diff/programs"), ("bench/cases", "examples")


def compile_one(job: tuple[str, str, list[str], str]) -> str | None:
    """What is wrong; "": nothing; None: the function is no entry point."""
    path, entry, dims, arch = job
    options = [word for dim in dims for word in ("-D", f"{dim}={SIZE}")]
    command = [PLAIT, "emit", "--target", "ptx", "--gpu-compiler", "clang", "--arch", arch, "-e", entry, *options, path]
    p = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "PLT0509" in p.stderr:
        return None
    if p.returncode:
        return f"{path} {entry} {' '.join(options)}\n{p.stderr}"
    outside = re.findall(r"^\.extern \.func.*", p.stdout, re.M)
    return f"{path} {entry}: {outside[0]}" if outside else "" if ".entry" in p.stdout else f"{path} {entry}: no kernel in it"


def jobs(words: list[str]):
    paths = [p.relative_to(ROOT).as_posix() for top in FOLDERS for p in sorted((ROOT / top).rglob("*.plait"))]
    for path in (p for p in paths if all(word in p for word in words)):
        for entry, dims in entries((ROOT / path).read_text()):
            yield path, entry, [], "sm_90"
            if dims and path.startswith(SIZED):
                yield path, entry, dims, "sm_80"


def main() -> int:
    with ThreadPoolExecutor(2) as pool:
        made = [m for m in pool.map(compile_one, jobs(sys.argv[2:])) if m is not None]
    failed = [m for m in made if m]
    print("\n".join(failed))
    print(f"{len(made) - len(failed)} passed, {len(failed)} failed")
    return bool(failed) or not made


if __name__ == "__main__":
    PLAIT = sys.argv[1]
    sys.exit(main())
