#!/usr/bin/env python3
"""Compiles the C of all examples, benchmarks, golden and differential programs with all warnings as errors.

    tests/warnings/run.py [build/plait] [WORD…]

Only files whose path contains every WORD are taken. Compilers: gcc and clang, whichever there are, at -O1, where both already look
for subscripts beyond an array and for variables that nothing uses, for AVX2 (other widths print the same text). The last line is
the count.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAIT = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/plait")
FLAGS = ["-std=gnu17", "-O1", "-fopenmp-simd", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror", "-c", "-o", os.devnull]
FOLDERS = ("examples/*/*.plait", "bench/cases/*.plait", "tests/golden/*/*.plait", "tests/diff/programs/*.plait")


def compilers() -> list[str]:
    clang = next((c for c in ("clang-19", "clang-14", "clang") if shutil.which(c)), None)
    return [c for c in ("gcc" if shutil.which("gcc") else None, clang) if c]


def programs(words: list[str]) -> list[tuple[Path, str]]:
    """Each function of each file."""
    files = sorted(f for pattern in FOLDERS for f in ROOT.glob(pattern))
    return [(f, name) for f in files if all(w in str(f) for w in words) for name in re.findall(r"^fn (\w+)", f.read_text(), re.M)]


def warnings(program: tuple[Path, str]) -> str | None:
    """What compilers say of its C; None where the function is no entry point."""
    file, entry = program
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "k.c")
        emitted = subprocess.run([PLAIT, "emit", str(file), "--entry", entry, "-o", text], capture_output=True, text=True)
        if emitted.returncode:
            return None if "PLT0509" in emitted.stderr else emitted.stderr
        said = ""
        for cc in compilers():
            march = [] if os.uname().machine != "x86_64" else ["-mavx2"]
            p = subprocess.run([cc, *FLAGS, *march, text], capture_output=True, text=True)
            if p.returncode:
                said += f"{cc}: {file.relative_to(ROOT)} {entry}\n{p.stderr[:1500]}"
        return said


def main() -> None:
    assert compilers(), "there is neither gcc nor clang"
    with ThreadPoolExecutor(2) as pool:
        said = [s for s in pool.map(warnings, programs(sys.argv[2:])) if s is not None]
    for text in said:
        if text:
            print(text)
    failed = sum(1 for text in said if text)
    print(f"{len(said) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
