#!/usr/bin/env python3
"""The benchmark suite is right about what it compares; it takes no time here.

    tests/bench/run.py [build/libplait.so] [--no-clang]

Every case's program is compiled and compared with its float64 reference at lengths that no vector divides and at the
smallest size, without peers; then the suite's own parts: that a wrong element is found, that bounds are no larger than
they must be, the number formats, the bars. Needs NumPy: without, it is skipped. The last line is the count.
"""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
tally = {True: 0, False: 0}


def python_with_numpy():
    """Moves on to Debian's Python where this one has no NumPy; exit status 77 means skipped."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        other = "/usr/bin/python3"
        if sys.executable != other and os.path.exists(other):
            os.execv(other, [other, *sys.argv])
        print("no NumPy: skipped")
        sys.exit(77)


def claim(name, holds, why=""):
    tally[bool(holds)] += 1
    if not holds:
        print(f"FAILED {name}: {why}")


def the_cases_are_right(library):
    """Runs the suite as a user does, and counts its lines."""
    import json
    done = subprocess.run([sys.executable, BENCH / "run.py", "--check-only", "--peer", "none", "--this-python", "--threads", "2",
                           "--library", library], capture_output=True, text=True, timeout=1500)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        if line["kind"] in ("checked", "wrong", "error"):
            claim(f"{line['case']}_{line['size']}_{line['dtype']}_is_right", line["kind"] == "checked", line.get("error"))
    claim("the_suite_ends_well", done.returncode == 0, done.stderr[-2000:])
    return lines


def each_case_runs(lines):
    from suite import cases
    ran = {(line["case"], line["dtype"], line["size"]) for line in lines if line["kind"] == "checked"}
    for case in cases.CASES:
        for dtype in case.dtypes.split():
            for size in ("odd", "cache"):
                claim(f"{case.name}_{dtype}_{size}_runs", (case.name, dtype, size) in ran, "no line of it")


def checkers():
    """(program, checker) of every case, its inputs made at the odd size."""
    from suite import cases, check, data
    from suite.program import Program
    memory = data.Memory(lambda address, size: None)
    for case in cases.CASES:
        for dtype in case.dtypes.split():
            program = Program(case, dtype, "odd")
            yield program, check.Checker(data.Inputs(program, memory, 1))


def a_wrong_element_is_found():
    """The reference itself passes; with one element moved by three bounds it does not."""
    import numpy as np
    from suite import check, data
    for program, checker in checkers():
        name = f"{program.case.name}_{program.dtype}"
        expected = checker.expected = checker.reference()
        results = [stored(v, t.dtype) for (v, _), t in zip(expected, program.results)]
        try:
            checker.compare(results)
            claim(f"{name}: the_reference_is_right", True)
        except check.Wrong as e:
            claim(f"{name}: the_reference_is_right", False, e)
        for i, (tensor, (value, bound)) in enumerate(zip(program.results, expected)):
            at = np.unravel_index(value.size // 2, value.shape)
            moved, step = np.array(value), {"bf16": 2.0**-7, "i8": 1 / 16}.get(tensor.dtype, 2.0**-20)
            moved[at] -= np.sign(value[at] or 1) * (3 * bound[at] + step * abs(value[at]) + 2.0**-30 + (tensor.dtype == "i32"))
            wrong = [*results[:i], stored(moved, tensor.dtype), *results[i + 1:]]
            claim(f"{name}: a_wrong_element_of_{tensor.name}_is_found", refused(checker, wrong), f"moved from {value[at]} to {moved[at]}")


def stored(values, dtype):
    import numpy as np
    from suite import data
    if dtype == "f8e4m3":
        table = data.e4m3_table()
        order = np.argsort(np.nan_to_num(table, nan=np.inf), kind="stable")[:254]
        near = np.clip(np.searchsorted(table[order], values), 1, 253)
        low, high = table[order[near - 1]], table[order[near]]
        return np.where(values - low < high - values, order[near - 1], order[near]).astype(np.uint8)
    return np.array(data.encoded(np.rint(values) if dtype[0] == "i" else values, dtype), order="C")


def refused(checker, results):
    from suite import check
    try:
        checker.compare(results)
    except check.Wrong:
        return True
    return False


def what_was_not_written_is_found():
    import numpy as np
    from suite import data
    for program, checker in checkers():
        checker.expected = checker.reference()
        for i, tensor in enumerate(program.results):
            results = [stored(v, t.dtype) for (v, _), t in zip(checker.expected, program.results)]
            flat = results[i].reshape(-1)
            flat[-1:] = data.POISON[tensor.dtype] if tensor.dtype != "i32" else np.int32(data.POISON["i32"])
            claim(f"{program.case.name}_{program.dtype}: the_last_element_of_{tensor.name}_must_be_written", refused(checker, results))


# Largest bound beside the largest value that a case may have. The storage types need 2^-8 (bf16; twice where one result is
# computed from another as stored), 2^-4 (f8e4m3) and half a step of 127 (i8); f32 results are allowed a thousandth, which
# the skewness comes near to: cubes of differences.
LOOSEST = {"f32": 1e-3, "bf16": 8.5e-3, "f8e4m3": 0.07, "i8": 5e-3, "i32": 0.0}


def bounds_are_no_larger_than_they_must_be():
    import numpy as np
    for program, checker in checkers():
        for tensor, (value, bound) in zip(program.results, checker.reference()):
            loose = float(np.max(bound) / max(1e-30, np.max(np.abs(value))))
            claim(f"{program.case.name}_{program.dtype}: the_bound_of_{tensor.name}_is_tight", loose <= LOOSEST[tensor.dtype], loose)


def numbers_are_as_the_formats_say():
    import numpy as np
    from suite import bounds, data
    x = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -3.140625, 1e-40, np.inf], np.float32)
    claim("bf16_rounds_to_even", list(data.from_bf16(data.to_bf16(x)))[:4] == [1.0, 1.0, 1 + 2.0**-6, -3.140625])
    claim("bf16_as_float64_agrees", np.array_equal(bounds.nearest_bf16(x[:4].astype(float)), data.from_bf16(data.to_bf16(x[:4]))))
    table = data.e4m3_table()
    claim("e4m3_has_its_extremes", (np.nanmax(table), table[1], table[0x38]) == (448, 2.0**-9, 1.0))
    words = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]        # docs: the language, `uniform`
    claim("philox_is_the_languages", list(bounds.philox(0, np.arange(4))) == [(w >> 8) * 2.0**-24 for w in words])


def programs_are_narrowed_where_the_case_says():
    from suite import cases
    from suite.program import Program
    p = Program(cases.chosen("rms_norm_int8")[0], "bf16", "cache")
    claim("tensors_become_bf16", [t.dtype for t in p.params] == ["bf16", "bf16"], p.text)
    claim("kept_ones_do_not", [t.dtype for t in p.results] == ["i8", "f32"], p.text)
    n, d = p.dims["N"], p.dims["D"]
    claim("least_bytes_are_those_of_the_tensors", p.least == 2 * n * d + 2 * d + n * d + 4 * n, p.least)
    p = Program(cases.chosen("causal_softmax")[0], "f32", "cache")
    b, t = p.dims["B"], p.dims["T"]
    claim("what_is_not_read_does_not_count", p.least == 4 * b * (t * (t + 1) // 2 + t * t), p.least)


def bars_are_met_and_missed():
    from suite import cases, report

    def line(contestant, median, size="dram", case="softmax", fraction=0.9):
        return {"kind": "result", "case": case, "size": size, "dtype": "f32", "threads": 2, "contestant": contestant, "median": median,
                "fraction": fraction, "least_bytes": 1000}
    lines = [line("plait", 2.0), line("jax", 3.0), line("torch.compile", 4.0), line("plait", 1.0, "cache"), line("jax", 0.8, "cache"),
             line("plait", 1.0, "rows:64"), line("plait", 1.6, "rows:256")]
    found = {b["bar"]: b for b in report.bars(lines, cases.CASES) if b["kind"] == "bar"}
    def met(start):
        return next(b["met"] for n, b in found.items() if n.startswith(start))
    claim("a_fraction_above_its_bar_is_met", met("softmax: fraction") is True)
    claim("what_was_not_measured_is_neither", met("rms_norm: fraction") is None)
    claim("ahead_from_memory_is_met", met("from memory: ahead") is True)
    claim("twice_torch_compile_is_met", met("from memory: geometric mean beside torch.compile") is True)
    claim("behind_in_the_cache_is_missed", met("from caches: least ratio") is False)
    claim("a_sweep_that_is_not_flat_is_missed", met("softmax f32: flat over rows") is False)


def tables_show_who_was_measured():
    import tempfile
    from suite import cases, report
    machine = {"kind": "machine", "date": "2026-01-02T", "cpu": "A processor", "cores": 2, "vectors": "avx2", "caches": {"L3": 1 << 25}, "load": 0.5,
               "revision": "abc"}
    def line(case, contestant, median):
        return {"kind": "result", "case": case, "size": "dram", "dtype": "f32", "threads": 2, "contestant": contestant, "median": median,
                "gbs": 10.0, "fraction": 0.5, "least_bytes": 1 << 28, "compiler": "a compiler"}
    lines = [machine, {"kind": "present", "contestant": "plait", "version": "1"}, line("softmax", "plait", 0.02), line("softmax", "jax", 0.03),
             line("cumsum", "jax", 0.5), line("softmax", "plait", 0.02) | {"size": "rows:64"}]
    text = report.markdown(lines, cases.CASES)
    claim("a_peer_is_beside_plait", "| `softmax` | 20.00 | 10.0 | 50 % | 1.50 |" in text, text)
    claim("a_case_without_plait_says_so", "| `cumsum` | failed |  |  | 500.00 |" in text, text)
    claim("the_machine_is_named", "A processor, 2 cores" in text and "a compiler" in text, text)
    claim("a_sweep_is_one_table", "| case | 64 |" in text and "| `softmax` f32 | 10.0 (50 %) |" in text, text)
    claim("means_are_of_the_ratios", "| jax | 1.5 (1) |  |" in text, text)
    with tempfile.NamedTemporaryFile("w+", suffix=".md") as page:
        page.write("before\n" + report.BEGIN + "old\n" + report.END + "after\n")
        page.flush()
        report.insert(page.name, "new")
        kept = Path(page.name).read_text()
        claim("tables_go_between_the_marks", kept == "before\n" + report.BEGIN + "\nnew\n" + report.END + "after\n", kept)


def turns_are_taken_by_all():
    from suite.measure import Timed, Turns
    calls = {"a": [0, 0], "b": [0]}

    def of(name, s):
        def call():
            calls[name][s] += 1
        return call
    who = [Timed(n, [of(n, s) for s in range(len(c))]) for n, c in calls.items()]
    Turns(who, 0.02).run()
    claim("each_has_samples_of_every_round", all(len(t.seconds) >= 5 for t in who))
    claim("sets_take_turns", abs(calls["a"][0] - calls["a"][1]) <= 1 + sum(calls["a"]) // 4 and min(calls["a"]) > 0, calls)


def generated_programs_have_their_equations(library):
    import compile as growth
    import plait
    cx = plait.Context(threads=1, library=plait.Library(library))
    for shape, make in growth.SHAPES.items():
        for n in (10, 100, 1000):
            body = make(n).split("{\n", 1)[1].splitlines()
            equations = sum(" = " in line for line in body)
            claim(f"{shape}_of_{n}_has_{n}_equations", 0.7 * n <= equations <= 1.2 * n, equations)
        spent = []
        note = plait.TIMING(lambda _user, stage, ms: spent.append(stage.decode()))
        made = cx.entry("generated.plait", make(30), timing=note).emit("c", timing=note)
        claim(f"{shape}_of_30_becomes_c_in_timed_stages", "emit" in spent and "parse" in spent and len(made) > 500, spent)


def main():
    python_with_numpy()
    sys.path.insert(0, str(BENCH))
    library = next((a for a in sys.argv[1:] if not a.startswith("-")), str(ROOT / "build" / "libplait.so"))
    each_case_runs(the_cases_are_right(library))
    for test in (a_wrong_element_is_found, what_was_not_written_is_found, bounds_are_no_larger_than_they_must_be,
                 numbers_are_as_the_formats_say, programs_are_narrowed_where_the_case_says, bars_are_met_and_missed,
                 tables_show_who_was_measured, turns_are_taken_by_all):
        test()
    generated_programs_have_their_equations(library)
    print(f"{tally[True]} passed, {tally[False]} failed")
    return 1 if tally[False] else 0


if __name__ == "__main__":
    sys.exit(main())
