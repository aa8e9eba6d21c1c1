"""timing.py: the time of a call on the device, by CUDA graphs that are replayed in turns.

Each contestant gets a graph of many calls, which rotate over the sets of inputs and results; then all take turns, so
that clocks and temperature move for all alike. A sample is one replay divided by its calls.
"""
import math
import statistics

TARGET_US = 1500.0                # of one replay, at least
MOST_CALLS = 400
ROUNDS = 5


def quartiles(samples):
    """Median, lower and upper quartile, least."""
    s = sorted(samples)
    low, _, high = statistics.quantiles(s, n=4) if len(s) > 1 else (s[0], s[0], s[0])
    return statistics.median(s), low, high, s[0]


class Graphed:
    """One contestant's graph. name: whose."""

    def __init__(self, name, run, sets, torch):
        self.name, self.run, self.sets, self.torch, self.samples = name, run, sets, torch, []
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            once = self.rough()
        stream.synchronize()
        calls = sets * max(1, math.ceil(TARGET_US / (once * sets)))
        self.calls = min(calls, max(sets, MOST_CALLS // sets * sets))
        self.graph = self.captured()
        self.kernels = self.counted()
        self.graph.replay()
        torch.cuda.synchronize()
        self.span_ms = self.replays(1)[0]

    def rough(self):
        """Microseconds of a call, roughly."""
        for s in range(2):
            self.run.call(s % self.sets)
        start, end = self.event(), self.event()
        start.record()
        for s in range(3):
            self.run.call(s % self.sets)
        end.record()
        end.synchronize()
        return max(0.5, start.elapsed_time(end) * 1e3 / 3)

    def event(self):
        return self.torch.cuda.Event(enable_timing=True)

    def captured(self):
        try:
            graph = self.torch.cuda.CUDAGraph(keep_graph=True)
        except TypeError:                                 # PyTorch before 2.8: kernels are not counted
            graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for i in range(self.calls):
                self.run.call(i % self.sets)
        return graph

    def counted(self):
        """Kernels of one call; None where that cannot be told."""
        from . import driver
        try:
            kernels, others = driver.graph_kernels(self.graph.raw_cuda_graph())
        except (AttributeError, RuntimeError, driver.Failed):
            return None
        return round((kernels + others) / self.calls, 2)

    def replays(self, n):
        """Milliseconds of each of n replays."""
        events = [(self.event(), self.event()) for _ in range(n)]
        for start, end in events:
            start.record()
            self.graph.replay()
            end.record()
        self.torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]

    def round(self, seconds):
        n = int(max(2, min(12, seconds * 1e3 / max(self.span_ms, 1e-3))))
        self.samples += [ms * 1e3 / self.calls for ms in self.replays(n)]

    def found(self):
        median, low, high, least = quartiles(self.samples)
        return {"us": round(median, 3), "q1": round(low, 3), "q3": round(high, 3), "least": round(least, 3), "samples": len(self.samples),
                "calls": self.calls, "sets": self.sets, "kernels": self.kernels}


def turns(contestants, seconds):
    """Lets all take their turns; `seconds` of timing for each, about. Each has name and round(seconds)."""
    for r in range(ROUNDS):
        order = contestants[r % len(contestants):] + contestants[:r % len(contestants)]
        for one in order:
            one.round(seconds / ROUNDS)
