#!/usr/bin/env python3
"""Plait beside its peers and the ceiling of the device's memory, on an NVIDIA GPU.

    bench/gpu/run.py --out run.jsonl          everything: JSON lines, progress on stderr
    bench/gpu/run.py --table run.jsonl        Markdown tables of such lines
    bench/gpu/run.py --check-only --size small        results alone, small; needs no PyTorch

Each result is compared with float64 before it is timed. docs/benchmarks.md explains the method.
"""
import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--case", default="*", metavar="GLOB", help="ids, names or programs of cases, as patterns separated by commas (*)")
    p.add_argument("--peer", metavar="NAMES", help="contestants beside Plait: torch, torch.vendor, torch.compile, "
                   "torch.max-autotune, triton, hand, jax; all; none (all; none at small sizes)")
    p.add_argument("--slow", action="store_true", help="with torch.compile's mode max-autotune-no-cudagraphs, which takes minutes")
    p.add_argument("--size", default="full", choices=["full", "small"], help="small: of a few thousand elements, to be checked without a GPU")
    p.add_argument("--seconds", type=float, default=0.12, help="of timing for each contestant and case (0.12)")
    p.add_argument("--total", type=float, default=420, help="seconds after which no other case is begun (420; 0: no limit)")
    p.add_argument("--no-compile-times", action="store_true", help="leave out the first calls of the compilers in fresh processes")
    p.add_argument("--check-only", action="store_true", help="compare results, take no times")
    p.add_argument("--list", action="store_true", help="print the cases")
    p.add_argument("--out", metavar="FILE", help="where the lines go (stdout)")
    p.add_argument("--table", metavar="FILE", action="append", help="print Markdown tables of these lines")
    p.add_argument("--into", metavar="PAGE", help="with --table: put them into this page, between its marks")
    p.add_argument("--json", action="store_true", help="with --table: the bars as JSON lines instead")
    p.add_argument("--library", metavar="PATH", help="libplait.so (build/libplait.so)")
    p.add_argument("--revision", help="of the sources, where there is no git")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--after", metavar="CASE", help=argparse.SUPPRESS)
    opt = p.parse_args()
    opt.peers = (opt.peer or {"full": "all", "small": "none"}[opt.size]).split(",")
    return opt


def main():
    opt = options()
    sys.path[0] = str(HERE.parent)                        # not this folder, whose modules are a package
    from gpu import cases
    if opt.list:
        print(cases.listing())
        return 0
    if opt.table:
        from gpu import report
        return report.show(opt)
    if opt.size == "full" and not opt.inside:
        from gpu import supervise
        return supervise.run(str(HERE / "run.py"), opt.total, opt.out)
    from gpu.suite import Suite
    return Suite(opt).run()


if __name__ == "__main__":
    sys.exit(main())
