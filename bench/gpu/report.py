"""report.py: what the lines of a run say: the bars met and missed, Plait beside each peer, Markdown tables."""
import json
import statistics

from suite.report import digits, geometric_mean, insert, load

from . import cases

BEGIN, END = "<!-- figures of bench/gpu/run.py: begin -->\n", "<!-- figures of bench/gpu/run.py: end -->\n"
PEERS = ("torch", "torch.vendor", "torch.compile", "torch.max-autotune", "jax", "triton", "hand")
LIBRARIES = PEERS[:-1]
TITLES = {"torch": "eager", "torch.vendor": "its function", "torch.compile": "compile", "torch.max-autotune": "max-autotune", "jax": "XLA",
          "triton": "Triton", "hand": "by hand"}
COMPILE_MS, OVER_COMPILE = 60, 1.3


def times(lines):
    """{case id: {contestant: its result line}}; a later run's line counts."""
    found = {}
    for line in lines:
        if line["kind"] == "result":
            found.setdefault(line["case"], {})[line["contestant"]] = line
    return found


def ceilings(lines):
    """The most that copying and reading reached in any of the measurements, GB/s."""
    seen = [line for line in lines if line["kind"] == "ceiling"]
    return {k: max((line[f"{k}_gbps"] for line in seen), default=None) for k in ("copy", "read")}


def fraction(line, top):
    ceiling = top["read" if line["reads"] else "copy"]
    return line["least_bytes"] / line["us"] / 1e3 / ceiling if ceiling else None


def tied(a, b):
    """Whether the quartiles of two lines overlap."""
    return a["q1"] <= b["q3"] and b["q1"] <= a["q3"]


def best(who, names=PEERS):
    """The fastest of some contestants."""
    here = [who[n] for n in names if n in who]
    return min(here, key=lambda r: r["us"]) if here else None


def verdict(case, who, top):
    """What was reached of the case's bar: (asked, reached, met); met None: not measured."""
    plait = who.get("plait")
    if not plait:
        return cases.asked(case), "", None
    part = fraction(plait, top)
    if case.mark:
        hand = who.get("hand")
        limit = hand["us"] if hand else case.limit_us
        met = plait["us"] <= limit or bool(hand) and tied(plait, hand)
        return f"{limit:.2f} µs{' (by hand)' if hand else ''}", f"{plait['us']:.2f} µs", met
    if case.limit_us:
        return f"{case.limit_us:g} µs", f"{plait['us']:.2f} µs", plait["us"] <= case.limit_us
    if case.bar and part is not None:
        return f"{100 * case.bar:.0f} %", f"{100 * part:.1f} %", part >= case.bar
    return "", "" if part is None else f"{100 * part:.1f} %", None


def behind(found):
    """Cases where Plait is slower than the fastest peer by more than the spread: (id, peer, its time over Plait's)."""
    said = []
    for id, who in found.items():
        peer = best(who)
        if "plait" in who and peer and peer["us"] < who["plait"]["us"] and not tied(who["plait"], peer):
            said.append((id, peer["contestant"], digits(peer["us"] / who["plait"]["us"])))
    return said


def ratios(found, name):
    return [who[name]["us"] / who["plait"]["us"] for who in found.values() if name in who and "plait" in who]


def bars(lines):
    """All bars as lines."""
    found, top = times(lines), ceilings(lines)
    for case in cases.CASES:
        asks, reached, met = verdict(case, found.get(case.id, {}), top)
        if case.bar or case.limit_us:
            yield {"kind": "bar", "bar": f"{case.id} {case.name}", "asks": asks, "value": reached, "met": met}
    slower = behind(found)
    said = "; ".join(f"{id}: {r} of it ({peer})" for id, peer, r in slower)
    measured = any("plait" in who for who in found.values())
    yield {"kind": "bar", "bar": "no slower than the best peer on any case", "asks": "0 cases", "value": f"{len(slower)} cases" + (f" ({said})" if said else ""),
           "met": not slower if measured else None}
    mean = geometric_mean(ratios(found, "torch.compile"))
    yield {"kind": "bar", "bar": "geometric mean beside torch.compile", "asks": f"{OVER_COMPILE}", "value": f"{mean:.2f}" if mean else "",
           "met": mean and mean >= OVER_COMPILE}
    alone = [ms for line in lines if line["kind"] == "alone" for ms in line["ms"]]
    ms = alone or [who["plait"]["prepare_ms"] for who in found.values() if "plait" in who]
    median = round(statistics.median(ms), 1) if ms else None
    yield {"kind": "bar", "bar": "text to loaded kernel, median of the cases", "asks": f"{COMPILE_MS} ms",
           "value": f"{median} ms ({min(ms):.0f} to {max(ms):.0f})" if ms else "", "met": median < COMPILE_MS if ms else None}
    bits = [line for line in lines if line["kind"] == "bits"]
    yield {"kind": "bar", "bar": "the same bits on 100 launches", "asks": "all", "value": f"{sum(not b['different'] for b in bits)} of {len(bits)} cases",
           "met": not any(b["different"] for b in bits) if bits else None}


def met_text(met):
    return {None: "not measured", True: "met", False: "**missed**"}[met]


def bar_table(lines):
    text = ["| bar | asks | is | |", "|---|---|---|---|"]
    return "\n".join(text + [f"| {b['bar']} | {b['asks']} | {b['value']} | {met_text(b['met'])} |" for b in bars(lines)])


def shown(us):
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def cell(line, plait, top):
    """A peer's time, with a mark where it is the same as Plait's within the spread."""
    if not line:
        return ""
    part = fraction(line, top)
    percent = f" ({100 * part:.0f} %)" if part is not None and line["us"] > 10 else ""
    return shown(line["us"]) + percent + (" =" if plait and tied(line, plait) else "")


def row(case, who, top, peers, said):
    plait = who.get("plait")
    own = said.get((case.id, "plait"), "") if not plait else cell(plait, None, top)
    spread = f"{shown(plait['q1'])}–{shown(plait['q3'])}" if plait else ""
    fastest = best(who, [p for p in peers])
    ratio = f"{fastest['us'] / plait['us']:.2f} ({TITLES[fastest['contestant']]})" if plait and fastest else ""
    kernels = "" if not plait or plait["kernels"] is None else f"{plait['kernels']:g}"
    cells = [cell(who[p], plait, top) if p in who else said.get((case.id, p), "") for p in peers]
    return "| " + " | ".join([case.id, case.name, own, spread, kernels, ratio, *cells]) + " |"


def table(lines):
    found, top = times(lines), ceilings(lines)
    said = {(line["case"], line["contestant"]): line["kind"] for line in lines if line["kind"] in ("wrong", "error") and "contestant" in line}
    named = {name for who in found.values() for name in who} | {name for _, name in said}
    peers = [p for p in PEERS if p in named]
    text = ["| # | case | Plait µs | quartiles | kernels | best peer | " + " | ".join(TITLES[p] for p in peers) + " |",
            "|---" * (6 + len(peers)) + "|"]
    ids = set(found) | {id for id, _ in said}
    return "\n".join(text + [row(c, found.get(c.id, {}), top, peers, said) for c in cases.CASES if c.id in ids])


def means(lines):
    found = times(lines)
    text = ["| geometric mean of time beside Plait's | | cases |", "|---|---|---|"]
    for peer in PEERS:
        of = ratios(found, peer)
        if of:
            text.append(f"| {TITLES[peer]} | {geometric_mean(of):.2f} | {len(of)} |")
    rest = [best(who, LIBRARIES)["us"] / who["plait"]["us"] for who in found.values() if "plait" in who and best(who, LIBRARIES)]
    if rest:
        text.append(f"| the best of them but by hand | {geometric_mean(rest):.2f} | {len(rest)} |")
    return "\n".join(text)


def compile_table(lines):
    """First calls in fresh processes with empty caches."""
    found = {line["what"]: line for line in lines if line["kind"] == "first_call" and "first_ms" in line}
    if not found:
        return ""
    text = ["| softmax [8192, 4096], text to first result, nothing cached | ms | a second program |", "|---|---|---|"]
    return "\n".join(text + [f"| {what} | {f['first_ms']:g} | {f['second_ms']:g} |" for what, f in found.items()])


def head(lines):
    text = []
    for m in (line for line in lines if line["kind"] == "machine"):
        driver = f"driver {m['driver'] // 1000}.{m['driver'] % 1000 // 10}"
        text.append(f"- {m['date'][:10]}, revision {m['revision']}, {m['device']} ({m['arch']}, {m['multiprocessors']} multiprocessors, {driver}; "
                    f"{m['smi'] or 'no nvidia-smi'}), {m['cores']} cores, Python {m['python']}; `{m['command']}`.")
    for c in (line for line in lines if line["kind"] == "ceiling"):
        text.append(f"- Ceiling, {c['when']} of the run: copy {c['copy_gbps']} GB/s, read {c['read_gbps']} GB/s ({c.get('smi') or 'no nvidia-smi'}).")
    versions = {line["contestant"]: line["version"] for line in lines if line["kind"] == "present"}
    made = {line["compiler"] for line in lines if line["kind"] == "result" and line["contestant"] == "plait" and "compiler" in line}
    text.append("- " + ", ".join(f"{n} {v}" for n, v in versions.items()) + (f"; Plait's kernels by {', '.join(sorted(made))}." if made else "."))
    return "\n".join(text)


def failures(lines):
    text = []
    for line in lines:
        if line["kind"] in ("wrong", "error", "absent", "skipped"):
            text.append(f"- {line.get('case', '')} {line.get('contestant', '')}: {line['kind']}: {' '.join(str(line['error']).split())[:160]}")
    return "\n".join(dict.fromkeys(text))


def markdown(lines):
    parts = [head(lines), bar_table(lines), means(lines), compile_table(lines), table(lines), failures(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def show(opt):
    lines = [line for f in opt.table for line in load(f)]
    if opt.json:
        print("\n".join(json.dumps(b) for b in bars(lines)))
    elif opt.into:
        insert(opt.into, markdown(lines), BEGIN, END)
    else:
        print(markdown(lines))
    return 0
