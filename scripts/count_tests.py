"""count_tests.py LOG: adds up what the test programs of a ctest run report and prints "N passed, N failed".

A program reports with lines "N passed, N failed" or with Check's "100%: Checks: N, Failures: N, Errors: N". One that
reports nothing counts as one test; one that fails without saying what (a crash, a timeout) as one failure more.
"""
import re
import sys

START = re.compile(r"^\d+/\d+ Testing: ")
END = re.compile(r"^Test (Passed|Failed)|^Test (Skipped)|^(Test not|Unable to)")
TOTALS = re.compile(r"^(\d+) passed, (\d+) failed\b")
CHECK = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$")


def count(lines):
    passed = failed = 0
    inside = reported = False
    for line in lines:
        if START.match(line):
            inside, reported, p, f = True, False, 0, 0
        elif not inside:
            continue
        elif m := TOTALS.match(line):
            reported, p, f = True, p + int(m[1]), f + int(m[2])
        elif m := CHECK.match(line):
            bad = int(m[2]) + int(m[3])
            reported, p, f = True, p + int(m[1]) - bad, f + bad
        elif m := END.match(line):
            if m[1] == "Passed" and not reported:
                p = 1
            if m[1] != "Passed" and not m[2] and f == 0:
                f = 1
            passed, failed, inside = passed + p, failed + f, False
    return passed, failed + inside               # inside: the log ends within a test


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        passed, failed = count(log)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main())
