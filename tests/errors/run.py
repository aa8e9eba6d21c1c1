#!/usr/bin/env python3
"""Checks what plait says about programs with one mistake each.

    tests/errors/run.py [--plait build/plait] [--bless] [--examples] [WORD…]

Each tests/errors/*.plait holds a program and, after it, the expected messages as lines that begin with `#=`. The
program is what stands before the first such line; a file without them expects no message. --bless writes the
messages that come now. --examples checks the programs that `plait help CODE` shows instead: the failing one gives
its code, the mended one gives no message. Only tests whose name contains every WORD are run. The last line is the
count.
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MARK = "#="


def plait(program, *args, cwd=HERE):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PLAIT_")}
    return subprocess.run([program, *args], capture_output=True, text=True, env=env, cwd=cwd, timeout=300)


def split(path):
    """The program's text and the expected messages of a file."""
    program, expected = [], []
    with open(path, newline="") as f:
        for line in f.read().split("\n"):
            (expected if line.startswith(MARK) else program).append(line)
    return "\n".join(program).rstrip("\n") + "\n", [line[len(MARK):].removeprefix(" ") for line in expected]


def messages(program, text, name):
    """What `plait check` says of the text, under the file's own name, imports beside it."""
    with tempfile.TemporaryDirectory() as d:
        for other in glob.glob(os.path.join(HERE, "import", "*")):
            os.makedirs(os.path.join(d, "import"), exist_ok=True)
            with open(other, "rb") as src, open(os.path.join(d, "import", os.path.basename(other)), "wb") as dst:
                dst.write(src.read())
        with open(os.path.join(d, name), "w", newline="") as f:
            f.write(text)
        p = plait(program, "check", name, cwd=d)
    out = (p.stdout + p.stderr).rstrip("\n")
    if p.returncode not in (0, 1, 5):
        out += f"\n(exit status {p.returncode})"
    return out.split("\n") if out else []


def check_file(args, path):
    text, expected = split(path)
    got = messages(args.plait, text, os.path.basename(path))
    if args.bless:
        with open(path, "w", newline="") as f:
            f.write(text + "".join(f"{MARK} {line}".rstrip() + "\n" for line in got))
        return None
    got = [line.rstrip() for line in got]
    if got == expected:
        return None
    return "expected\n  " + "\n  ".join(expected) + "\ngot\n  " + "\n  ".join(got)


def example(text, heading):
    """The program under a heading of a help page, or None."""
    found = re.search(rf"^{heading}\n((?:  .*\n|\n)*)", text + "\n", re.M)
    return re.sub(r"^  ", "", found.group(1), flags=re.M).strip("\n") + "\n" if found else None


def codes_in(lines):
    return re.findall(r"^(?:error|warning)\[(\w+)\]", "\n".join(lines), re.M)


def check_example(args, code):
    page = plait(args.plait, "help", code).stdout
    failing, mended = example(page, "FAILS"), example(page, "MENDED")
    data = code.startswith("PLD") or code == "PLT0507"      # show themselves at a call, or when kernels are made
    if failing and not data and codes_in(messages(args.plait, failing, "example.plait")) != [code]:
        return f"the failing program gives {codes_in(messages(args.plait, failing, 'example.plait'))}"
    if mended and messages(args.plait, mended, "example.plait"):
        return "the mended program gives\n  " + "\n  ".join(messages(args.plait, mended, "example.plait"))
    return None


def tests(args):
    if args.examples:
        listing = plait(args.plait, "help", "codes").stdout
        return [(code, check_example, code) for code in re.findall(r"^(PL\w\d{4})", listing, re.M)]
    files = sorted(glob.glob(os.path.join(HERE, "*.plait")))
    return [(os.path.basename(f)[:-len(".plait")], check_file, f) for f in files]


def main():
    parser = argparse.ArgumentParser(description="messages of programs with one mistake")
    parser.add_argument("--plait", default=os.path.join(HERE, "../../build/plait"))
    parser.add_argument("--bless", action="store_true", help="write the messages that come now")
    parser.add_argument("--examples", action="store_true", help="check the programs of `plait help CODE`")
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    args.plait = os.path.abspath(args.plait)
    passed = failed = 0
    for name, check, what in tests(args):
        if not all(w in name for w in args.words):
            continue
        problem = check(args, what)
        passed, failed = passed + (problem is None), failed + (problem is not None)
        if problem:
            print(f"FAIL {name}: {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
