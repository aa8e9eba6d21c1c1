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
    now = None                                   # of the program being read: [passed, failed]
    for line in lines:
        if START.match(line):
            now = [0, 0]
        elif now is None:
            continue
        elif m := TOTALS.match(line):
            now = [now[0] + int(m[1]), now[1] + int(m[2])]
        elif m := CHECK.match(line):
            bad = int(m[2]) + int(m[3])
            now = [now[0] + int(m[1]) - bad, now[1] + bad]
        elif m := END.match(line):
            if m[1] == "Passed" and now == [0, 0]:
                now[0] = 1
            if not m[2] and m[1] != "Passed" and now[1] == 0:
                now[1] = 1
            passed, failed, now = passed + now[0], failed + now[1], None
    if now is not None:
        failed += 1                              # the log ends inside a test
    return passed, failed


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        passed, failed = count(log)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main())
