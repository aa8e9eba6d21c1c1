#!/usr/bin/env python3
"""The suite for GPUs is right about what it compares and says, as far as that shows without one.

    tests/bench/gpu.py [build/libplait.so] [build/cuda_emu]

Every case's program becomes CUDA C at its full size and has the sizes that the peers' table names; references and
bounds find a wrong element; the kernels by hand compile and spill nothing, where NVRTC is; tables and bars say what
lines say. With the emulator's folder all cases are run and compared at small sizes. Needs NumPy. The last line is the
count.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from run import BENCH, ROOT, claim, python_with_numpy, refused, stored, tally

# Least bytes in MB of the table that the cases' sizes come from; 5 reads half of its square here.
TABLE = {"1": 268, "2": 705, "3": 403, "4a": 134, "4b": 537, "4c": 134, "4d": 67, "5": 1611, "6a": 268, "6e": 268, "6b": 0.02, "6c": 0.27,
         "6d": 1.06, "7": 537, "8a": 1074, "8b": 1074, "8c": 1074, "9a": 134, "9b": 206, "10": 2101, "11": 269, "12": 537, "13": 16.4, "14": 537,
         "15": 268, "16a": 235, "16b": 235, "20": 537}


def programs(small):
    from gpu import cases
    from gpu.program import SMALL, Program
    os.environ.pop(SMALL, None)
    if small:
        os.environ[SMALL] = "1"
    return [Program(c) for c in cases.CASES]


def there_are_enough_cases_and_each_is_one():
    from gpu import cases
    ids = [c.id for c in cases.CASES]
    claim("there_are_34_cases", len(ids) >= 34, len(ids))
    claim("each_id_is_one", len(set(ids)) == len(ids), ids)
    claim("each_name_is_one", len({c.name for c in cases.CASES}) == len(ids))
    claim("a_pattern_chooses", [c.id for c in cases.chosen("4?,argmax")] == ["4a", "4b", "4c", "4d", "13"], cases.chosen("4?,argmax"))


def sizes_are_those_of_the_table():
    for p in programs(small=False):
        if p.case.id in TABLE:
            mb, asked = p.least / 1e6, TABLE[p.case.id]
            claim(f"{p.case.id}_moves_what_the_table_says", abs(mb / asked - 1) < (0.25 if asked < 1 else 0.01), f"{mb} MB, not {asked}")


def each_becomes_cuda_at_its_size(library):
    import plait
    cx = plait.Context(library=plait.Library(library))
    for p in programs(small=False):
        try:
            text = cx.entry(f"{p.case.program}.plait", p.text, p.entry).emit("cuda", p.dims)
            claim(f"{p.case.id}_becomes_cuda", "__global__" in text, text[:500])
        except plait.PlaitError as e:
            claim(f"{p.case.id}_becomes_cuda", False, e)


class Host:
    """Arrays in place of device memory."""

    def part(self, handle, axis, at):
        import numpy as np
        array, dtype = handle
        return (array if at is None or axis is None else np.take(array, at, axis)), dtype


def checkers():
    from gpu import check, memory
    for p in programs(small=True):
        handles = [(memory.host_values(t, p.case.data.get(t.name, "normal"), p.dims, i + 1), t.dtype) for i, t in enumerate(p.tensor_params)]
        yield p, check.Checker(p, Host(), handles)


class Stored(tuple):
    """A result as a handle: an array, as stored, and its type."""

    shape = property(lambda self: self[0].shape)


def a_wrong_element_is_found():
    import numpy as np
    for p, checker in checkers():
        expected = checker.expected = checker.reference()
        right = [Stored((as_stored(v, t.dtype), t.dtype)) for (v, _), t in zip(expected, p.results)]
        claim(f"{p.case.id}: the_reference_is_right", not refused(checker, right))
        for i, (t, (value, bound)) in enumerate(zip(p.results, expected)):
            claim(f"{p.case.id}: {t.name}_has_its_shape", value.shape == t.shape, f"{value.shape}, not {t.shape}")
            at = np.unravel_index(value.size // 2, value.shape)
            moved, step = np.array(value), {"bf16": 2.0**-7, "i8": 1 / 16, "i64": 1}.get(t.dtype, 2.0**-20)
            moved[at] -= np.sign(value[at] or 1) * (3 * bound[at] + step * max(1e-9, abs(value[at])) + (t.dtype == "i64"))
            wrong = [*right[:i], Stored((as_stored(moved, t.dtype), t.dtype)), *right[i + 1:]]
            claim(f"{p.case.id}: a_wrong_element_of_{t.name}_is_found", refused(checker, wrong), f"moved from {value[at]} to {moved[at]}")


def as_stored(values, dtype):
    import numpy as np
    return np.asarray(stored(values, dtype))


def a_sample_is_of_the_first_and_last_too():
    import numpy as np
    from gpu import check
    for p in programs(small=False):
        checker = check.Checker.__new__(check.Checker)
        checker.program, checker.case = p, p.case
        at = checker.sampled_values()
        largest = max(int(np.prod(t.shape)) for t in p.params + p.results)
        if p.case.sample and largest > check.Checker.sample:
            n = p.dims[p.case.sample]
            claim(f"{p.case.id}: the_sample_has_both_ends", at[0] == 0 and at[-1] == n - 1 and len(at) >= 2, at)
        else:
            claim(f"{p.case.id}: all_is_compared", at is None)


def libraries_are_held_to_more_than_the_bound_but_not_to_anything():
    import numpy as np
    p, checker = next((p, c) for p, c in checkers() if p.case.id == "6a")
    checker.expected = checker.reference()
    value, bound = checker.expected[0]
    for by, passes in ((2.0**-9, True), (2.0**-5, False)):
        moved = Stored((as_stored(value + by * np.abs(value).max(), "bf16"), "bf16"))
        claim(f"a_library_{by}_off_{'passes' if passes else 'fails'}", refused_by_library(checker, [moved]) is not passes)


def refused_by_library(checker, results):
    from suite import check
    try:
        checker.compare(results, strict=False)
    except check.Wrong:
        return True
    return False


def kernels_by_hand_compile_and_spill_nothing():
    from gpu import cases, driver, peers_hand
    claim("each_kernel_by_hand_has_a_case", peers_hand.FORMS.keys() <= {c.program for c in cases.CASES}, peers_hand.FORMS.keys())
    text = peers_hand.MARKS.read_text()
    try:
        driver.nvrtc()
    except driver.Failed:
        print("kernels by hand: left out, there is no NVRTC")
        return
    try:
        code, log = driver.compiled(text, "sm_90", ["--ptxas-options=-v"])
    except driver.Failed as e:
        claim("kernels_by_hand_compile", False, e)
        return
    spills = [line for line in log.splitlines() if "spill stores" in line and "0 bytes spill stores, 0 bytes spill loads" not in line]
    claim("kernels_by_hand_spill_nothing", len(code) > 1000 and not spills, spills)
    for name in kernel_names(peers_hand):
        claim(f"kernel_{name}_is_there", name in text_of_kernels(text), name)


def kernel_names(hand):
    yield from (k[0] for forms in hand.SOFTMAX.values() for k in forms)
    yield from (f"rms_{k}" for forms in hand.RMS.values() for k in forms)
    yield from (f"fp8_{k}" for forms in hand.FP8.values() for k in forms)
    yield from ("lse_256", "lse_512", "lse_1024", "copy16", "read16", "columns_part", "columns_end", "rows_sum", "softmax_warp")


def text_of_kernels(text):
    """Names of the kernels: those written out, and those that macros make: SOFTMAX(128, 4) is softmax_128_4."""
    import re
    made = re.findall(r"^([A-Z0-9_]+)\(([\d, ]+)\)$", text, re.M)
    return re.findall(r"__launch_bounds__\(\d+\) (\w+)\(", text) + [f"{macro.lower()}_{args.replace(', ', '_')}" for macro, args in made]


def line(contestant, case, us, **more):
    """A result of 4a's size; quartiles 1 % apart."""
    return {"kind": "result", "case": case, "name": case, "contestant": contestant, "version": "1", "us": us, "q1": us * 0.995, "q3": us * 1.005,
            "least": us * 0.99, "kernels": 1.0, "least_bytes": 134217728, "reads": False, "compiler": "NVRTC 13.0", "prepare_ms": 41.0} | more


def canned():
    machine = {"kind": "machine", "date": "2026-01-02T", "revision": "abc", "device": "A GPU", "arch": "sm_90", "multiprocessors": 132, "driver": 13000,
               "smi": "A GPU, 1980 MHz", "cores": 16, "python": "3.12", "command": "bench/gpu/run.py"}
    ceilings = [{"kind": "ceiling", "when": w, "copy_gbps": c, "read_gbps": 3137.0, "smi": ""} for w, c in (("start", 3020.0), ("end", 3025.0))]
    results = [line("plait", "4a", 46.0), line("torch.compile", "4a", 80.0), line("hand", "4a", 46.2), line("plait", "4c", 50.0), line("jax", "4c", 47.0),
               line("plait", "6b", 1.6, least_bytes=24576), line("hand", "6b", 1.5, least_bytes=24576), line("torch.compile", "6b", 1.8, least_bytes=24576),
               line("plait", "5", 590.0, least_bytes=1611137024), line("plait", "12", 172.0, least_bytes=536903680, reads=True)]
    more = [{"kind": "bits", "case": "4a", "launches": 100, "different": 0},
            {"kind": "wrong", "case": "12", "contestant": "jax", "error": "y is off"}, {"kind": "present", "contestant": "plait", "version": "0.1"},
            {"kind": "first_call", "what": "triton", "first_ms": 1400.0, "second_ms": 160.0}, {"kind": "absent", "contestant": "triton", "error": "no module"}]
    return [machine, *ceilings, *results, *more]


def bars_are_met_and_missed():
    from gpu import report
    found = {b["bar"].split(" ")[0] if b["bar"][0].isdigit() else b["bar"]: b for b in report.bars(canned())}
    claim("a_part_above_its_bar_is_met", found["4a"]["met"] is True and found["4a"]["value"] == "96.5 %", found["4a"])
    claim("a_part_below_is_missed", found["4c"]["met"] is False, found["4c"])
    claim("a_time_below_its_limit_is_met", found["5"]["met"] is True, found["5"])
    claim("slower_than_by_hand_is_missed", found["6b"]["met"] is False and found["6b"]["asks"] == "1.50 µs (by hand)", found["6b"])
    claim("reading_is_held_to_the_read_ceiling", found["12"]["value"] == "99.5 %", found["12"])
    claim("what_was_not_measured_is_neither", found["1"]["met"] is None)
    slower = found["no slower than the best peer on any case"]
    claim("cases_behind_a_peer_are_named", slower["met"] is False and "4c: 0.94 of it (jax)" in slower["value"] and "4a" not in slower["value"], slower)
    mean = found["geometric mean beside torch.compile"]
    claim("the_mean_is_geometric", mean["value"] == "1.40" and mean["met"] is True, mean)
    text = found["text to loaded kernel, median of the cases"]
    claim("compile_time_has_its_bar", text["met"] is True and text["value"] == "41.0 ms (41 to 41)", text)
    claim("bits_have_theirs", found["the same bits on 100 launches"]["value"] == "1 of 1 cases")


def nothing_measured_meets_no_bar():
    from gpu import report
    claim("no_lines_meet_nothing", all(b["met"] is None for b in report.bars([])), [b for b in report.bars([]) if b["met"] is not None])


def tables_say_what_lines_say():
    from gpu import report
    text = report.markdown(canned())
    claim("the_device_is_named", "A GPU (sm_90, 132 multiprocessors, driver 13.0; A GPU, 1980 MHz)" in text, text)
    claim("both_ceilings_are_told", "copy 3020.0 GB/s" in text and "copy 3025.0 GB/s" in text, text)
    claim("a_tie_is_shown", "| 46.0 (96 %) |" in text and "46.2 (96 %) = |" in text, text)
    claim("a_wrong_peer_is_told", "| wrong |" in text and "12 jax: wrong: y is off" in text, text)
    claim("an_absent_peer_is_told", "triton: absent: no module" in text, text)
    claim("first_calls_are_a_table", "| triton | 1400 | 160 |" in text, text)
    claim("the_best_peer_is_named", "1.00 (by hand)" in text and "0.94 (XLA)" in text, text)
    with tempfile.TemporaryDirectory() as folder:
        page, lines = Path(folder) / "page.md", Path(folder) / "run.jsonl"
        page.write_text("before\n" + report.BEGIN + "old\n" + report.END + "after\n")
        lines.write_text("".join(json.dumps(x) + "\n" for x in canned()))
        done = subprocess.run([sys.executable, BENCH / "gpu" / "run.py", "--table", lines, "--into", page], capture_output=True, text=True)
        claim("tables_go_between_the_marks", page.read_text() == "before\n" + report.BEGIN + "\n" + text + "\n" + report.END + "after\n", done.stderr)
        done = subprocess.run([sys.executable, BENCH / "gpu" / "run.py", "--table", lines, "--json"], capture_output=True, text=True)
        claim("bars_are_lines_too", [json.loads(x) for x in done.stdout.splitlines()] == list(report.bars(canned())), done.stderr)


def turns_rotate():
    from gpu import timing
    order = []

    class One:
        def __init__(self, name):
            self.name = name

        def round(self, seconds):
            order.append(self.name)
    timing.turns([One("a"), One("b"), One("c")], 1.0)
    claim("each_round_begins_with_another", order[:9] == list("abcbcacab"), order)
    claim("quartiles_are_of_all", timing.quartiles([3, 1, 2, 4, 5])[0] == 3 and timing.quartiles([2.0]) == (2.0, 2.0, 2.0, 2.0))


def all_cases_run_on_the_emulator(library, emulator):
    from gpu import cases
    env = os.environ | {"LD_LIBRARY_PATH": emulator, "PLAIT_NVRTC": f"{emulator}/libnvrtc.so.13"}
    env.pop("PLAIT_GPU_BENCH_SMALL", None)
    done = subprocess.run([sys.executable, BENCH / "gpu" / "run.py", "--check-only", "--size", "small", "--library", library], capture_output=True,
                          text=True, env=env, timeout=600)
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    right = {x["case"] for x in lines if x["kind"] == "checked"}
    why = {x["case"]: x["error"] for x in lines if x["kind"] in ("wrong", "error")}
    for case in cases.CASES:
        claim(f"{case.id}_is_right_on_the_emulator", case.id in right, why.get(case.id, "no line of it"))
    claim("the_same_bits_each_time", all(not x["different"] for x in lines if x["kind"] == "bits") and len(right) > 0)
    claim("the_suite_ends_well", done.returncode == 0, done.stderr[-2000:])


def a_lost_process_costs_its_case():
    """A run of five cases whose second ends as where the device is lost, and whose fourth is killed."""
    script = ("import json, os, sys\n"
              "def value(name): return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else '0'\n"
              "with open(value('--out'), 'a') as out:\n"
              "    for i in range(int(value('--after')) + 1, 6):\n"
              "        print(json.dumps({'kind': 'begin', 'case': str(i)}), file=out, flush=True)\n"
              "        if i == 2: os._exit(9)\n"
              "        if i == 4: os.kill(os.getpid(), 9)\n"
              "        print(json.dumps({'kind': 'result', 'case': str(i)}), file=out, flush=True)\n")
    from gpu import supervise
    with tempfile.TemporaryDirectory() as folder:
        inside, out = Path(folder) / "inside.py", Path(folder) / "lines"
        inside.write_text(script)
        before, sys.argv = sys.argv, ["run.py"]
        status = supervise.run(str(inside), 100, str(out))
        sys.argv = before
        lines = [json.loads(x) for x in out.read_text().splitlines()]
    claim("a_lost_process_is_told", status == 1 and [x["case"] for x in lines if x["kind"] == "error"] == ["2", "4"], lines)
    claim("the_other_cases_are_there", [x["case"] for x in lines if x["kind"] == "result"] == ["1", "3", "5"], lines)


def without_a_gpu_it_is_left_out():
    env = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "PLAIT_NVRTC")} | {"CUDA_VISIBLE_DEVICES": "", "PLAIT_CUDA_DRIVER": "/nowhere"}
    done = subprocess.run([sys.executable, ROOT / "tests" / "gpu" / "run.py"], capture_output=True, text=True, env=env)
    claim("tests_without_a_gpu_say_so", done.returncode == 77 and "no GPU" in done.stdout, done.stdout + done.stderr)


def main():
    python_with_numpy()
    sys.path.insert(0, str(BENCH))
    library, *emulator = sys.argv[1:] or [str(ROOT / "build" / "libplait.so")]
    for test in (there_are_enough_cases_and_each_is_one, sizes_are_those_of_the_table, a_wrong_element_is_found, a_sample_is_of_the_first_and_last_too,
                 libraries_are_held_to_more_than_the_bound_but_not_to_anything, kernels_by_hand_compile_and_spill_nothing, bars_are_met_and_missed,
                 nothing_measured_meets_no_bar, tables_say_what_lines_say, turns_rotate, a_lost_process_costs_its_case, without_a_gpu_it_is_left_out):
        test()
    each_becomes_cuda_at_its_size(library)
    if emulator:
        all_cases_run_on_the_emulator(library, emulator[0])
    print(f"{tally[True]} passed, {tally[False]} failed")
    return 1 if tally[False] else 0


if __name__ == "__main__":
    sys.exit(main())
