#!/usr/bin/env python3
"""Drives the plait program: exit codes, help, messages, NPY files, JSON.

    tests/cli/run.py build/plait [-v] [WORD…]

Only tests whose name contains every WORD are run. Each test is a function whose name is the claim that it checks. NumPy
is used where it is installed; without it the tests that need it are skipped. The last line is the count.
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    np = None

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMANDS = ["check", "run", "explain", "emit", "fmt", "doctor", "help"]
SCALE = "fn scale(x: f32[N, D], k: f32 = 2.0) -> y: f32[N, D] {\n  y[i, j] = x[i, j] * k\n}\n"
ROWS = """fn rows(x: f32[N, D]) -> y: f32[N, D] {
  m[i]    = max[j](x[i, j])
  z[i]    = sum[j](exp(x[i, j] - m[i]))
  y[i, j] = exp(x[i, j] - m[i]) / z[i]
}
"""
TWO = SCALE + "fn other(x: f32[N]) -> y: f32[N] { y[i] = x[i] }\n"
GATHER = "fn gather(t: f32[V, D], ids: i32[T]) -> y: f32[T, D] {\n  y[n, j] = t[ids[n], j]\n}\n"
APPEND = "fn append(mut cache: f32[S, E], k: f32[E], pos: i64) {\n  cache[pos, e] <- k[e]\n}\n"


class Skip(Exception):
    pass


class Done:
    def __init__(self, p):
        self.code, self.raw = p.returncode, p.stdout
        self.out, self.err = p.stdout.decode(errors="replace"), p.stderr.decode()


def plait(*args, stdin=b"", env=None, cwd=None):
    e = {k: v for k, v in os.environ.items() if not k.startswith("PLAIT_") or k == "PLAIT_CLANG_DIR"}
    e.update(env or {})
    if isinstance(stdin, str):
        stdin = stdin.encode()
    p = subprocess.run([PLAIT, *args], input=stdin, capture_output=True, env=e, cwd=cwd or TEMP, timeout=120)
    return Done(p)


def write(name, text):
    path = os.path.join(TEMP, name)
    with open(path, "wb") as f:
        f.write(text.encode() if isinstance(text, str) else text)
    return path


def npy(name, descr, shape, data, version=1, fortran=False):
    """An NPY file made by hand, so that it can be wrong."""
    text = "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }" % (descr, fortran, "".join("%d, " % n for n in shape))
    head = b"\x93NUMPY" + bytes([version, 0])
    pad = -(len(head) + (2 if version == 1 else 4) + len(text) + 1) % 64
    text = text + " " * pad + "\n"
    head += struct.pack("<H" if version == 1 else "<I", len(text))
    return write(name, head + text.encode() + data)


def floats(name, *values, shape=None):
    return npy(name, "<f4", shape or (len(values),), struct.pack("<%df" % len(values), *values))


def expect(done, code, *parts):
    assert done.code == code, "exit %d, not %d\n%s%s" % (done.code, code, done.out, done.err)
    for part in parts:
        assert part in done.out + done.err, "no %r in\n%s%s" % (part, done.out, done.err)
    return done


def has_compiler():
    return json.loads(plait("doctor", "--json").out)["usable"]


# ---- the command line itself ----

def version_is_one_line():
    d = expect(plait("--version"), 0)
    assert re.fullmatch(r"plait \d+\.\d+\.\d+\n", d.out), d.out


def no_arguments_show_the_help_and_are_a_usage_error():
    d = expect(plait(), 2)
    assert not d.out and "COMMANDS" in d.err


def help_of_the_program_lists_every_command():
    d = expect(plait("--help"), 0)
    for c in COMMANDS:
        assert re.search(r"^  %s " % c, d.out, re.M), c
    assert not d.err


def every_command_has_a_page_with_all_sections():
    for c in COMMANDS:
        d = expect(plait(c, "--help"), 0)
        for part in ["USAGE", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "--help", "--diagnostics", "plait " + c]:
            assert part in d.out, (c, part)
        assert not d.err
        assert expect(plait("help", c), 0).out == d.out


def help_pages_fit_a_terminal():
    for c in COMMANDS:
        for line in plait(c, "--help").out.splitlines():
            assert len(line) <= 120, line


def examples_of_the_help_name_options_that_exist():
    for c in COMMANDS:
        page = plait(c, "--help").out
        known = set(re.findall(r"--[a-z][a-z-]*", page.split("EXAMPLES")[0])) | {"--version"}
        for line in page.split("EXAMPLES")[1].split("EXIT STATUS")[0].splitlines():
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line.split("#")[0]):
                assert option in known, (c, option)


def a_mistyped_command_gets_a_suggestion():
    expect(plait("chek"), 2, "did you mean `check`?")


def a_mistyped_option_gets_a_suggestion():
    expect(plait("run", "--enrty", "f", "x.plait"), 2, "did you mean `--entry`?")


def an_unknown_option_without_a_neighbour_points_to_the_help():
    expect(plait("run", "--zzzzzzzz", "x.plait"), 2, "plait run --help")


def a_file_in_a_commands_place_says_how_to_run_it():
    expect(plait("a.plait"), 2, "plait run a.plait")


def missing_operands_and_values_are_usage_errors():
    for args in [("check",), ("run",), ("emit",), ("fmt",), ("explain",), ("run", "--entry"), ("check", "--color")]:
        expect(plait(*args), 2)


def a_switch_takes_no_value():
    expect(plait("fmt", "--check=1", "x"), 2, "takes no value")


def an_option_given_twice_is_refused():
    expect(plait("run", "--entry", "a", "--entry", "b", "x.plait"), 2, "twice")


def wrong_choices_name_the_right_ones():
    path = write("s.plait", SCALE)
    expect(plait("check", "--diagnostics", "xml", path), 2, "text, json or short")
    expect(plait("check", "--color", "red", path), 2, "auto, always or never")
    expect(plait("run", "--target", "gpu", path), 2, "ref")
    expect(plait("emit", "--stage", "kernl", path), 2, "did you mean `kernel`?")
    expect(plait("emit", "--target", "cubit", path), 2, "did you mean `cubin`?")
    expect(plait("emit", "--target", "metal", path), 2, "c, cuda, ptx, cubin")
    expect(plait("run", "--gpu-compiler", "nvcc", path), 2, "nvrtc")
    expect(plait("run", "--device", "-1", path), 2, "--device")
    expect(plait("run", "--device", "0", path), 2, "add --target cuda")
    expect(plait("run", "--time", "many", path), 2)
    expect(plait("run", "--threads", "0", path), 2)


def unknown_environment_variables_warn():
    d = expect(plait("doctor", env={"PLAIT_THREDS": "2"}), 0)
    assert "warning[" in d.err and "PLAIT_THREADS" in d.err


def bad_values_of_environment_variables_are_errors():
    expect(plait("doctor", env={"PLAIT_THREADS": "many"}), 3, "PLAIT_THREADS")
    expect(plait("doctor", env={"PLAIT_GPU_COMPILER": "nvcc"}), 3, "PLAIT_GPU_COMPILER", "nvrtc")
    expect(plait("doctor", env={"PLAIT_NVRTC": "libnvrtc.so"}), 3, "PLAIT_NVRTC", "absolute")


def no_color_reaches_a_pipe_but_always_does():
    path = write("bad.plait", "fn f(x: f32[N]) -> y: f32[N] { y[i] = z[i] }\n")
    assert "\033[" not in plait("check", path).err
    assert "\033[" in plait("check", "--color=always", path).err


def a_closed_output_is_an_error_of_the_machine():
    if not os.path.exists("/dev/full"):
        raise Skip
    with open("/dev/full", "wb") as full:
        p = subprocess.run([PLAIT, "--help"], stdout=full, stderr=subprocess.PIPE)
    assert p.returncode == 3, p.returncode


def a_reader_that_has_seen_enough_is_no_error():
    p = subprocess.Popen([PLAIT, "help", "--markdown"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.read(10)
    p.stdout.close()
    assert p.wait() == 0 and not p.stderr.read()


# ---- files ----

def missing_files_directories_and_huge_files_are_told_apart():
    expect(plait("check", "nowhere.plait"), 3, "PLE0101", "nowhere.plait")
    expect(plait("check", TEMP), 3, "directory")
    expect(plait("check", write("huge.plait", "#" * (4 * 1024 * 1024 + 10))), 5, "PLL0101")


def unreadable_files_are_reported():
    path = write("secret.plait", SCALE)
    os.chmod(path, 0)
    try:
        if os.access(path, os.R_OK):
            raise Skip        # root reads everything
        expect(plait("check", path), 3, "PLE0101")
    finally:
        os.chmod(path, 0o600)
        os.unlink(path)


def a_dash_is_standard_input():
    expect(plait("check", "-", stdin=SCALE), 0)
    expect(plait("check", "-", stdin="fn"), 1, "<stdin>")


# ---- check ----

def a_right_program_prints_nothing():
    d = expect(plait("check", write("s.plait", SCALE)), 0)
    assert not d.out and not d.err


def a_wrong_program_shows_code_place_and_caret():
    d = expect(plait("check", write("w.plait", "fn f(x: f32[N, D]) -> y: f32[N] {\n  y[i] = x[i]\n}\n")), 1)
    assert re.search(r"error\[PLT\d{4}\]", d.err) and "w.plait:2:" in d.err and "^" in d.err and "more: plait help PLT" in d.err
    assert not d.out


def messages_as_json_are_one_valid_array():
    good, bad = write("s.plait", SCALE), write("w.plait", "fn f(x: f32[N]) -> y: f32[N] { y[i] = q[i] }\n")
    assert json.loads(plait("check", "--diagnostics=json", good).err) == []
    found = json.loads(plait("check", "--diagnostics=json", bad, bad).err)
    assert len(found) == 2
    for m in found:
        assert m["severity"] == "error" and m["code"].startswith("PLT") and m["line"] == 1 and m["file"].endswith("w.plait")
    assert json.loads(plait("check", "--diagnostics=json").err)[0]["severity"] == "error"
    assert json.loads(plait("check", "--diagnostics=json", "nowhere").err)[0]["code"] == "PLE0101"
    assert json.loads(plait("chek", "--diagnostics=json").err)[0]["help"]


def short_messages_are_one_line_each():
    d = expect(plait("check", "--diagnostics=short", write("w.plait", "fn f(x: f32[N]) -> y: f32[N] { y[i] = q[i] }\n")), 1)
    assert re.fullmatch(r"\S*w\.plait:1:\d+: error\[PLT\d+\]: .*\n", d.err), d.err


def all_files_are_checked():
    bad = write("w.plait", "fn f(x: f32[N]) -> y: f32[N] { y[i] = q[i] }\n")
    d = expect(plait("check", bad, write("s.plait", SCALE), bad), 1)
    assert d.err.count("error[") == 2


def entries_are_listed_with_their_signatures():
    d = expect(plait("check", "--entries", write("t.plait", TWO)), 0)
    assert d.out.splitlines() == ["scale(x: f32[N, D], k: f32 = 2.0) -> y: f32[N, D]", "other(x: f32[N]) -> y: f32[N]"], d.out


def imports_are_read_beside_the_file():
    os.makedirs(os.path.join(TEMP, "lib"), exist_ok=True)
    write("lib/inner.plait", "fn twice(x: f32) -> y: f32 { y = 2 * x }\n")
    path = write("uses.plait", 'import "lib/inner.plait"\nfn f(x: f32[N]) -> y: f32[N] { y[i] = twice(x[i]) }\n')
    expect(plait("check", path, cwd="/"), 0)
    expect(plait("check", write("lost.plait", 'import "nowhere.plait"\n')), 1, "nowhere.plait")


# ---- fmt ----

def fmt_prints_and_is_settled_at_once():
    path = write("f.plait", "fn f(x:f32[N])->y:f32[N]{y[i]=2*x[i]}  # twice\n")
    once = expect(plait("fmt", path), 0).out
    assert "# twice" in once
    assert expect(plait("fmt", "-", stdin=once), 0).out == once


def fmt_check_compares_and_in_place_writes():
    path = write("f.plait", "fn f(x:f32[N])->y:f32[N]{y[i]=2*x[i]}\n")
    expect(plait("fmt", "--check", path), 1, "plait fmt -i")
    d = expect(plait("fmt", "-i", path), 0)
    assert not d.out
    expect(plait("fmt", "--check", path), 0)


def fmt_leaves_what_does_not_parse():
    text = "fn f(x: f32[N) -> y: f32[N] { y[i] = x[i] }\n"
    path = write("broken.plait", text)
    d = expect(plait("fmt", "-i", path), 1)
    assert not d.out and open(path).read() == text


def fmt_of_several_files_needs_a_purpose():
    path = write("s.plait", SCALE)
    expect(plait("fmt", path, path), 2, "--in-place")
    expect(plait("fmt", "-i", "--check", path), 2)


# ---- run ----

def results_without_out_are_summarised():
    d = expect(plait("run", "--target", "ref", write("s.plait", SCALE), "--in", "x=" + floats("x.npy", 1, 2, 3, float("nan"), shape=(2, 2))), 0)
    head, row = d.out.splitlines()[:2]
    assert head.split()[:3] == ["result", "type", "shape"]
    assert row.split()[:8] == ["y", "f32", "2×2", "2", "6", "4", "1", "0"], row


def scalars_are_set_and_have_defaults():
    path, x = write("s.plait", SCALE), floats("x.npy", 1, 2, shape=(1, 2))
    assert " 2 4" in expect(plait("run", "--target", "ref", path, "--in", "x=" + x), 0).out
    assert " 10 20" in expect(plait("run", "--target", "ref", path, "--in", "x=" + x, "--set", "k=10"), 0).out
    expect(plait("run", "--target", "ref", path, "--in", "x=" + x, "--set", "k=ten"), 2, "no value of f32")
    expect(plait("run", "--target", "ref", path, "--in", "x=" + x, "--set", "x=1"), 2, "--in x=")
    expect(plait("run", "--target", "ref", path, "--in", "x=" + x, "--in", "k=1"), 2, "--set k=")


def missing_arguments_are_named_with_an_example():
    expect(plait("run", "--target", "ref", write("s.plait", SCALE)), 2, "`x`", "--in x=random")


def unknown_arguments_get_a_suggestion():
    path = write("g.plait", GATHER)
    expect(plait("run", "--target", "ref", path, "--in", "idx=random"), 2, "did you mean `ids`?")
    expect(plait("run", "--target", "ref", path, "--out", "result=z.npy"), 2, "it has: y")


def shapes_of_generated_tensors_follow_from_the_others():
    path = write("d.plait", "fn f(x: f32[N, D], w: f32[D], c: f32[2 * N]) -> y: f32[N] { y[i] = sum[j](x[i, j] * w[j]) + c[2 * i] }\n")
    d = expect(plait("run", "--target", "ref", path, "--in", "x=random", "--in", "w=ones:3", "--in", "c=zeros:8"), 0)
    assert " 4 " in d.out.splitlines()[1]
    expect(plait("run", "--target", "ref", path, "--in", "x=random", "--in", "w=ones", "--in", "c=zeros", "-D", "N=4", "-D", "D=3"), 0)
    expect(plait("run", "--target", "ref", path, "--in", "x=random", "--in", "w=ones:3", "--in", "c=zeros"), 1, "`N`", "-D N=")
    expect(plait("run", "--target", "ref", path, "--in", "x=random:4x5", "--in", "w=ones:3", "--in", "c=zeros"), 1)
    expect(plait("run", "--target", "ref", path, "--in", "x=random:4x3", "--in", "w=ones", "--in", "c=zeros", "-D", "N=5"), 1)
    expect(plait("run", "--target", "ref", path, "--in", "x=random:4x3", "--in", "w=ones", "--in", "c=zeros", "-D", "M=5"), 2, "`M`")


def malformed_specifications_are_usage_errors():
    path = write("s.plait", SCALE)
    for spec in ["random:", "random:4x", "random:x4", "random:4x4:4x4", "zeros:2x2:0..1", "random:2x2:1..", "random:2x2:5..1", "iota:a"]:
        expect(plait("run", "--target", "ref", path, "--in", "x=" + spec), 2)
    expect(plait("run", "--target", "ref", path, "--in", "x"), 2, "no `=`")


def random_depends_on_the_seed_alone():
    path = write("s.plait", SCALE)
    a, b, c = (plait("run", "--target", "ref", path, "--in", "x=random:8x8", "--seed", s).out for s in ("1", "1", "2"))
    assert a == b != c


def random_ranges_are_kept():
    path = write("i.plait", "fn f(x: i32[N], u: f32[N]) -> (lo: i32, hi: i32, a: f32, b: f32) {\n  lo = min[i](x[i])\n  hi = max[i](x[i])\n"
                 "  a = min[i](u[i])\n  b = max[i](u[i])\n}\n")
    d = expect(plait("run", "--target", "ref", path, "--in", "x=random:1000:-3..5", "--in", "u=random:2.5..3.5"), 0)
    rows = {r.split()[0]: float(r.split()[3]) for r in d.out.splitlines()[1:]}
    assert rows["lo"] == -3 and rows["hi"] == 5 and 2.5 <= rows["a"] < rows["b"] <= 3.5, rows


def a_file_with_several_entries_needs_a_choice():
    path = write("t.plait", TWO)
    expect(plait("run", "--target", "ref", path, "--in", "x=random:4"), 2, "scale, other")
    expect(plait("run", "--target", "ref", path, "--entry", "othr", "--in", "x=random:4"), 2, "did you mean `other`?")
    expect(plait("run", "--target", "ref", path, "-e", "other", "--in", "x=random:4"), 0)


def a_subscript_out_of_range_shows_the_line_and_the_value():
    ids = npy("ids.npy", "<i4", (2,), struct.pack("<2i", 1, 7))
    d = expect(plait("run", "--target", "ref", write("g.plait", GATHER), "--in", "t=random:4x3", "--in", "ids=" + ids), 1, "PLD0101", "g.plait:2", "7")
    assert "^" in d.err


def npy_files_of_another_type_say_how_to_convert():
    path = write("s.plait", SCALE)
    expect(plait("run", path, "--in", "x=" + npy("x.npy", "<f8", (1, 2), bytes(16))), 1, "float64", "astype(np.float32)")
    expect(plait("run", path, "--in", "x=" + npy("x.npy", ">f4", (1, 2), bytes(8))), 1, "big-endian")
    expect(plait("run", path, "--in", "x=" + npy("x.npy", "<f4", (2, 2), bytes(16), fortran=True)), 1, "Fortran", "ascontiguousarray")
    expect(plait("run", path, "--in", "x=" + npy("x.npy", "<f4", (4,), bytes(16))), 1, "2 dimensions")
    expect(plait("run", path, "--in", "x=nowhere.npy"), 3, "nowhere.npy")
    expect(plait("run", path, "--in", "x=" + write("x.npy", b"not an array")), 1, "no NPY file")
    expect(plait("run", path, "--in", "x=" + npy("x.npy", "<f4", (4096, 4096, 4096), bytes(16))), 1, "promises")


def all_versions_of_npy_are_read():
    path = write("s.plait", SCALE)
    for version in (1, 2, 3):
        x = npy("v.npy", "<f4", (1, 2), struct.pack("<2f", 1, 2), version=version)
        assert " 2 4" in expect(plait("run", "--target", "ref", path, "--in", "x=" + x), 0).out


def results_go_to_standard_output_as_npy():
    d = expect(plait("run", "--target", "ref", write("s.plait", SCALE), "--in", "x=" + floats("x.npy", 1, 2, shape=(1, 2)), "--out", "y=-"), 0)
    assert d.raw[:6] == b"\x93NUMPY" and d.raw[-8:] == struct.pack("<2f", 2, 4)


def mut_tensors_are_read_and_written():
    path, cache, k = write("a.plait", APPEND), floats("c.npy", *[0] * 6, shape=(3, 2)), floats("k.npy", 5, 6)
    out = os.path.join(TEMP, "c2.npy")
    expect(plait("run", "--target", "ref", path, "--in", "cache=" + cache, "--in", "k=" + k, "--set", "pos=1", "--out", "cache=" + out), 0)
    assert struct.unpack("<6f", open(out, "rb").read()[-24:]) == (0, 0, 5, 6, 0, 0)
    d = expect(plait("run", "--target", "ref", path, "--in", "cache=zeros:3x2", "--in", "k=ones", "--set", "pos=2"), 0)
    assert "cache" in d.out


# dtype, NumPy type of the file
DTYPES = [("f64", "<f8"), ("f32", "<f4"), ("f16", "<f2"), ("bf16", "<u2"), ("f8e4m3", "|u1"), ("f8e5m2", "|u1"), ("i64", "<i8"), ("i32", "<i4"),
          ("i16", "<i2"), ("i8", "|i1"), ("i4", "|u1"), ("u64", "<u8"), ("u32", "<u4"), ("u16", "<u2"), ("u8", "|u1"), ("u4", "|u1"), ("bool", "|b1")]


def copy_program(dtype):
    return write("copy.plait", "fn copy(x: %s[N, M]) -> y: %s[N, M] { y[i, j] = x[i, j] }\n" % (dtype, dtype))


def every_dtype_goes_round_as_numpy_writes_it(target="ref"):
    if np is None:
        raise Skip
    rng = np.random.default_rng(7)
    for dtype, descr in DTYPES:
        t = np.dtype(descr)
        if t.kind == "f":
            x = rng.standard_normal((3, 4)).astype(t)
        elif dtype == "bf16":
            x = (rng.standard_normal((3, 4)).astype("<f4").view("<u4") >> 16).astype("<u2")
        elif dtype == "bool":
            x = rng.integers(0, 2, (3, 4)).astype(bool)
        elif dtype.startswith("f8"):
            x = rng.integers(0, 0x70, (3, 4)).astype("u1")        # finite ones
        else:
            low, high = (np.iinfo(t).min, np.iinfo(t).max)
            x = rng.integers(low, high, (3, 4), dtype=t, endpoint=True)
        source, out = os.path.join(TEMP, "in.npy"), os.path.join(TEMP, "out.npy")
        np.save(source, x)
        expect(plait("run", "--target", target, copy_program(dtype), "--in", "x=" + source, "--out", "y=" + out), 0)
        y = np.load(out)
        assert y.dtype == t and y.shape == x.shape and y.tobytes() == x.tobytes(), (dtype, x, y)
        assert open(source, "rb").read() == open(out, "rb").read(), dtype


def every_dtype_goes_round_compiled():
    if not has_compiler():
        raise Skip
    every_dtype_goes_round_as_numpy_writes_it("c")


def block_formats_travel_as_bytes():
    if np is None:
        raise Skip
    path = write("q.plait", "fn f(w: q8_0[O, K]) -> y: f32[O, K] { y[o, k] = w[o, k] }\n")
    blocks = np.zeros((2, 34), "u1")
    blocks[:, :2] = np.array([2.0], "<f2").view("u1")
    blocks[:, 2:] = np.arange(32, dtype="i1").view("u1")
    source, out = os.path.join(TEMP, "w.npy"), os.path.join(TEMP, "y.npy")
    np.save(source, blocks)
    expect(plait("run", "--target", "ref", path, "--in", "w=" + source, "--out", "y=" + out), 0)
    assert np.array_equal(np.load(out), np.tile(2.0 * np.arange(32, dtype="f4"), (2, 1)))
    np.save(source, np.zeros((2, 33), "u1"))
    expect(plait("run", "--target", "ref", path, "--in", "w=" + source), 1, "34 bytes")
    d = expect(plait("run", "--target", "ref", path, "--in", "w=random:2x64"), 0)
    assert "nan" in d.out.splitlines()[0] and d.out.splitlines()[1].split()[6] == "0"


def compiled_and_interpreted_results_agree():
    if not has_compiler() or np is None:
        raise Skip
    path, out = write("r.plait", ROWS), [os.path.join(TEMP, n) for n in ("ref.npy", "c.npy")]
    for target, file in zip(("ref", "c"), out):
        expect(plait("run", "--target", target, path, "--in", "x=random:17x33", "--out", "y=" + file), 0)
    assert np.allclose(np.load(out[0]), np.load(out[1]), rtol=1e-5, atol=1e-7)


def timing_shows_medians_and_a_copy_beside_it():
    if not has_compiler():
        raise Skip
    d = expect(plait("run", write("s.plait", SCALE), "--in", "x=random:256x256", "--time", "3"), 0, "median", "of 3 runs")
    assert "GB/s" in d.out and "of copy" in d.out and "%" in d.out, d.out


# ---- emit, explain ----

def emit_prints_every_stage():
    path = write("r.plait", ROWS)
    for stage in ("fn", "fused", "schedule", "kernel"):
        assert expect(plait("emit", path, "--stage", stage), 0).out, stage
    assert "fn rows(" in plait("emit", path, "--stage", "fn").out
    expect(plait("emit", path, "--stage", "fn", "--header", "h.h"), 2)
    expect(plait("emit", path, "--target", "vulkan"), 2, "the targets are: c")


def what_the_fn_stage_prints_is_a_program():
    once = expect(plait("emit", write("r.plait", ROWS), "--stage", "fn"), 0).out
    assert expect(plait("emit", "-", "--stage", "fn", stdin=once), 0).out == once


def emitted_c_compiles_without_headers():
    path, c, h = write("r.plait", ROWS), os.path.join(TEMP, "r.c"), os.path.join(TEMP, "r.h")
    expect(plait("emit", path, "-o", c, "--header", h), 0)
    assert expect(plait("emit", path), 0).out == open(c).read()
    cc = os.environ.get("CC", "gcc")
    text = '#include "r.h"\nint main(void) { return 0; }\n'
    p = subprocess.run([cc, "-std=c11", "-fopenmp", "-Wall", "-Werror", "-c", c, "-o", os.path.join(TEMP, "r.o")], capture_output=True)
    assert p.returncode == 0, p.stderr.decode()
    p = subprocess.run([cc, "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-xc", "-", "-I", TEMP], input=text.encode(), capture_output=True)
    assert p.returncode == 0, p.stderr.decode()


def emitting_twice_gives_the_same_bytes():
    path = write("r.plait", ROWS)
    assert plait("emit", path).raw == plait("emit", path).raw


def passes_are_listed_dumped_stopped_and_checked():
    path = write("r.plait", ROWS)
    names = [line.split()[0] for line in expect(plait("help", "passes"), 0).out.splitlines()]
    assert "lower" in names
    d = expect(plait("emit", path, "--dump-after", "all"), 0)
    for name in names:
        assert "# after %s\n" % name in d.err, name
    for name in names:
        assert expect(plait("emit", path, "--stop-after", name), 0).out, name
    expect(plait("emit", path, "--stop-after", "lowr"), 2, "did you mean `lower`?")
    expect(plait("emit", path, "--disable-pass", "lower"), 2, "required")
    expect(plait("emit", path, "--disable-pass", "nosuch"), 2, "nosuch")
    d = expect(plait("emit", path, "--time-passes", "--verify"), 0)
    for name in names + ["parse", "sema", "emit", "total"]:
        assert re.search(r"^%s " % name, d.err, re.M), (name, d.err)


def passes_can_be_checked_against_the_interpreter():
    for text in (SCALE, ROWS, APPEND):
        expect(plait("emit", write("p.plait", text), "--check-passes"), 0, "passes checked on random inputs")


def explain_needs_every_dimension_and_says_how():
    path = write("r.plait", ROWS)
    expect(plait("explain", path), 2, "`N`, `D`", "plait explain %s -D N=4096 -D D=1024" % path)
    expect(plait("explain", path, "-D", "N=4"), 2, "`D`")
    expect(plait("explain", path, "-D", "N=4", "-D", "D=4", "-D", "Q=1"), 2, "`Q`")
    expect(plait("explain", path, "-D", "N"), 2, "no `=`")
    expect(plait("explain", path, "-D", "N=x", "-D", "D=1"), 2, "no extent")


def explain_counts_bytes():
    d = expect(plait("explain", write("s.plait", SCALE), "-D", "N=1024", "-D", "D=1024", "--json"), 0)
    r = json.loads(d.out)
    assert set(r) == {"kernels", "bytes_unfused", "bytes_fused", "bytes_minimum", "flops", "remarks"}
    # one input and one output of 2^20 floats; the scalar's 4 bytes may count
    assert 8 << 20 <= r["bytes_fused"] <= (8 << 20) + 64 and r["bytes_minimum"] == r["bytes_fused"]
    assert len(r["kernels"]) == 1 and set(r["kernels"][0]) == {"name", "equations", "reads", "writes", "bytes", "flops", "seconds"}
    assert r["kernels"][0]["seconds"] > r["bytes_fused"] / 1e12       # the CPU of the table gets less than a TB/s from its caches
    assert {t["tensor"] for t in r["kernels"][0]["writes"]} == {"y"}


def explain_takes_scalars_that_extents_depend_on():
    path = write("n.plait", "fn f(x: f32[N], n: i64) -> y: f32[n] where n <= N { y[i] = x[i] }\n")
    r = json.loads(expect(plait("explain", path, "-D", "N=100", "--set", "n=50", "--json"), 0).out)
    assert 400 <= r["bytes_fused"] <= 410 and r["bytes_minimum"] == r["bytes_fused"], r      # 50 read, 50 written, 4 bytes each
    expect(plait("explain", path, "-D", "N=100", "--set", "m=50"), 2, "`m`")


def emit_for_known_dimensions_makes_them_numbers():
    path = write("r.plait", ROWS)
    text = expect(plait("emit", path, "-D", "D=64"), 0).out
    assert "long long D" not in text and "long long N" in text and "* 64" in text
    assert "x: f32[N, 64]" in expect(plait("emit", path, "-D", "D=64", "--stage", "fn"), 0).out


def explain_shows_tables_and_a_lesson():
    d = expect(plait("explain", write("r.plait", ROWS), "-D", "N=4096", "-D", "D=4096"), 0, "kernel 1", "reads", "writes", "unfused", "now", "least", "-bound")
    assert not d.err


def without_fusion_every_equation_is_a_kernel():
    path = write("r.plait", ROWS)
    one = json.loads(plait("explain", path, "-D", "N=64", "-D", "D=64", "--json").out)
    many = json.loads(plait("explain", path, "-D", "N=64", "-D", "D=64", "--json", "--no-fuse").out)
    assert len(many["kernels"]) > len(one["kernels"]) and many["bytes_fused"] > one["bytes_fused"]


# ---- doctor, help ----

def doctor_reports_as_text_and_json():
    r = json.loads(expect(plait("doctor", "--json"), 0).out)
    assert r["findings"] and all(set(f) == {"name", "good", "text", "help", "places"} for f in r["findings"])
    d = expect(plait("doctor"), 0)
    assert len(re.findall(r"^(good|missing)", d.out, re.M)) == len(r["findings"])
    assert all("           %s\n" % place in d.out for f in r["findings"] for place in f["places"])


def doctor_shows_where_the_libraries_of_a_gpu_were_looked_for():
    r = json.loads(expect(plait("doctor", "--json", env={"PLAIT_CUDA_DRIVER": "/nowhere/libcuda.so.1", "PLAIT_NVRTC": "/nowhere/libnvrtc.so"}), 0).out)
    found = {f["name"]: f for f in r["findings"]}
    assert not r["cuda"]
    for name, path in [("CUDA driver", "/nowhere/libcuda.so.1"), ("NVRTC", "/nowhere/libnvrtc.so")]:
        assert not found[name]["good"] and found[name]["places"][0].startswith(path + ": "), found[name]
    plain = json.loads(plait("doctor", "--json").out)["findings"]
    assert all(f["places"] for f in plain if f["name"] in ("CUDA driver", "NVRTC"))


def look_alikes():
    """The libraries of the unit tests, which stand beside the program in a build folder."""
    paths = {"PLAIT_CUDA_DRIVER": "fake_cuda.so", "PLAIT_NVRTC": "fake_nvrtc.so"}
    env = {name: os.path.join(os.path.dirname(PLAIT), file) for name, file in paths.items()}
    if not all(map(os.path.exists, env.values())):
        raise Skip
    return env


def doctor_lists_devices():
    r = json.loads(expect(plait("doctor", "--json", env=look_alikes()), 0).out)
    found = {f["name"]: f for f in r["findings"]}
    assert r["cuda"] and found["CUDA device 0"]["good"]
    assert "Fake GPU, sm_90" in found["CUDA device 0"]["text"] and "13.0" in found["NVRTC"]["text"]


def a_gpu_that_is_not_there_is_an_error_of_the_machine():
    path, x = write("s.plait", SCALE), floats("x.npy", 1, 2, shape=(1, 2))
    expect(plait("run", path, "--in", "x=" + x, "--target", "cuda", env={"PLAIT_CUDA_DRIVER": "/nowhere/libcuda.so.1"}), 3, "PLE0105", "install the NVIDIA driver")
    expect(plait("run", path, "--in", "x=" + x, "--target", "cuda", "--device", "7", env=look_alikes()), 3, "PLE0105", "no CUDA device 7")


def kernels_wait_for_the_one_before_where_launches_depend():
    path = write("r.plait", ROWS)
    late = expect(plait("emit", path, "--target", "cuda"), 0).out
    early = expect(plait("emit", path, "--target", "cuda", "--dependent", "early"), 0).out
    kernels = late.count("__global__")
    assert kernels > 1 and late.count("\n  PLAIT_DEPENDENCY_WAIT();\n") == kernels and "TRIGGER" not in late
    assert early.count("\n  PLAIT_DEPENDENCY_WAIT();\n  PLAIT_DEPENDENCY_TRIGGER();\n") == kernels
    assert "DEPENDENCY" not in expect(plait("emit", path, "--target", "cuda", "--dependent", "off"), 0).out
    assert "DEPENDENCY" not in expect(plait("emit", path, "--target", "cuda", "--arch", "sm_80"), 0).out
    expect(plait("emit", path, "--target", "cuda", "--dependent", "soon"), 2, "late (the default), early or off")


def options_of_gpu_code_belong_to_gpu_code():
    path = write("s.plait", SCALE)
    expect(plait("emit", path, "--arch", "sm_90"), 2, "--target cuda, ptx or cubin")
    expect(plait("emit", path, "--target", "cuda", "--arch", "sm_70"), 3, "known are sm_80, sm_86")
    expect(plait("emit", path, "--target", "ptx", "--header", "s.h"), 2, "--header belongs to the C and the CUDA C text")


def cuda_text_has_a_function_for_the_host_and_a_header():
    path = write("r.plait", ROWS)
    text = expect(plait("emit", path, "--target", "cuda", "--header", "rows.h"), 0).out
    head = "cudaError_t rows(long long N, long long D, const float *x, float *y, cudaStream_t stream)"
    with open(os.path.join(TEMP, "rows.h")) as f:
        assert f"\n{head};\n" in f.read()
    assert text.count(f"\n{head} {{\n") == 1 and text.index("#ifndef __CUDACC_RTC__") < text.index(head)


def every_code_is_explained():
    lines = expect(plait("help", "codes"), 0).out.splitlines()
    assert len(lines) > 80
    for code in (line.split()[0] for line in lines):
        d = expect(plait("help", code), 0)
        assert len(d.out) > 60, code
    assert plait("help", "plt0404").out == plait("help", "PLT0404").out


def unknown_topics_get_a_suggestion():
    expect(plait("help", "PLT9999"), 2, "plait help codes")
    expect(plait("help", "explan"), 2, "plait help explain")


def the_reference_page_is_up_to_date():
    with open(os.path.join(ROOT, "docs", "cli.md")) as f:
        assert f.read() == plait("help", "--markdown").out, "run: plait help --markdown > docs/cli.md"


# ---- the runner ----

def main():
    global PLAIT, TEMP
    words = [a for a in sys.argv[1:] if not a.startswith("-")]
    if not words:
        sys.exit(__doc__)
    PLAIT = os.path.abspath(words.pop(0))
    verbose = "-v" in sys.argv
    helpers = {"look_alikes", "plait", "write", "npy", "floats", "expect", "has_compiler", "copy_program", "main"}
    tests = [(n, f) for n, f in globals().items() if callable(f) and getattr(f, "__module__", "") == "__main__" and n.islower() and n not in helpers]
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as TEMP:
        for name, test in tests:
            if not all(w in name for w in words):
                continue
            try:
                test()
                passed += 1
                if verbose:
                    print("ok     ", name)
            except Skip:
                skipped += 1
                print("skipped", name)
            except Exception as e:
                failed += 1
                print("FAILED ", name, "\n", "%s: %s" % (type(e).__name__, e))
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
