"""ceiling.py: what the device's memory can do, measured in the same way as the contestants."""
import pathlib

from . import driver
from .contestant import Run
from .timing import Graphed, turns

SIZE = 1 << 30


class Ceiling:
    def __init__(self, torch, arch, multiprocessors):
        self.torch, self.blocks = torch, multiprocessors * 4
        self.module = driver.Module((pathlib.Path(__file__).parent / "marks.cu").read_text(), arch)

    def stream(self):
        return self.torch.cuda.current_stream().cuda_stream

    def copy(self, to, source):
        n = SIZE // 16
        self.module.launch("copy16", n // 256, 256, self.stream(), to.data_ptr(), source.data_ptr(), n)

    def read(self, out, source, blocks):
        self.module.launch("read16", blocks, 512, self.stream(), out.data_ptr(), source.data_ptr(), SIZE // 16)

    def measure(self, seconds=0.15):
        """GB/s of copying, which counts what is read and written, and of reading."""
        t = self.torch
        source = t.randint(-4, 5, (SIZE // 4,), device="cuda", dtype=t.int8).float()
        to, out = t.empty_like(source), t.empty(16 * 8 * self.blocks, device="cuda")
        self.right(source, to, out)
        who = [Graphed("copy", Run(lambda s: self.copy(to, source), None), 1, t)]
        who += [Graphed(f"read {k}", Run(lambda s, k=k: self.read(out, source, k * self.blocks), None), 1, t) for k in (1, 2, 4)]
        turns(who, seconds)
        us = {g.name: g.found()["us"] for g in who}
        del who
        return {"copy_gbps": round(2 * SIZE / us.pop("copy") / 1e3, 1), "read_gbps": round(SIZE / min(us.values()) / 1e3, 1), "read_us": us}

    def right(self, source, to, out):
        t = self.torch
        to.fill_(float("nan"))
        out.fill_(float("nan"))
        self.copy(to, source)
        self.read(out, source, self.blocks)
        t.cuda.synchronize()
        assert t.equal(to, source), "the copy is wrong"
        assert float(out[:16 * self.blocks].double().sum()) == float(source.double().sum()), "the sum is wrong"
