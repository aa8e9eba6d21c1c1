#!/usr/bin/env python3
"""Plait beside its peers and the machine's ceiling, on the CPU.

    bench/run.py --setup                  once: the peers, in a virtual environment in build/bench-venv
    bench/run.py > run.jsonl              everything: JSON lines on stdout, progress on stderr
    bench/run.py --table run.jsonl        Markdown tables of such lines

Each result is compared with float64 before it is timed. docs/benchmarks.md explains the method and how to add a case.
"""
import argparse
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
VENV = HERE.parent / "build" / "bench-venv"
PEERS = ["numpy", "jax", "numexpr", "onnx", "onnxruntime"]

# Set before anything is loaded. Freed memory stays in the process: else each call that returns a fresh array of 128 MiB
# pays page faults for it, which is a factor of 2 to 9. Threads of one contestant sleep soon after its calls.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(256 << 20),
               "KMP_BLOCKTIME": "1", "GOMP_SPINCOUNT": "20000", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", default="*", metavar="GLOB", help="cases, as patterns separated by commas (*)")
    p.add_argument("--size", default="all", metavar="SIZES",
                   help="cache (64 KiB), l2 (1 MiB), dram (256 MiB), huge (1 GiB, a few cases), odd (checks alone) or all")
    p.add_argument("--sweep", choices=["rows", "bytes"],
                   help="instead of the sizes: row lengths 64 to 1,048,576, or 16 MiB to 1 GiB")
    p.add_argument("--dtype", default="f32,bf16", help="f32, bf16 or both (both)")
    p.add_argument("--peer", default="*", metavar="NAMES", help="contestants beside Plait: hand, numpy, numexpr, jax, "
                   "onnxruntime, torch, torch.compile; none (all that can be had)")
    p.add_argument("--threads", type=int, default=0, help="for every contestant (all cores of the process)")
    p.add_argument("--seconds", type=float, default=2.0, help="of timing for each case, size and type (2)")
    p.add_argument("--total", type=float, default=0, help="seconds after which no other case is begun (no limit)")
    p.add_argument("--check-only", action="store_true", help="compare results, take no times; sizes odd and cache unless told")
    p.add_argument("--list", action="store_true", help="print the cases")
    p.add_argument("--table", metavar="FILE", action="append", help="print Markdown tables of these lines")
    p.add_argument("--into", metavar="PAGE", help="with --table: put them into this page, between its marks")
    p.add_argument("--setup", action="store_true", help=f"install {', '.join(PEERS)} in build/bench-venv")
    p.add_argument("--library", metavar="PATH", help="libplait.so (build/libplait.so)")
    p.add_argument("--compiler", choices=["auto", "clang", "cc"], default="auto", help="that makes Plait's kernels")
    p.add_argument("--march", help="at most this machine for Plait's kernels: avx512, avx2, sse4, sse2")
    p.add_argument("--any-size", action="store_true", help="Plait's kernels for all sizes at once, not for the case's")
    p.add_argument("--this-python", action="store_true", help="stay in this Python though build/bench-venv is there")
    return p.parse_args()


def setup():
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run([str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PEERS], check=True)
    print(f"installed {', '.join(PEERS)} in {VENV.relative_to(HERE.parent)}", file=sys.stderr)


def again(opt):
    """Starts this program anew in the peers' environment, unless it runs there already."""
    if os.environ.get("PLAIT_BENCH_STARTED"):
        return
    threads = str(opt.threads or len(os.sched_getaffinity(0)))
    env = os.environ | ENVIRONMENT | {"PLAIT_BENCH_STARTED": "1", "OMP_NUM_THREADS": threads, "NUMEXPR_NUM_THREADS": threads,
                                      "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    python = VENV / "bin" / "python"
    python = sys.executable if opt.this_python or not python.exists() else str(python)
    os.execve(python, [python, *sys.argv], env)


def show(opt):
    from suite import cases, report
    text = cases.listing() if opt.list else report.markdown([line for f in opt.table for line in report.load(f)], cases.CASES)
    if opt.into:
        report.insert(opt.into, text)
    else:
        print(text)
    return 0


def main():
    opt = options()
    if opt.setup:
        return setup()
    sys.path.insert(0, str(HERE))
    if opt.table or opt.list:
        return show(opt)
    again(opt)
    from suite import suite
    return suite.run(opt)


if __name__ == "__main__":
    sys.exit(main())
