#!/bin/sh
# Everything on a GPU in one call of at most 8 minutes: differential tests, compute-sanitizer, then the suite with its peers.
#
#   bench/gpu/all.sh FOLDER [options of bench/gpu/run.py]       FOLDER gets tests.txt, run.jsonl, run.txt and table.md
set -u
out=${1:?a folder for what is found}
shift
mkdir -p "$out"
top=$(dirname "$0")/../..
begun=$(date +%s)
python3 "$top/tests/gpu/run.py" "$top/build/plait" --total 150 --tool-seconds 40 > "$out/tests.txt" 2>&1
tests=$?
[ $tests -eq 77 ] && { cat "$out/tests.txt"; exit 77; }
tail -n 3 "$out/tests.txt"
left=$((450 - ($(date +%s) - begun)))
python3 "$top/bench/gpu/run.py" --out "$out/run.jsonl" --total $((left - 20)) "$@" 2> "$out/run.txt"
suite=$?
tail -n 2 "$out/run.txt"
python3 "$top/bench/gpu/run.py" --table "$out/run.jsonl" > "$out/table.md"
cat "$out/table.md"
[ $tests -eq 0 ] && [ $suite -eq 0 ]
