"""report.py: what the lines of a run say together: a summary of each case, the bars met and missed, Markdown tables."""
import json
import math

PEERS = ("hand", "numpy", "numexpr", "jax", "onnxruntime", "torch", "torch.compile")
LARGE, SMALL = ("dram", "huge"), ("cache", "l2")


def load(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.startswith("{")]


def key(line):
    return line["case"], line["size"], line["dtype"], line["threads"]


def times(lines):
    """{(case, size, dtype, threads): {contestant: its result line}}"""
    found = {}
    for line in lines:
        if line["kind"] == "result":
            found.setdefault(key(line), {})[line["contestant"]] = line
    return found


def summary(who):
    """Plait beside the fastest of the others, from one case's result lines."""
    plait = who.get("plait")
    others = {n: r["median"] for n, r in who.items() if n in PEERS}
    if not plait or not others:
        return None
    best = min(others, key=others.get)
    libraries = [t for n, t in others.items() if n != "hand"]
    return {"plait": plait["median"], "best_peer": best, "ratio": digits(others[best] / plait["median"]),
            "ratio_library": digits(min(libraries) / plait["median"]) if libraries else None,
            "fraction": plait["fraction"],
            "ratios": {n: digits(t / plait["median"]) for n, t in others.items()}}


def digits(x):
    """Four significant digits."""
    return float(f"{x:.4g}")


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def bar(name, asks, value, missed=(), **more):
    met = None if value is None else value >= asks and not missed
    return {"kind": "bar", "bar": name, "asks": asks, "value": None if value is None else digits(value), "met": met,
            "missed": list(missed), **more}


def label(k):
    return f"{k[0]} {k[1]} {k[2]}"


def fractions(found, table):
    """How close to the ceiling, from memory, each case that has a bar."""
    for case in table:
        if case.bar:
            at = [(k, w["plait"]["fraction"]) for k, w in found.items() if k[0] == case.name and k[1] in LARGE and "plait" in w]
            kind = "read" if case.reads else "copy"
            missed = [f"{label(k)}: {f:.2f}" for k, f in at if f < case.bar]
            yield bar(f"{case.name}: fraction of the {kind} ceiling", case.bar, min((f for _, f in at), default=None), missed)


def ahead(found):
    """Beside the peers, from memory and from the caches."""
    said = {k: s for k, w in found.items() if (s := summary(w))}
    large = {k: s for k, s in said.items() if k[1] in LARGE}
    small = {k: s for k, s in said.items() if k[1] in SMALL}
    behind = [f"{label(k)}: {s['ratio']} ({s['best_peer']})" for k, s in sorted(large.items()) if s["ratio"] < 1]
    yield bar("from memory: ahead of every peer, least ratio", 1.0, min((s["ratio"] for s in large.values()), default=None), behind)
    compiled = [s["ratios"]["torch.compile"] for s in large.values() if "torch.compile" in s["ratios"]]
    yield bar("from memory: geometric mean beside torch.compile", 1.5, geometric_mean(compiled))
    yield bar("from caches: geometric mean beside the best peer", 1.2, geometric_mean([s["ratio"] for s in small.values()]))
    behind = [f"{label(k)}: {s['ratio']} ({s['best_peer']})" for k, s in sorted(small.items()) if s["ratio"] < 0.9]
    yield bar("from caches: least ratio", 0.9, min((s["ratio"] for s in small.values()), default=None), behind)
    for name, group in (("memory", large), ("caches", small)):
        for peer in PEERS:
            ratios = [s["ratios"][peer] for s in group.values() if peer in s["ratios"]]
            if ratios:
                yield {"kind": "mean", "from": name, "peer": peer, "cases": len(ratios), "geometric_mean": digits(geometric_mean(ratios))}


def flatness(found):
    """Time per byte over a sweep, the best beside the worst; `steady`: the same of the fraction of the ceiling, which does not
    see what else the machine was doing."""
    sweeps = {}
    for k, w in found.items():
        if ":" in k[1] and "plait" in w:
            sweeps.setdefault((k[0], k[1].split(":")[0], k[2]), {})[k[1]] = w["plait"]
    for (case, sweep, dtype), lines in sorted(sweeps.items()):
        asks = {"bytes": 1 / 1.15, "rows": 1 / 1.5}[sweep]
        cost = {at: p["median"] / p["least_bytes"] for at, p in lines.items()}
        fraction, best = [p["fraction"] for p in lines.values()], min(cost.values())
        slow = [f"{at}: {c / best:.2f} times the best" for at, c in cost.items() if best / c < asks]
        yield bar(f"{case} {dtype}: flat over {sweep}, best beside worst", digits(asks), best / max(cost.values()), slow,
                  steady=digits(min(fraction) / max(fraction)))


def bars(lines, table):
    found = times(lines)
    return [*fractions(found, table), *ahead(found), *flatness(found)]


def shown(seconds):
    return f"{seconds * 1e3:.2f}" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def row(k, who, peers):
    plait, cells = who.get("plait"), []
    for name in peers:
        r = who.get(name)
        cells.append("" if not r else f"{r['median'] / plait['median']:.2f}" if plait else shown(r["median"]))
    own = [shown(plait["median"]), f"{plait['gbs']:.1f}", f"{100 * plait['fraction']:.0f} %"] if plait else ["failed", "", ""]
    return "| " + " | ".join([f"`{k[0]}`", *own, *cells]) + " |"


def tables(lines):
    """One Markdown table for each size, type and number of threads."""
    found, text = times(lines), []
    groups = {}
    for k in found:
        if ":" not in k[1]:
            groups.setdefault((k[1], k[2], k[3]), []).append(k)
    for (size, dtype, threads), keys in groups.items():
        peers = [p for p in PEERS if any(p in found[k] for k in keys)]
        least = max(found[k][next(iter(found[k]))]["least_bytes"] for k in keys)
        text += [f"**{size}, {dtype}, {threads} threads** (about {amount(least)}; a peer's column is its time beside Plait's)", "",
                 "| case | Plait ms | GB/s | of ceiling | " + " | ".join(peers) + " |", "|---" * (4 + len(peers)) + "|"]
        text += [row(k, found[k], peers) for k in keys] + [""]
    return "\n".join(text)


def sweep_tables(lines):
    """Plait over each sweep: a row for each case, GB/s and the fraction of the ceiling in a column for each size."""
    sweeps = {}
    for k, who in times(lines).items():
        if ":" in k[1] and "plait" in who:
            sweep, at = k[1].split(":")
            sweeps.setdefault(sweep, {}).setdefault((k[0], k[2]), {})[at] = f"{who['plait']['gbs']:.1f} ({100 * who['plait']['fraction']:.0f} %)"
    text = []
    for sweep, rows in sweeps.items():
        sizes = list(dict.fromkeys(at for row in rows.values() for at in row))
        text += [f"Plait over {sweep}, GB/s (of the ceiling):", "", "| case | " + " | ".join(sizes) + " |", "|---" * (1 + len(sizes)) + "|"]
        text += [f"| `{case}` {dtype} | " + " | ".join(row.get(at, "") for at in sizes) + " |" for (case, dtype), row in rows.items()] + [""]
    return "\n".join(text)


def amount(n):
    return f"{n / 2**20:.0f} MiB" if n >= 1 << 20 else f"{n / 1024:.0f} KiB"


def bar_table(lines):
    text = ["| bar | asks | is | |", "|---|---|---|---|"]
    for b in lines:
        if b["kind"] == "bar":
            met = {None: "not measured", True: "met", False: "missed"}[b["met"]]
            text.append(f"| {b['bar']} | {b['asks']} | {'' if b['value'] is None else b['value']} | {met} |")
    return "\n".join(text)


def means(lines):
    """Geometric means of each peer's time beside Plait's."""
    found = {(line["from"], line["peer"]): line for line in lines if line["kind"] == "mean"}
    text = ["| geometric mean of time beside Plait's | from memory | from caches |", "|---|---|---|"]
    for peer in PEERS:
        at = [found.get((where, peer)) for where in ("memory", "caches")]
        if any(at):
            text.append(f"| {peer} | " + " | ".join(f"{m['geometric_mean']} ({m['cases']})" if m else "" for m in at) + " |")
    return "\n".join(text)


def head(lines):
    """What each of the runs was measured on."""
    text = []
    for m in (line for line in lines if line["kind"] == "machine"):
        caches = ", ".join(f"{k} {amount(v)}" for k, v in m["caches"].items())
        text.append(f"- {m['date'][:10]}, revision {m['revision']}, {m['cpu']}, {m['cores']} cores, {m['vectors']}, {caches}; load {m['load']} "
                    "at the start.")
    versions = {line["contestant"]: line["version"] for line in lines if line["kind"] == "present"}
    made = {line["compiler"] for line in lines if line["kind"] == "result" and line["contestant"] == "plait"}
    return "\n".join([*dict.fromkeys(text), "- " + ", ".join(f"{n} {v}" for n, v in versions.items()) + f"; Plait's kernels by {', '.join(sorted(made))}."])


def markdown(lines, table):
    ends = [line for line in lines if line["kind"] not in ("bar", "mean")]
    judged = bars(ends, table)                            # anew, over all the runs together
    parts = [head(lines), bar_table(judged), means(judged), sweep_tables(lines).rstrip(), tables(lines).rstrip()]
    return "\n\n".join(part for part in parts if part) + "\n"


BEGIN, END = "<!-- figures of bench/run.py: begin -->\n", "<!-- figures of bench/run.py: end -->\n"


def insert(page, text, begin=BEGIN, end=END):
    """Puts the tables between the marks of a page."""
    with open(page, encoding="utf-8") as f:
        before, rest = f.read().split(begin)
    after = rest.split(end)[1]
    with open(page, "w", encoding="utf-8") as f:
        f.write(before + begin + "\n" + text + "\n" + end + after)
