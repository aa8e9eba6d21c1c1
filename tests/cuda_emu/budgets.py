#!/usr/bin/env python3
"""Compiles the kernels of examples, golden programs and tests/diff/programs with NVRTC for sm_80, sm_90 and sm_100 and
holds what its log says of them to budgets: registers, spilled bytes, shared memory.

    tests/cuda_emu/budgets.py build/plait build/cuda_emu_nvrtc_check [WORD…]

Only programs whose path contains every WORD are compiled. Each entry point is compiled for all sizes and, in examples and
tests/diff/programs, for numbers in the place of its dimensions too, as calls have it. No GPU is needed; without NVRTC it says
so and leaves everything out. The last line is `N passed, N failed`.
"""
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("examples", "tests/golden", "tests/diff/programs")
SIZED = ("examples", "tests/diff/programs")
SIZE = 1024
TEXTS = {80: "80", 90: "90,100"}        # a text, by the architecture it is printed for, and those it is compiled for

# A multiprocessor has 65536 registers: with 128 a thread two blocks of 256 threads fit, so that one loads while the
# other waits. Shared memory beyond 48 KiB needs to be asked for, which no kernel does in its text.
REGISTERS, SHARED = 128, 48 << 10

# Bytes that a kernel may spill. 0 where a bar of speed is set: what streams memory. Elsewhere as much as a call of a slow
# path costs, for ptxas saves registers around it: 64-bit division, sine of a large argument. The checker compiles a kernel that spills
# once more without its room for other blocks, as the library does, and takes what spills less.
SPILL = {"examples/fusion/": 0, "examples/fusion/rope_qk": 32, "": 64}

# Kernels that are over the budget of registers, with their own: gradients of a row and of all columns at once.
WIDE = {"examples/training/layer_norm_grad": 255}


def budget(table: dict[str, int], path: str, default: int) -> int:
    """The entry for the longest beginning of the path."""
    found = [key for key in table if path.startswith(key)]
    return table[max(found, key=len)] if found else default


def entries(text: str) -> list[tuple[str, list[str]]]:
    """The functions of a program with the dimensions of their parameters."""
    found = re.findall(r"^fn (\w+)[^(]*\(([^{]*?)\)\s*(?:->|where|\{)", text, re.M | re.S)
    return [(name, sorted({d for part in re.findall(r"\[([^]]*)\]", params) for d in re.findall(r"\b[A-Z]\w*", part)})) for name, params in found]


def emit(job: tuple[str, str, list[str], int, Path]) -> Path | str | None:
    """Writes a program's CUDA C with its budget as a last line; None: the function is no entry point."""
    path, entry, dims, arch, out = job
    options = [word for dim in dims for word in ("-D", f"{dim}={SIZE}")]
    p = subprocess.run([PLAIT, "emit", "--target", "cuda", "--arch", f"sm_{arch}", "-e", entry, *options, path], cwd=ROOT, capture_output=True, text=True, check=False)
    if "PLT0509" in p.stderr:
        return None
    if p.returncode:
        return f"{path} {entry} {' '.join(options)}\n{p.stderr}"
    stem = path.removesuffix(".plait")
    least = ", arch >= 90" if "cluster" in p.stdout else ""
    line = f"// nvrtc: registers <= {budget(WIDE, stem, REGISTERS)}, shared <= {SHARED}, spill <= {budget(SPILL, stem, 0)}{least}\n"
    out.write_text(p.stdout + line)
    return out


def jobs(folder: Path, words: list[str]):
    """Every entry point, for all sizes and for some, as printed for each of the architectures that texts are made for."""
    paths = [p.relative_to(ROOT).as_posix() for top in FOLDERS for p in sorted((ROOT / top).rglob("*.plait"))]
    for path in (p for p in paths if all(word in p for word in words)):
        for entry, dims in entries((ROOT / path).read_text()):
            name = f"{path.removesuffix('.plait').replace('/', '.')}.{entry}"
            for arch in TEXTS:
                yield path, entry, [], arch, folder / f"{name}.{arch}.cu"
                if dims and path.startswith(SIZED):
                    yield path, entry, dims, arch, folder / f"{name}.sized.{arch}.cu"


def check(files: list[Path]) -> str:
    """What the checker says of texts for one architecture."""
    if not files:
        return ""
    arch = TEXTS[int(files[0].name.split(".")[-2])]
    return subprocess.run([CHECK, "--arch", arch, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def totals(outputs: list[str]) -> tuple[int, int]:
    counts = [re.search(r"^(\d+) passed, (\d+) failed$", out, re.M) for out in outputs if out]
    return sum(int(c[1]) if c else 0 for c in counts), sum(int(c[2]) if c else 1 for c in counts)


def main() -> int:
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        made = [m for m in pool.map(emit, jobs(Path(name), sys.argv[3:])) if m is not None]
        files, refused = [m for m in made if isinstance(m, Path)], [m for m in made if isinstance(m, str)]
        probe = check(files[:1])
        if "there is no NVRTC" in probe:
            print(probe, end="")
            return 0
        by_arch = [[f for f in files[1:] if f.name.endswith(f".{arch}.cu")] for arch in TEXTS]
        outputs = [probe, *pool.map(check, (part for f in by_arch for part in (f[::2], f[1::2])))]
    for out in outputs:
        lines = out.splitlines()
        over = [i for i, line in enumerate(lines) if line.startswith("  ") or "does not compile" in line or "no kernel in it" in line]
        print("\n".join("\n".join(lines[max(0, i - 1):i + 4 if "compile" in lines[i] else i + 1]) for i in over).replace(f"{name}/", ""))
    print("\n".join(refused))
    passed, failed = totals(outputs)
    print(f"{len(files)} texts, kernels for sm_80, sm_90 and sm_100:")
    print(f"{passed} passed, {failed + len(refused)} failed")
    return failed + len(refused) > 0 or passed == 0


if __name__ == "__main__":
    PLAIT, CHECK = sys.argv[1:3]
    sys.exit(main())
