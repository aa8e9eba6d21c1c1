#!/usr/bin/env python3
"""The public header: it compiles alone as C and as C++, is documented throughout, and docs/api.md agrees with it.

    tests/api/run.py [libplait.so] [--bless]

With the library, also: what the header declares is exported, and nothing else. --bless rewrites docs/api.md. Compilers
are those of $CC and $CXX (default: gcc and clang as far as installed). The last line is the count.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADER = os.path.join(ROOT, "include", "plait.h")
PAGE = os.path.join(ROOT, "docs", "api.md")
FLAGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", os.path.join(ROOT, "include")]


class Skip(Exception):
    pass


def text_of(path):
    with open(path) as f:
        return f.read()


def comment_text(c):
    """The text of a comment without its frame."""
    lines = [re.sub(r"^ \* ?", "", line) for line in c.strip()[2:-2].strip().split("\n")]
    return "\n".join(line.rstrip() for line in lines)


def sections():
    """(title, [(comment, prototype)]) for each section of the header: the functions in order, each with its contract."""
    found = []
    for part in re.split(r"^/\* ---- ", text_of(HEADER), flags=re.M)[1:]:
        title, body = part.split(" -", 1)
        items = []
        for m in re.finditer(r"(/\*(?:(?!\*/).)*\*/\n)?^PLAIT_API\s([^;]*);", body, re.S | re.M):
            items.append((comment_text(m.group(1)) if m.group(1) else "", " ".join(m.group(2).split())))
        found.append((title, items))
    return found


def functions():
    return [(re.search(r"(plait_\w+)\(", d).group(1), c, d) for _, items in sections() for c, d in items]


def compilers(variable, names):
    chosen = os.environ.get(variable)
    return [chosen] if chosen else [n for n in names if shutil.which(n)]


def compile_text(command, suffix, text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t" + suffix)
        with open(path, "w") as f:
            f.write(text)
        p = subprocess.run([*command, *FLAGS, path], capture_output=True)
        assert p.returncode == 0, "%s\n%s" % (" ".join(command), p.stderr.decode())


def the_header_compiles_as_c11():
    for cc in compilers("CC", ["gcc", "clang"]):
        compile_text([cc, "-std=c11"], ".c", '#include "plait.h"\n#include "plait.h"\nint main(void) { return 0; }\n')


def the_header_compiles_as_cpp17():
    for cxx in compilers("CXX", ["g++", "clang++"]):
        compile_text([cxx, "-std=c++17"], ".cpp", '#include "plait.h"\nint main() { return PLAIT_OK; }\n')


def the_example_of_the_page_compiles():
    example = re.search(r"```c\n(#include.*?)```", text_of(PAGE), re.S).group(1)
    for cc in compilers("CC", ["gcc", "clang"]):
        compile_text([cc, "-std=c11"], ".c", example)


def every_function_is_declared_with_its_contract():
    # Accessors in a row share the comment of the first.
    shared = re.compile(r"plait_(report_(kernel|traffic|remark|free)|program_free|exec_free|context_free|doctor_(count|finding|free)|messages_free|"
                        r"entry_result|program_entry|code_get)$")
    missing = [n for n, c, _ in functions() if not c and not shared.match(n)]
    assert not missing, missing


def every_options_struct_begins_with_its_size():
    structs = re.findall(r"typedef struct (plait_\w+_options) \{\s*(\w+ \w+);", text_of(HEADER))
    assert len(structs) >= 4 and all(first == "size_t struct_size" for _, first in structs), structs


def the_library_exports_the_header_and_nothing_else():
    if not LIBRARY:
        raise Skip
    out = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, check=True).stdout.decode()
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines() if " T " in line}
    declared = {n for n, _, _ in functions()}
    assert declared <= exported, sorted(declared - exported)
    assert exported <= declared, sorted(exported - declared)


def first_sentence(text):
    text = " ".join(text.split())
    m = re.match(r"(.*?\.)(?= |$)", text)
    return m.group(1) if m else text


def page():
    """docs/api.md: what stands there by hand, then every function with the first sentence of its contract."""
    kept = text_of(PAGE).split("<!-- generated -->")[0]
    out = [kept + "<!-- generated -->\n\nEvery function, from `include/plait.h`, which has the whole contracts (`tests/api/run.py --bless` writes this list).\n"]
    for title, items in sections():
        out.append("\n## %s\n\n" % title)
        for comment, prototype in items:
            name = re.search(r"(plait_\w+)\(", prototype).group(1)
            out.append("- `%s`%s\n" % (name, ": " + first_sentence(comment) if comment else ""))
    return "".join(out)


def the_page_agrees_with_the_header():
    if "--bless" in sys.argv:
        text = page()
        with open(PAGE, "w") as f:
            f.write(text)
    assert text_of(PAGE) == page(), "run: tests/api/run.py --bless"


def main():
    global LIBRARY
    LIBRARY = next((a for a in sys.argv[1:] if not a.startswith("-")), None)
    tests = [the_header_compiles_as_c11, the_header_compiles_as_cpp17, the_page_agrees_with_the_header, the_example_of_the_page_compiles,
             every_function_is_declared_with_its_contract, every_options_struct_begins_with_its_size, the_library_exports_the_header_and_nothing_else]
    passed = failed = skipped = 0
    for test in tests:
        try:
            test()
            passed += 1
        except Skip:
            skipped += 1
            print("skipped", test.__name__)
        except Exception as e:
            failed += 1
            print("FAILED ", test.__name__, "\n", "%s: %s" % (type(e).__name__, e))
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
