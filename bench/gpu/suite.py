"""suite.py: a run over the cases: check each contestant, let all take their turns, say what was found."""
import gc
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
import traceback

from suite import machine

from . import cases, memory, peers_jax, supervise, timing
from .caches import Caches, first_call
from .contestant import Run, Unsupported, Work
from .peers_jax import Jax
from .plait_gpu import Plait
from .program import SMALL, Program

PEERS = ("torch", "torch.vendor", "torch.compile", "torch.max-autotune", "triton", "hand", "jax")
SLOW = ("torch.max-autotune",)    # only with --slow or by name
BITS = ("1", "4a", "7", "8a", "8c", "9a", "13", "16a")


def command():
    """What was called, but for where its files lie."""
    words = iter(sys.argv[1:])
    said = ["bench/gpu/" + pathlib.Path(sys.argv[0]).name]
    for word in words:
        if word == "--out":
            next(words, None)
        elif word != "--inside":
            said.append(word)
    return " ".join(said)


class Suite:
    def __init__(self, opt):
        self.opt, self.started, self.lines, self.wrong = opt, time.monotonic(), [], 0
        self.out = open(opt.out, "a" if opt.inside else "w", encoding="utf-8") if opt.out else sys.stdout
        self.chosen, self.jax, self.caches, self.torch = cases.chosen(opt.case), None, None, None
        if opt.after:
            self.chosen = self.chosen[[c.id for c in self.chosen].index(opt.after) + 1:]
        if opt.size == "small":
            os.environ[SMALL] = "1"
        if opt.peers != ["none"]:
            self.compile_alone()
            self.start_peers()
        if opt.peers != ["none"] or opt.size != "small":
            self.torch = self.load_torch()

    def start_peers(self):
        """What compiles for a while begins before all else, beside what this process does."""
        ids, names = [c.id for c in self.chosen], [n for n in ("torch.compile", "torch.max-autotune", "triton") if self.wanted(n)]
        self.caches = Caches()
        if not self.opt.after:
            self.caches.fill(names, ids)
        if self.wanted("jax"):
            self.jax = Jax()
            self.jax.start_compiling(ids)

    def compile_alone(self):
        """Plait's time from text to loaded kernel for each case, before others are at work, without NVIDIA's cache."""
        if self.opt.after or self.opt.check_only or self.opt.no_compile_times:
            return
        command = [sys.executable, str(pathlib.Path(__file__).parent / "compile_times.py"), "--repeat", "1", "--json", "--case", self.opt.case]
        command += ["--library", self.opt.library] if self.opt.library else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            self.emit("alone", ms=json.loads(done.stdout))

    def load_torch(self):
        try:
            import torch
            torch.zeros(1, device="cuda")
        except (ImportError, AssertionError, RuntimeError) as e:
            self.stop()
            print(f"bench/gpu/run.py: no GPU that PyTorch can use ({short(e)}); --check-only --size small needs none", file=sys.stderr)
            raise SystemExit(77) from None
        torch.set_grad_enabled(False)
        gc.freeze()                                       # captures collect garbage: not among what was imported
        return torch

    # ---- lines

    def emit(self, kind, **fields):
        line = {"kind": kind, **fields, "at": round(time.monotonic() - self.started, 1)}
        self.lines.append(line)
        print(json.dumps(line), file=self.out, flush=True)

    def say(self, text):
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", file=sys.stderr, flush=True)

    def machine(self):
        facts = machine.facts()
        facts["revision"] = self.opt.revision or facts["revision"]
        self.emit("machine", **{k: facts[k] for k in ("cpu", "cores", "system", "python", "date", "revision")}, device=self.plait.device.name,
                  arch=self.plait.device.arch, driver=self.plait.device.driver, multiprocessors=self.plait.device.multiprocessors, smi=smi(),
                  command=command())

    # ---- contestants

    def wanted(self, name):
        return name in self.opt.peers or "all" in self.opt.peers and (self.opt.slow or name not in SLOW)

    def gather(self):
        """Plait, then the peers that are wanted and here."""
        self.plait = Plait(self.opt.library)
        self.plait.warm()
        self.contestants = [self.plait]
        self.emit("present", contestant="plait", version=self.plait.version)
        for name in PEERS if self.torch else ():
            if self.wanted(name):
                self.add(name)

    def add(self, name):
        try:
            made = self.make(name)
        except Exception as e:  # noqa: BLE001: whatever a peer's import may raise
            self.emit("absent", contestant=name, error=short(e))
            return
        self.contestants.append(made)
        self.emit("present", contestant=name, version=made.version)

    def make(self, name):
        if name == "hand":
            from . import peers_hand
            return peers_hand.Hand(self.plait.device.arch)
        if name == "triton":
            from . import peers_triton
            return peers_triton.Triton(self.torch)
        if name == "jax":
            self.jax.begun()
            return self.jax
        from . import peers_torch
        return (peers_torch.TorchCompile if name in peers_torch.MODES else peers_torch.Torch)(self.torch, name)

    # ---- one case

    def work(self, case):
        mem = memory.Torch(self.torch) if self.torch else memory.Plain(self.plait.device)
        return Work(Program(case), mem, rotate=not self.opt.check_only)

    def checked(self, contestant, work):
        """The run of a contestant whose results are right, or None; says why."""
        fields = {"case": work.case.id, "contestant": contestant.name}
        try:
            with limit(60):
                run = self.right(contestant, work, contestant.ready(work))
        except Unsupported as e:
            self.emit("unsupported", **fields, error=str(e))
        except Exception as e:  # noqa: BLE001: a peer's failure is a line
            wrong = type(e).__name__ == "Wrong"
            self.wrong += contestant is self.plait
            self.emit("wrong" if wrong else "error", **fields, error=short(e), trace="" if wrong else traceback.format_exc()[-1500:])
            self.say(f"{work.case.id}: {contestant.name}: {short(e)[:200]}")
            if self.torch:
                self.lost_or_not()
            if contestant is self.jax and not isinstance(e, RuntimeError):
                self.drop_jax(e)                          # no answer, or one too late
        else:
            return run

    def drop_jax(self, e):
        self.contestants.remove(self.jax)
        self.jax.close()
        self.emit("absent", contestant="jax", error=short(e))

    def right(self, contestant, work, runs):
        """Compares what was made; of several variants, takes the fastest of those that are right."""
        if isinstance(runs, dict):                        # made and compared in another process
            return Run(None, None, error=runs["error_found"], compile_s=runs["compile_s"])
        runs, times = runs if isinstance(runs, list) else [runs], []
        for run in runs:
            run.call(0)
            work.memory.sync()
            run.note["error"] = round(self.compare(contestant, work, run), 4)
        if len(runs) == 1 or self.opt.check_only:
            return runs[0]
        for run in runs:
            graph = timing.Graphed(contestant.name, run, work.sets, self.torch)
            times.append(min(graph.replays(4)) / graph.calls)
            del graph
        return runs[times.index(min(times))]

    def compare(self, contestant, work, run):
        if work.case.program == "dropout_residual" and not contestant.strict:
            return work.checker.compare_dropout(run.results(0))
        return work.checker.compare(run.results(0), contestant.strict)

    def one(self, case):
        work = self.work(case)
        runs = [(c, run) for c in self.contestants if (run := self.checked(c, work))]
        if self.opt.check_only:
            for c, run in runs:
                self.emit("checked", case=case.id, name=case.name, contestant=c.name, **noted(run))
        else:
            self.timed(work, runs)
        if runs and runs[0][0] is self.plait and case.id in BITS:
            self.same_bits(work, runs[0][1])
        del runs
        if self.jax in self.contestants:
            self.jax.ask("finish")
        work.memory.release()

    def timed(self, work, runs):
        graphs = [g for c, run in runs if (g := self.graphed(c, run, work))]
        if graphs:
            timing.turns([g for _, g in graphs], self.opt.seconds)
        for c, g in graphs:
            try:
                if c is not self.jax:
                    self.compare(c, work, g.run)          # what the timed graph left
                self.result(work, c, g)
            except Exception as e:  # noqa: BLE001
                kind = "wrong" if type(e).__name__ == "Wrong" else "error"
                self.emit(kind, case=work.case.id, contestant=c.name, error=f"in the timed graph: {short(e)}")
                self.wrong += c is self.plait
        self.shown(work.case, graphs)

    def graphed(self, contestant, run, work):
        if contestant is self.jax:
            turns = peers_jax.Turns(self.jax)
            turns.run = run
            return contestant, turns
        try:
            with limit(60):
                return contestant, timing.Graphed(contestant.name, run, work.sets, self.torch)
        except Exception as e:  # noqa: BLE001
            self.wrong += contestant is self.plait
            self.emit("error", case=work.case.id, contestant=contestant.name, error=f"not captured: {short(e)}", trace=traceback.format_exc()[-1500:])
            self.say(f"{work.case.id}: {contestant.name} cannot be captured: {short(e)[:200]}")
            self.lost_or_not()

    def result(self, work, contestant, graph):
        found = graph.last = graph.found()
        self.emit("result", case=work.case.id, name=work.case.name, contestant=contestant.name, version=contestant.version, **found,
                  least_bytes=work.program.least, gbps=round(work.program.least / found["us"] / 1e3, 1), reads=work.case.reads,
                  **noted(graph.run))

    def shown(self, case, graphs):
        times = {c.name: g.last for c, g in graphs if hasattr(g, "last")}
        text = ", ".join(f"{name} {f['us']:.1f}" for name, f in times.items())
        self.say(f"{case.id} {case.name}: {text} µs")

    def same_bits(self, work, run):
        """A hundred launches on the same inputs give the same bits."""
        mem, n = work.memory, 100 if self.torch else 3
        run.call(0)
        first, different = [mem.copy(h) for h in run.results(0)], 0
        for _ in range(n - 1):
            run.call(0)
            different += not all(mem.same(a, b) for a, b in zip(first, run.results(0)))
        self.wrong += different > 0
        self.emit("bits", case=work.case.id, launches=n, different=different)

    # ---- all of it

    def ceiling(self, when):
        self.emit("ceiling", when=when, **self.memory_speed.measure(), smi=smi())
        c = self.lines[-1]
        self.say(f"ceiling ({when}): copy {c['copy_gbps']} GB/s, read {c['read_gbps']} GB/s")

    def run(self):
        try:
            return self.whole_run()
        finally:
            self.stop()

    def stop(self):
        if self.jax:
            self.jax.close()
        if self.caches:
            self.caches.remove()

    def begin(self):
        """Waits for what compiles beforehand, measures first calls and the ceiling."""
        if self.caches:
            said = self.caches.wait(120)
            self.emit("warmed", said=said)
            self.say(f"compiled beforehand; {len(said)} complaints")
        self.gather()
        self.machine()
        if self.opt.check_only:
            return
        if not self.opt.no_compile_times and not self.opt.after:
            self.first_calls()
        from .ceiling import Ceiling
        self.memory_speed = Ceiling(self.torch, self.plait.device.arch, self.plait.device.multiprocessors)
        self.heat()
        self.ceiling("start")

    def first_calls(self):
        for what in ("plait", "jax", "triton", "torch.compile"):
            if what == "plait" or self.wanted(what):
                found = first_call(what, self.opt.library)
                self.emit("first_call", what=what, **found)
                self.say(f"first call of {what}: {found}")

    def whole_run(self):
        self.begin()
        chosen = self.chosen
        for i, case in enumerate(chosen):
            if self.opt.total and time.monotonic() - self.started > self.opt.total:
                self.emit("skipped", case=case.id, error="no time left")
                continue
            if i == len(chosen) // 2 and i and not self.opt.check_only:
                self.ceiling("middle")
            self.guarded(case)
        if not self.opt.check_only:
            self.ceiling("end")
        return self.end()

    def guarded(self, case):
        self.emit("begin", case=case.id)
        try:
            self.one(case)
        except Exception as e:  # noqa: BLE001
            self.emit("error", case=case.id, contestant="suite", error=short(e), trace=traceback.format_exc()[-1500:])
            self.say(f"{case.id}: {short(e)[:300]}")
            self.wrong += 1
        if self.torch:
            self.lost_or_not()

    def lost_or_not(self):
        """Ends the process where a kernel has taken the device with it; supervise.py starts another."""
        try:
            self.torch.cuda.synchronize()
        except RuntimeError as e:
            self.say(f"the device is lost: {short(e)[:200]}")
            self.stop()
            os._exit(supervise.LOST)

    def heat(self):
        """Half a second of work, so that clocks are where they stay."""
        t, start = self.torch, time.monotonic()
        a = t.randn(8192, 8192, device="cuda", dtype=t.bfloat16)
        while time.monotonic() - start < 0.5:
            a @ a
            t.cuda.synchronize()

    def end(self):
        compile_ms = [line["prepare_ms"] for line in self.lines if line["kind"] in ("result", "checked") and "prepare_ms" in line]
        if compile_ms:
            self.emit("compile", what="plait", cases=len(compile_ms), median_ms=round(statistics.median(compile_ms), 2), most_ms=max(compile_ms),
                      least_ms=min(compile_ms))
            self.say(f"text to loaded kernel: {statistics.median(compile_ms):.1f} ms in the median, {max(compile_ms):.1f} ms at most")
        checked = sum(line["kind"] in ("result", "checked") and line["contestant"] == "plait" for line in self.lines)
        self.say(f"Plait: {checked} right, {self.wrong} wrong")
        return 1 if self.wrong else 0


class limit:
    """Raises TimeoutError where the block takes longer, as soon as Python has its turn."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        signal.signal(signal.SIGALRM, self.passed)
        signal.alarm(self.seconds)

    def __exit__(self, *_):
        signal.alarm(0)

    def passed(self, *_):
        raise TimeoutError(f"not done in {self.seconds} s")


def noted(run):
    return {k: v for k, v in run.note.items() if k not in ("exec", "keep")}


def short(e):
    return f"{type(e).__name__}: {' '.join(str(e).split())[:600]}"


def smi():
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw", "--format=csv,noheader"],
                              capture_output=True, text=True, timeout=20)
        return done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
