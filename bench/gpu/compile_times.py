#!/usr/bin/env python3
"""The time from text to loaded kernel of every case, alone on the machine and with no cache of NVIDIA's.

    bench/gpu/compile_times.py [--case GLOB] [--repeat N] [--cached]

Run it before anything else: in bench/gpu/run.py the peers' compilers work in the background at that time. NVRTC keeps what it compiled
in the driver's cache on disk (~/.nv/ComputeCache), which CUDA_CACHE_DISABLE turns off here; --cached leaves it on. Of several repetitions
the first is shown beside the least. With a driver that does nothing (PLAIT_CUDA_DRIVER=build/fake_cuda.so) no GPU is needed.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


def measured(context, program):
    start = time.perf_counter()
    run = context.entry(f"{program.case.program}.plait", program.text, program.entry).prepare("cuda", program.dims)
    return (time.perf_counter() - start) * 1e3, run


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", default="*", metavar="GLOB")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--cached", action="store_true")
    p.add_argument("--json", action="store_true", help="one line: the milliseconds of the first time of each case")
    p.add_argument("--library", metavar="PATH", help="libplait.so (build/libplait.so)")
    opt = p.parse_args()
    if not opt.cached:
        os.environ["CUDA_CACHE_DISABLE"] = "1"
    sys.path[0] = str(HERE.parent)                        # not this folder, whose modules are a package
    import plait
    from gpu import cases
    from gpu.program import Program

    context = plait.Context(library=plait.Library(opt.library))
    context.entry("warm.plait", "fn warm(x: f32[N]) -> y: f32[N] { y = exp(x) }").prepare("cuda", {"N": 1024})
    first, least = [], []
    table = (lambda text: None) if opt.json else print
    table("| case | kernels | first, ms | least, ms |\n|---|---|---|---|")
    for case in cases.chosen(opt.case):
        times = []
        for _ in range(opt.repeat):
            ms, run = measured(context, Program(case))
            times.append(ms)
        first.append(times[0])
        least.append(min(times))
        table(f"| {case.id} {case.name} | {run.nkernels} | {times[0]:.1f} | {min(times):.1f} |")
    if opt.json:
        print(json.dumps([round(ms, 2) for ms in first]))
    table(f"\nmedian of {len(first)} cases: {statistics.median(first):.1f} ms at first ({min(first):.0f} to {max(first):.0f}), {statistics.median(least):.1f} ms the least")


if __name__ == "__main__":
    sys.exit(main())
