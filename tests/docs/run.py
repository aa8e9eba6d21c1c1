#!/usr/bin/env python3
"""Checks README.md and docs/*.md: what they show is true.

    tests/docs/run.py --plait PATH [--bless] [WORD…]

A fenced block is checked by the words behind its three backticks:

    plait               `plait check` accepts it, and each of its entry points becomes kernels
    plait error=CODE    `plait check` refuses it with this code
    plait remark=CODE   its equations stay apart for this reason
    sh run              runs from the project's folder, with plait in the PATH, and succeeds
    … output            any language, right after an `sh run` block or a line `<!-- run: COMMAND -->`: what that prints
                        (COMMAND finds the last `plait` block above in the file $PROGRAM)
    c run               a whole C program: compiled against plait.h, linked with libplait, exits with 0

Links to files must lead somewhere, and what docs/tables.py writes must be up to date. --bless rewrites the output
blocks with what is printed now; read the diff. Only files whose name contains every WORD are looked at. The last line
is the count.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(?:<!-- run: ([^\n]*) -->\n)?```([^\n`]*)\n(.*?)^```[ \t]*$", re.S | re.M)
CODE = re.compile(r"`[^`\n]*`|^    .*$", re.M)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
tally = {True: 0, False: 0}


def claim(where, problem):
    """Counts a claim; it holds when there is no problem to tell of."""
    tally[not problem] += 1
    if problem:
        print(f"FAILED {where}: {problem.rstrip()}")


class Docs:
    def __init__(self, plait, folder):
        self.program_file = Path(folder) / "program.plait"
        self.plait = Path(plait).resolve()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PLAIT_")}
        self.env["PATH"] = f"{self.plait.parent}:{self.env.get('PATH', '')}"
        self.env["LD_LIBRARY_PATH"] = str(self.plait.parent)

    def call(self, *command, **kw):
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=self.env, timeout=600, **kw)

    def codes(self, text):
        """The codes of the messages that `plait check` gives, and the messages as text."""
        p = self.call(self.plait, "check", "--diagnostics=json", "-", input=text)
        found = [m["code"] for m in json.loads(p.stderr)] if p.stderr.strip() else []
        return found, self.call(self.plait, "check", "-", input=text).stderr if found else ""

    def entries(self, text):
        p = self.call(self.plait, "check", "--entries", "-", input=text)
        return re.findall(r"^(?:-:\s*)?(\w+)\(", p.stdout, re.M)

    def program(self, where, text, words):
        found, said = self.codes(text)
        wanted = words.get("error")
        if wanted:
            claim(where, "" if wanted in found else f"gives {found or 'no message'}, not {wanted}\n{said}")
            return
        if found:
            claim(where, said)
            return
        shown = ""
        for name in self.entries(text):
            p = self.call(self.plait, "emit", "-", "--entry", name, "--stage", "schedule", input=text)
            shown += p.stdout
            if p.returncode == 0:
                p = self.call(self.plait, "emit", "-", "--entry", name, input=text)
            if p.returncode:
                claim(where, p.stderr)
                return
        reason = words.get("remark")
        claim(where, f"does not give {reason}:\n{shown}" if reason and f"# {reason} " not in shown else "")

    def shell(self, where, text):
        p = self.call("sh", "-e", input=text)
        claim(where, f"exit {p.returncode}\n{p.stdout}{p.stderr}" if p.returncode else "")
        return p.stdout

    def c_program(self, where, text):
        library = self.plait.parent / "libplait.so"
        with tempfile.TemporaryDirectory() as d:
            source, binary = Path(d) / "program.c", str(Path(d) / "program")
            source.write_text(text)
            cc = self.env.get("CC", "cc")
            p = self.call(cc, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include", str(source), "-o", binary,
                          f"-L{library.parent}", "-lplait")
            sanitized = p.returncode == 0 and b"__asan_init" in library.read_bytes()    # then it can only be linked
            if p.returncode == 0 and not sanitized:
                p = self.call(binary)
            claim(where, f"exit {p.returncode}\n{p.stdout}{p.stderr}" if p.returncode else "")

    def page(self, path, bless):
        text = path.read_text()
        printed, last, out = None, 0, []
        for m in FENCE.finditer(text):
            hidden, info, body = m.groups()
            kind, *rest = info.split() or [""]
            words = dict(w.partition("=")[::2] for w in rest)
            where = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, m.start()) + 1}"
            if hidden:
                self.env["PROGRAM"] = str(self.program_file)
                printed = self.shell(where, hidden)
            if kind == "plait" and "output" not in words:
                self.program_file.write_text(body)
                self.program(where, body, words)
            elif kind == "sh" and "run" in words:
                printed = self.shell(where, body)
                continue
            elif kind == "c" and "run" in words:
                self.c_program(where, body)
            elif "output" in words:
                now = "".join(line.rstrip() + "\n" for line in (printed or "").splitlines())
                if bless and printed is not None:
                    out += [text[last:m.start(3)], now]
                    last = m.end(3)
                else:
                    claim(where, "" if now == body else f"now prints (--bless takes it over):\n{now}")
            printed = None
        for target in LINK.findall(CODE.sub("", FENCE.sub("", text))):
            if not (path.parent / target).exists():
                claim(path.relative_to(ROOT), f"links to {target}, which is not there")
        if out:
            path.write_text("".join(out) + text[last:])

    def tables(self):
        p = self.call(sys.executable, str(ROOT / "docs" / "tables.py"), "--plait", str(self.plait), "--check")
        claim("docs/tables.py", p.stdout + p.stderr if p.returncode else "")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--plait", default=str(ROOT / "build" / "plait"))
    options.add_argument("--bless", action="store_true")
    options.add_argument("words", nargs="*")
    opt = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        docs = Docs(opt.plait, folder)
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            if all(w in path.name for w in opt.words):
                docs.page(path, opt.bless)
        if not opt.words:
            docs.tables()
    print(f"{tally[True]} passed, {tally[False]} failed")
    return 1 if tally[False] else 0


if __name__ == "__main__":
    sys.exit(main())
