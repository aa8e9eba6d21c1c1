#!/usr/bin/env python3
"""Printed CUDA files go through nvcc as they are, kernels and host function, without a warning.

    tests/cuda_emu/nvcc.py build/plait [nvcc] [WORD…]

For sm_80 and sm_90; with WORDs, only programs whose path contains them all. Also: the header of --header compiles as C and C++, and
in the code for sm_90 every kernel waits for the one before it ahead of its first access to memory. Without nvcc it says so and leaves
everything out. The last line is `N passed, N failed`.
"""
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cuda_emu"))
from budgets import entries  # noqa: E402

# Several kernels, scratch memory, faults in the data, columns, whole tensors, turned tiles, formats, clusters.
PATTERNS = ["examples/fusion/*.plait", "examples/attention/append.plait", "examples/attention/decode.plait", "tests/diff/programs/column_teams.plait",
            "tests/diff/programs/whole_tensors.plait", "tests/diff/programs/turned_tiles.plait", "tests/golden/emit/*.plait"]
CLUSTERS = [("examples/fusion/softmax.plait", "row_softmax", ["-D", "N=128", "-D", "D=131072"])]      # of sm_90 and newer
FLAGS = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror"]


def run(*command):
    p = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, check=False)
    return p.returncode, p.stdout + p.stderr


def unwaited(ptx: str) -> list[str]:
    """Kernels in which an access to global memory stands before the wait, or no wait at all."""
    found = []
    for kernel in re.split(r"\.entry ", ptx)[1:]:
        wait, access = kernel.find("griddepcontrol.wait"), re.search(r"\b(ld|st|atom|red|cp)\.(async|global|volatile\.global|bulk)|\bld\.[a-z.]*global", kernel)
        if wait < 0 or (access and access.start() < wait):
            found.append(kernel[:kernel.find("(")])
    return found


def check(job) -> tuple[str, str]:
    """The name of a text, and what is wrong with it."""
    path, entry, dims, arch, folder = job
    stem = f"{Path(path).stem}.{entry}{'.sized' if dims else ''}.{arch}"
    text, header = folder / f"{stem}.cu", folder / f"{stem}.h"
    code, out = run(PLAIT, "emit", path, "-e", entry, *dims, "--target", "cuda", "--arch", f"sm_{arch}", "-o", text, "--header", header)
    if "PLT0509" in out:
        return stem, ""
    if code == 0:
        kind = "-ptx" if arch == 90 else "-c"
        code, out = run(NVCC, kind, f"-arch=sm_{arch}", *FLAGS, "-o", folder / f"{stem}.out", text)
    if code == 0 and arch == 90 and (late := unwaited((folder / f"{stem}.out").read_text())):
        return stem, f"no wait before memory is touched: {', '.join(late)}"
    for language in ("c", "c++") if code == 0 and arch == 90 else ():
        code, out = run("gcc", "-x", language, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-isystem", Path(NVCC).resolve().parents[1] / "include", header)
        if code:
            break
    return stem, out if code else ""


def jobs(folder: Path, words: list[str]):
    paths = [p.relative_to(ROOT).as_posix() for pattern in PATTERNS for p in sorted(ROOT.glob(pattern))]
    listed = [(path, entry, []) for path in paths for entry, _ in entries((ROOT / path).read_text())] + CLUSTERS
    for path, entry, dims in listed:
        if all(word in path for word in words):
            for arch in (80, 90)[bool(dims):]:
                yield path, entry, dims, arch, folder


def main() -> int:
    passed = failed = 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        for stem, wrong in pool.map(check, jobs(Path(name), sys.argv[3:])):
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print(f"FAILED  {stem}\n{wrong}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    PLAIT = sys.argv[1]
    NVCC = shutil.which(sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] else "nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if not NVCC:
        print("left out: there is no nvcc here")
        sys.exit(0)
    sys.exit(main())
