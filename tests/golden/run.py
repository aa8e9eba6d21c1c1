#!/usr/bin/env python3
"""Golden tests: what each pass and each printer makes of small programs.

A case is a file tests/golden/<pass>/<claim>.plait: a program, then one or more blocks of

    #> emit --stop-after=inline          arguments for plait; the program's path is appended
    #= expected line                     the whole output, line by line, or
    #has text                            text that must occur somewhere,
    #then text                           further text, after the place of the #has or #then above,
    #lacks text                          and text that must not

Usage: run.py [--plait PATH] [--bless] [CASE...]
--bless rewrites the `#=` lines with what plait prints now; read the diff before you commit it.
The last line printed is `N passed, N failed`; the exit status is 1 when a case failed.
"""
import argparse
import difflib
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent


def parse(text):
    """Split a case into its program and its blocks [(arguments, expectations)]."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("#>")), len(lines))
    program = "\n".join(lines[:first]).rstrip() + "\n"
    blocks = []
    for line in lines[first:]:
        if line.startswith("#>"):
            blocks.append((line[2:].split(), []))
        elif line.strip() and blocks:
            blocks[-1][1].append(line)
    return program, blocks


def run(plait, args, program, name):
    """The combined output of plait on the program, with the temporary path taken out."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_text(program)
        done = subprocess.run([plait, *args, str(path)], capture_output=True, text=True, timeout=60, check=False)
        return (done.stdout + done.stderr).replace(str(path), name).replace(folder + "/", "")


def compare(expected, output):
    """Why the output is not as expected; empty when it is."""
    whole = [line[2:].removeprefix(" ") for line in expected if line.startswith("#=")]
    problems = []
    if whole:
        got = [line.rstrip() for line in output.rstrip("\n").split("\n")]
        want = [line.rstrip() for line in whole]
        if got != want:
            problems += list(difflib.unified_diff(want, got, "expected", "printed", lineterm="", n=2))
    place = 0
    for line in expected:
        kind, _, text = line.partition(" ")
        if kind in ("#has", "#then"):
            found = output.find(text, place if kind == "#then" else 0)
            if found < 0:
                problems.append(f"lacks{' there' if kind == '#then' else ''}: {text}")
            place = max(found, 0) + len(text)
        if kind == "#lacks" and text in output:
            problems.append(f"has: {text}")
    if not expected:
        problems.append("no expectation: run with --bless")
    return problems


def blessed(program, blocks, plait, name):
    """The case's text with `#=` lines from what plait prints now; #has and #lacks blocks stay."""
    parts = [program.rstrip()]
    for args, expected in blocks:
        parts.append("#> " + " ".join(args))
        if any(line.startswith(("#has", "#then", "#lacks")) for line in expected):
            parts += expected
            continue
        output = run(plait, args, program, name).rstrip("\n").split("\n")
        parts += [("#= " + line).rstrip() for line in output]
    return "\n".join(parts) + "\n"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--plait", default=str(HERE.parent.parent / "build" / "plait"))
    options.add_argument("--bless", action="store_true")
    options.add_argument("cases", nargs="*", type=pathlib.Path)
    opt = options.parse_args()
    cases = opt.cases or sorted(HERE.glob("*/*.plait"))
    passed = failed = 0
    for case in cases:
        program, blocks = parse(case.read_text())
        if opt.bless:
            case.write_text(blessed(program, blocks, opt.plait, case.name))
        program, blocks = parse(case.read_text())
        problems = [] if blocks else ["no #> line"]
        for args, expected in blocks:
            problems += compare(expected, run(opt.plait, args, program, case.name))
        passed, failed = (passed, failed + 1) if problems else (passed + 1, failed)
        if problems:
            print(f"FAILED {case.relative_to(HERE) if case.is_relative_to(HERE) else case}")
            print("\n".join("  " + p for p in problems))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
