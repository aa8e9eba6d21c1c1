#!/usr/bin/env python3
"""Compiles cases for torch.compile and Triton beforehand, into the caches that the environment names. Used by run.py.

    warm.py NAMES CASE...            NAMES: torch.compile, torch.max-autotune, triton, separated by commas
"""
import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
from gpu import cases, memory, peers_torch  # noqa: E402
from gpu.program import Program  # noqa: E402


def arguments(torch, case, program):
    """Inputs that nothing was written to, but for numbers of rows."""
    mem, made = memory.Torch(torch), []
    for t in program.params:
        if t.name in case.scalars:
            made.append(case.scalars[t.name])
        else:
            made.append(mem.empty(t))
            if t.dtype == "i64":
                made[-1].zero_()
    return made


def warm(torch, name, case):
    program = Program(case)
    args = arguments(torch, case, program)
    if name == "triton":
        from gpu import peers_triton
        for run in peers_triton.Triton(torch).variants(case, program, lambda s: args, memory.Torch(torch), 1):
            run.call(0)
    else:
        torch._dynamo.reset()
        table = peers_torch.eager(torch) | peers_torch.widened(torch)
        peers_torch.compiled(torch, table[case.program], name)(*args)
    torch.cuda.synchronize()


def main():
    import torch
    torch.set_grad_enabled(False)
    names, ids = sys.argv[1].split(","), sys.argv[2:]
    for case in (c for c in cases.CASES if c.id in ids):
        for name in names:
            try:
                warm(torch, name, case)
            except Exception as e:  # noqa: BLE001: the run itself will tell
                print(f"{case.id} {name}: {type(e).__name__}: {str(e)[:300]}", file=sys.stderr)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
