"""suite.py: runs the cases: makes inputs, checks every contestant, times those that are right, writes JSON lines."""
import gc
import json
import os
import sys
import time

from . import cases, check, contestants, data, machine, native, report, torch_peer
from .measure import Timed, Turns
from .ops import Unsupported
from .program import Program

CONTESTANTS = [contestants.HandWritten, contestants.Numpy, contestants.Numexpr, contestants.Jax, contestants.OnnxRuntime,
               torch_peer.Torch, torch_peer.TorchCompile]
LARGE = 16 << 20                  # bytes from which inputs come from memory in each call: there are several sets of them
CEILING_SMALL = 4 << 20           # bytes below which the ceiling may be that of one thread


class Suite:
    def __init__(self, opt):
        self.opt, self.start, self.lines = opt, time.monotonic(), []
        self.threads = opt.threads or len(os.sched_getaffinity(0))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:self.threads])
        self.facts = machine.facts()
        self.emit(**self.facts)
        self.ceiling = native.Ceiling(self.threads)
        self.memory, self.ceilings = data.Memory(self.ceiling.touch), {}
        self.contestants = list(self.present())

    def emit(self, **line):
        self.lines.append(line)
        print(json.dumps(line), flush=True)

    def say(self, text):
        print(f"{time.monotonic() - self.start:6.0f} s  {text}", file=sys.stderr, flush=True)

    def present(self):
        """Plait, which must be there, and the peers that are wanted and can be had."""
        opt, wanted = self.opt, self.opt.peer.split(",")
        plait = contestants.Plait(self.threads, opt.compiler, opt.library, opt.march, not opt.any_size)
        self.emit(kind="present", contestant="plait", version=plait.version)
        yield plait
        for make in CONTESTANTS:
            if "*" not in wanted and make.name not in wanted:
                continue
            try:
                made = make(self.threads)
            except Exception as e:
                self.emit(kind="absent", contestant=make.name, reason=f"{type(e).__name__}: {e}"[:200])
                continue
            self.emit(kind="present", contestant=make.name, version=made.version)
            yield made

    def sets(self, program):
        """Enough sets of inputs and results that a call finds nothing of the last in any cache."""
        if program.least < LARGE:
            return 1
        room = machine.memory() // 8
        return max(1, min(-(-2 * machine.last_level() // program.least), room // program.least))

    def case(self, case, dtype, size):
        program = Program(case, dtype, size)
        self.say(f"{case.name} {program.size} {dtype}")
        inputs = data.Inputs(program, self.memory, 1 if self.opt.check_only else self.sets(program))
        outputs = [[self.memory.empty(t.shape, t.dtype) for t in program.results] for _ in range(inputs.sets)]
        checker, timed, about = check.Checker(inputs), [], {}
        for contestant in self.contestants:
            ready = self.checked(contestant, program, inputs, outputs, checker)
            if ready:
                timed.append(ready[0])
                about[contestant.name] = ready[1]
        if not self.opt.check_only and timed:
            self.timed(program, timed, about)
        return "plait" in about

    def named(self, program, contestant, **more):
        return dict(case=program.case.name, size=program.size, dtype=program.dtype, threads=self.threads, contestant=contestant, **more)

    def checked(self, contestant, program, inputs, outputs, checker):
        """The contestant's calls to time and what to say of it; None when it has no such operator, fails or is wrong."""
        def failed(kind, e):
            self.emit(kind=kind, **self.named(program, contestant.name), error=f"{type(e).__name__}: {e}"[:400])
            if kind != "unsupported":
                self.say(f"  {contestant.name}: {kind}: {str(e)[:300]}")
        try:
            run = contestant.ready(program, inputs, outputs)
            for a, t in zip(outputs[0], program.results):
                data.poison(a, t.dtype)
            start = time.perf_counter()
            run.calls[0]()
            first = time.perf_counter() - start
            own_numbers = program.case.name == "dropout_residual" and contestant.name not in ("plait", "hand")
            error, bound = check.compare_dropout(inputs, run.results()) if own_numbers else checker.compare(run.results(), contestant.strict)
        except Unsupported as e:
            return failed("unsupported", e)
        except check.Wrong as e:
            return failed("wrong", e)
        except Exception as e:                            # a peer may raise anything; one that fails must not stop the others
            return failed("error", e)
        about = {"error_of_bound": float(f"{error:.2g}"), "bound": float(f"{bound:.2g}"), **run.note}
        if self.opt.check_only:
            self.emit(kind="checked", **self.named(program, contestant.name), **about)
        slow = first > max(2.0, 2 * self.opt.seconds)
        return Timed(contestant.name, run.calls, [first] if slow else []), about

    def ceiling_ways(self, program, least):
        """The ways to copy or read as many bytes as the case must move, from as many places."""
        kind, sets = "read" if program.case.reads else "copy", self.sets(program)
        floats = max(1024, least // (4 if kind == "read" else 8) // 1024 * 1024)
        if self.ceilings.get("key") != (kind, floats, sets):
            self.ceilings = {"key": (kind, floats, sets)}
            self.ceilings["arrays"] = [[self.memory.empty((floats,), "f32") for _ in range(1 if kind == "read" else 2)]
                                       for _ in range(sets)]
        ways = []
        for way, name in enumerate(self.ceiling.names(kind)):
            for alone in (0, 1) if least < CEILING_SMALL and self.threads > 1 else (0,):
                calls = [self.ceiling.call(kind, way, alone, a[0], a[-1]) for a in self.ceilings["arrays"]]
                ways.append(Timed(f"{kind}: {name}{', one thread' if alone else ''}", calls, alone=bool(alone)))
        return ways, floats * (4 if kind == "read" else 8)

    def timed(self, program, timed, about):
        """Times contestants and ceilings in turns."""
        target = cases.TARGET.get(program.size)
        ways, moved = self.ceiling_ways(program, target or program.least)
        turns = Turns([t for t in timed if not t.seconds], self.opt.seconds)
        turns.timed += turns.fastest(ways)
        turns.run()
        speeds = {w.name: moved / w.summary()["median"] / 1e9 for w in ways if w.seconds}
        best = max(speeds, key=speeds.get)
        who = {}
        for t in timed:
            took = t.summary()
            gbs = program.least / took["median"] / 1e9
            who[t.name] = dict(kind="result", **self.named(program, t.name), version=self.version(t.name), dims=program.dims, **took,
                               least_bytes=program.least, gbs=round(gbs, 3), ceiling_gbs=round(speeds[best], 3), ceiling=best,
                               fraction=round(gbs / speeds[best], 4), **about[t.name], **self.short_facts())
            self.emit(**who[t.name])
        self.summarise(program, who, speeds)

    def summarise(self, program, who, speeds):
        said = report.summary(who) or {}
        self.emit(kind="summary", case=program.case.name, size=program.size, dtype=program.dtype, threads=self.threads,
                  ceilings={n: round(s, 2) for n, s in speeds.items()}, **said)
        if said:
            self.say(f"  {100 * said['fraction']:.0f} % of {max(speeds.values()):.1f} GB/s; the best peer, {said['best_peer']}, "
                     f"takes {said['ratio']:.2f} times as long")

    def version(self, name):
        return next(c.version for c in self.contestants if c.name == name)

    def short_facts(self):
        return {"load": machine.load(), **{k: self.facts[k] for k in ("cpu", "cores", "caches", "vectors", "date", "revision")}}

    def finish(self):
        for line in report.bars(self.lines, cases.CASES):
            self.emit(**line)
            if line["kind"] == "bar" and line["met"] is not None:
                self.say(f"{'met   ' if line['met'] else 'MISSED'} {line['bar']}: {line['value']} (asks {line['asks']})")


def sizes(opt, case):
    if opt.sweep:
        return sweep(opt.sweep, case)
    if opt.size == "all":
        return ["odd", "cache"] if opt.check_only else ["cache", "l2", "dram"] + ["huge"] * case.huge
    return [s for s in opt.size.split(",") if s != "huge" or case.huge]


def sweep(kind, case):
    """Sizes as Program takes them: label, least bytes, fixed dimensions."""
    if kind not in case.sweep.split():
        return []
    if kind == "rows":
        return [(f"rows:{64 << k}", 256 << 20, {"D": 64 << k}) for k in range(0, 16, 2)]
    return [(f"bytes:{mib}MiB", mib << 20, case.dims["dram"]) for mib in (16, 32, 64, 128, 256, 512, 1024)]


def run(opt):
    suite, failed = Suite(opt), 0
    for case in cases.chosen(opt.case):
        for size in sizes(opt, case):
            for dtype in [d for d in case.dtypes.split() if d in opt.dtype.split(",")]:
                if opt.total and time.monotonic() - suite.start > opt.total:
                    suite.emit(kind="skipped", case=case.name, size=size if isinstance(size, str) else size[0], dtype=dtype, reason="out of time")
                    continue
                failed += not suite.case(case, dtype, size)
                gc.collect()
    if not opt.check_only:
        suite.finish()
    checked = sum(line["kind"] == "checked" for line in suite.lines)
    if opt.check_only:
        wrong = sum(line["kind"] in ("wrong", "error") for line in suite.lines)
        print(f"{checked} passed, {wrong} failed", file=sys.stderr)
        return 1 if wrong else 0
    return 0
