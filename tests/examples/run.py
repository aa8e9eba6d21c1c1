#!/usr/bin/env python3
"""Runs every example: the programs as their `# Run:` lines say, the C programs, and the model's slice.

    tests/examples/run.py [build/plait] [WORD…]

Only tests whose name contains every WORD are run. A program is run on the same inputs by its kernels and by the
interpreter, and the results must agree: integers exactly, floats within a few units of their type beside the largest
value. That shows that both ran the same program; `plait-diff`, where it is built, compares kernels and interpreter on
other shapes within bounds derived element by element. NumPy is used where it is installed; what needs it is skipped
without. The last line is the count.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
except ImportError:
    np = None

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

# How far results may be from each other, beside the largest: a few units in the last place of the type for what sums in
# different orders do, and for f32 the cancellation that random numbers bring.
CLOSE = {"f64": 2.0**-12, "f32": 2.0**-12, "f16": 2.0**-9, "bf16": 2.0**-6}


class Skip(Exception):
    pass


def run(command: list[str]) -> str:
    p = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert p.returncode == 0, f"{shlex.join(command)}\n{p.stdout[-2000:]}{p.stderr[-2000:]}"
    return p.stdout


def line(path: Path, word: str) -> list[str] | None:
    """The command that a program's comment gives after `# Run:` or `# Data:`."""
    found = re.findall(rf"^# {word}: (.*)$", path.read_text(), re.M)
    assert len(found) <= 1, f"more than one {word} line"
    return shlex.split(found[0]) if found else None


def ready(path: Path) -> list[str]:
    """The Run line with the program under test in plait's place; its data is made."""
    data, command = line(path, "Data"), line(path, "Run")
    assert command and command[:2] == ["plait", "run"], "no `# Run: plait run …` line"
    assert command[2] == str(path.relative_to(ROOT)), "the Run line names another file"
    if data:
        if np is None:
            raise Skip
        run([sys.executable, *data[1:]])
    return [PLAIT, *command[1:]]


def results(command: list[str], folder: Path, target: str) -> dict[str, tuple[str, "np.ndarray"]]:
    """Each result's type and elements, as bytes where NumPy lacks the type."""
    rows = [r.split() for r in run([*command, "--target", target]).splitlines()[1:]]
    outs = [a for r in rows for a in ("--out", f"{r[0]}={folder / r[0]}.{target}.npy")]
    run([*command, "--target", target, *outs])
    return {r[0]: (r[1], np.load(folder / f"{r[0]}.{target}.npy")) for r in rows}


def agree(name: str, kind: str, a: "np.ndarray", b: "np.ndarray") -> None:
    assert a.shape == b.shape, f"{name}: {a.shape} and {b.shape}"
    if kind == "bf16":
        a, b = ((x.astype(np.uint32) << 16).view(np.float32) for x in (a, b))
    if kind in CLOSE:
        a, b = a.astype(np.float64), b.astype(np.float64)
        assert (np.isfinite(a) == np.isfinite(b)).all(), f"{name}: not finite in one of them"
        worst, most = np.max(np.abs(a - b), initial=0), np.max(np.abs(b), initial=0)
        assert worst <= CLOSE[kind] * most, f"{name}: {worst} apart, the largest is {most}"
    elif kind in ("i8", "u8") or not kind.startswith(("i", "u", "b")):      # rounded codes: a tie may go either way
        different = np.mean(a != b)
        assert different <= 0.01, f"{name}: {100 * different:.1f} % of the codes differ"
    else:
        assert (a == b).all(), f"{name}: {np.count_nonzero(a != b)} elements differ"


def runs(path: Path) -> None:
    run(ready(path))


def agrees_with_the_interpreter(path: Path) -> None:
    if np is None:
        raise Skip
    command = ready(path)
    with tempfile.TemporaryDirectory() as folder:
        kernels, meaning = (results(command, Path(folder), t) for t in ("c", "ref"))
    assert kernels and kernels.keys() == meaning.keys()
    for name, (kind, value) in kernels.items():
        agree(name, kind, value, meaning[name][1])


def agrees_on_other_shapes(path: Path) -> None:
    diff = Path(PLAIT).parent / "plait-diff"
    if not diff.exists():
        raise Skip
    p = subprocess.run([str(diff), "files", str(path), "--count", "3", "--small"], cwd=ROOT, capture_output=True, text=True)
    # Random arguments rarely fit a program whose data has structure; its Run line has some that do.
    if "ended in a fault of the data" in p.stdout or "no arguments were found" in p.stdout:
        raise Skip
    assert p.returncode == 0, p.stdout[-2000:]


def is_laid_out(path: Path) -> None:
    run([PLAIT, "fmt", "--check", str(path)])


def stands_in_the_readme(path: Path) -> None:
    where = str(path.relative_to(EXAMPLES))
    assert f"`{where}`" in (EXAMPLES / "README.md").read_text(), f"{where} is not in examples/README.md"


def c_programs_build_and_run() -> None:
    if not shutil.which("make") or not shutil.which("cc"):
        raise Skip
    build = Path(PLAIT).parent
    with tempfile.TemporaryDirectory() as out:
        run(["make", "-C", "examples/c", "run", f"OUT={out}", f"PLAIT={PLAIT}", f"LIB={build}"])


def smollm2_runs_on_its_slice() -> None:
    if np is None:
        raise Skip
    out = run([sys.executable, "examples/smollm2/run.py", "--offline", "--plait", PLAIT])
    assert "OFFLINE" in out and "' Paris'" in out, out


def smollm2_finds_a_wrong_result() -> None:
    """The comparison is worth something: a norm that forgets its weights must fail."""
    if np is None:
        raise Skip
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "examples"
        shutil.copytree(EXAMPLES / "smollm2", copy / "smollm2")
        shutil.copytree(EXAMPLES / "data", copy / "data")
        program = copy / "smollm2" / "add_norm.plait"
        program.write_text(program.read_text().replace("rms_norm(s, g)", "rms_norm(s, g, 1.1e-5)"))
        p = subprocess.run([sys.executable, str(copy / "smollm2" / "run.py"), "--offline", "--plait", PLAIT], capture_output=True, text=True)
        assert p.returncode == 1 and "FAILED" in p.stdout, p.stdout + p.stderr


def tests() -> list:
    programs = sorted(p for p in EXAMPLES.rglob("*.plait"))
    each = [runs, agrees_with_the_interpreter, agrees_on_other_shapes, is_laid_out, stands_in_the_readme]
    found = [(f"{p.relative_to(EXAMPLES)} {t.__name__}", lambda t=t, p=p: t(p)) for p in programs for t in each]
    return found + [(t.__name__, t) for t in (c_programs_build_and_run, smollm2_runs_on_its_slice, smollm2_finds_a_wrong_result)]


def main() -> int:
    global PLAIT
    words = sys.argv[1:]
    PLAIT = str(Path(words.pop(0) if words and os.path.isfile(words[0]) else ROOT / "build" / "plait").resolve())
    passed = failed = skipped = 0
    for name, test in tests():
        if not all(w in name for w in words):
            continue
        try:
            test()
            passed += 1
        except Skip:
            skipped += 1
        except Exception as e:
            failed += 1
            print(f"FAILED  {name}\n{type(e).__name__}: {e}", flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
