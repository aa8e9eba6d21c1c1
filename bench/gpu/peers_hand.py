"""peers_hand.py: the kernels of marks.cu, for the cases that have one; of several forms the fastest counts."""
import pathlib
import types

from . import driver
from .contestant import Run, Unsupported

MARKS = pathlib.Path(__file__).parent / "marks.cu"

# Row length in vectors of eight: the kernels that hold such a row, as (name, rows a block, blocks a row, threads).
SOFTMAX = {128: [("softmax_warp", 8, 1, 256), ("softmax_128_1", 1, 1, 128)],
           512: [("softmax_128_4", 1, 1, 128), ("softmax_256_2", 1, 1, 256)], 4096: [("softmax_512_8", 1, 1, 512), ("softmax_1024_4", 1, 1, 1024)],
           16384: [("softmax_cluster_8_512_4", 1, 8, 512), ("softmax_cluster_8_1024_2", 1, 8, 1024), ("softmax_cluster_4_1024_4", 1, 4, 1024)]}
RMS = {64: ["64_1"], 512: ["128_4", "256_2", "512_1"], 2048: ["256_8", "512_4", "1024_2"]}
FP8 = {64: ["64_1"], 512: ["256_2", "512_1"]}


def softmax(hand, ins, outs, n, d):
    found = [k for k in SOFTMAX.get(d // 8, []) if n % k[1] == 0]
    return {name: lambda name=name, rows=rows, blocks=blocks, threads=threads: hand.launch(name, n // rows * blocks, threads, *outs, *ins)
            for name, rows, blocks, threads in found}


def rms_norm(hand, ins, outs, n, d):
    return {f"rms_{k}": lambda k=k: hand.launch(f"rms_{k}", n, int(k.split("_")[0]), *outs, *ins) for k in RMS.get(d // 8, [])}


def residual_norm_fp8(hand, ins, outs, n, d):
    return {f"fp8_{k}": lambda k=k: hand.launch(f"fp8_{k}", n, int(k.split("_")[0]), *outs, *ins) for k in FP8.get(d // 8, [])}


def logsumexp(hand, ins, outs, n, d):
    target = ins[1] if len(ins) > 1 else 0
    return {f"lse_{t}": lambda t=t: hand.launch(f"lse_{t}", n, t, outs[0], ins[0], target, d // 8) for t in (256, 512, 1024)} if d % 8 == 0 else {}


def sum_rows(hand, ins, outs, n, d):
    return {"rows_sum": lambda: hand.launch("rows_sum", n, 256, outs[0], ins[0], d // 4)}


def sum_columns(hand, ins, outs, n, d):
    def sum_in(parts):
        hand.launch("columns_part", ((d // 4 + 255) // 256, parts), 256, hand.scratch, ins[0], d // 4, n // parts)
        hand.launch("columns_end", (d + 255) // 256, 256, outs[0], hand.scratch, d, parts)
    return {f"{parts} parts": lambda parts=parts: sum_in(parts) for parts in (16, 32, 64) if n % parts == 0}


def sum_all(hand, ins, outs, n, d):
    def sum_in(blocks):
        hand.launch("read16", blocks, 512, hand.scratch, ins[0], n * d // 4)
        hand.launch("rows_sum", 1, 256, outs[0], hand.scratch, blocks * 4)
    return {f"{blocks} blocks": lambda blocks=blocks: sum_in(blocks) for blocks in (264, 528, 1056)}


FORMS = {"softmax": softmax, "rms_norm": rms_norm, "residual_norm_fp8": residual_norm_fp8, "logsumexp": logsumexp, "cross_entropy": logsumexp,
         "sum_rows": sum_rows, "sum_columns": sum_columns, "sum_all": sum_all}
SCRATCH = 1 << 24


class Hand:
    name, strict, version = "hand", False, "marks.cu"

    def __init__(self, arch):
        self.module = driver.Module(MARKS.read_text(), arch)

    def bound(self, work):
        """launch(name, grid, block, addresses…) on the stream that is current, and scratch memory."""
        memory, kept = work.memory, work.memory.scratch(SCRATCH)

        def launch(name, grid, block, *args):
            self.module.launch(name, grid, block, memory.stream(), *args)
        return types.SimpleNamespace(launch=launch, scratch=kept.address, kept=kept)

    def ready(self, work):
        form, memory, dims = FORMS.get(work.case.program), work.memory, work.program.dims
        if not form:
            raise Unsupported("no kernel by hand")
        hand = self.bound(work)
        outs = [[memory.empty(t) for t in work.program.results] for _ in range(work.sets)]
        made = [form(hand, self.addresses(memory, work.inputs[s]), self.addresses(memory, outs[s]), dims["N"], dims["D"]) for s in range(work.sets)]
        if not made[0]:
            raise Unsupported("no kernel by hand for this length")
        return [Run(lambda s, name=name: made[s][name](), lambda s: outs[s], variant=name, keep=hand) for name in made[0]]

    def addresses(self, memory, handles):
        return [memory.buffer(h).address for h in handles]
