"""measure.py: takes the time of contestants in turns.

Each round lets every contestant run for a moment: a pause, so that threads of the one before it are asleep, a call that
is not counted, then a few that are. What the machine does to one it does to all; the median over all rounds counts.
Calls go round over the sets of inputs, all contestants on one counter, so what one has left in the cache serves none.
"""
import dataclasses
import gc
import statistics
import time

ROUNDS = 5
PAUSE = 0.004                     # seconds between contestants
TICK = 2e-4                       # seconds that one sample takes at least: shorter calls are repeated in it


@dataclasses.dataclass
class Timed:
    name: str
    calls: list
    seconds: list = dataclasses.field(default_factory=list)
    repeat: int = 1
    alone: bool = False           # by one thread

    def summary(self):
        s = self.seconds
        return {"median": statistics.median(s), "min": min(s), "max": max(s), "samples": len(s)}


class Turns:
    def __init__(self, timed, budget):
        self.timed, self.budget, self.next = timed, budget, 0

    def call(self, t):
        self.next += 1
        return t.calls[self.next % len(t.calls)]

    def sample(self, t):
        """Seconds of one call, as the mean of `repeat`."""
        calls = [self.call(t) for _ in range(t.repeat)]
        start = time.perf_counter()
        for call in calls:
            call()
        return (time.perf_counter() - start) / len(calls)

    def try_out(self, t):
        """The second of two calls, and from it how often a sample repeats the call."""
        self.call(t)()
        once = self.sample(t)
        t.repeat = max(1, round(TICK / max(once, 1e-9)))
        return once

    def fastest(self, ways, within=0.8):
        """Those of some ways to do the same that are worth timing, of those of one thread and of the others apart."""
        once = {w.name: min(self.try_out(w), self.sample(w)) for w in ways}

        def least(w):
            return min(once[v.name] for v in ways if v.alone == w.alone)
        return [w for w in ways if once[w.name] * within <= least(w)]

    def samples(self, once, repeat):
        """In a round: as the budget allows, 1 to 20."""
        share = self.budget / ROUNDS / len(self.timed)
        return max(1, min(20, int(share / (once * repeat))))

    def run(self):
        once = {id(t): self.try_out(t) for t in self.timed}
        gc.collect()
        gc.disable()
        for r in range(ROUNDS):
            for t in self.timed[r % len(self.timed):] + self.timed[:r % len(self.timed)]:
                if r >= 2 and once[id(t)] > self.budget / 4:
                    continue                              # so slow that two rounds are enough
                time.sleep(PAUSE)
                if once[id(t)] < self.budget / 4:
                    self.call(t)()
                t.seconds += [self.sample(t) for _ in range(self.samples(once[id(t)], t.repeat))]
        gc.enable()
