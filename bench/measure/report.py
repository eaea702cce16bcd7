"""From repetitions to medians, tables, and a verdict for each target."""
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Callable

from .doors import DOORS

UNPACED = 4  # connections that send as fast as they may
# The kind of a fan-out in which players acknowledge as the kernel would have it; in all others they are alike.
DEFAULT_ACKS = "default-acks"
# The engine built with its io_uring back end, beside the one named `ours`.
URING = "-uring"
BEGIN = "<!-- measured: written by bench/run from here -->"
END = "<!-- measured: to here -->"
# What a server may hold under overload: the stream's ring, its players, and itself.
OVERLOAD_BASE = 96 * 2**20
OVERLOAD_PLAYER = 16 * 2**10


class Results:
    """Repetitions by case. Only undisturbed ones count; where there is none, all do, and the case is marked."""

    def __init__(self, lines):
        self.cases = defaultdict(list)
        self.failures = []
        for line in lines:
            if line.get("failed"):
                self.failures.append(line)
            elif "kind" in line:
                self.cases[line["kind"], line["peer"], line["n"]].append(line)

    def servers(self, kind):
        """Names in the order in which readers compare: floor, nginx, ours."""
        names = {server for k, server, _ in self.cases if k == kind}
        order = {"floor": 0, "sink": 0, "nginx": 1, "node": 1}
        return sorted(names, key=lambda name: (order.get(name.split("-")[0], 2), name))

    def sizes(self, kind):
        return sorted({n for k, _, n in self.cases if k == kind})

    def repetitions(self, kind, server, n):
        """Those that count."""
        every = self.cases.get((kind, server, n), [])
        return [line for line in every if not line["disturbed"]] or every

    def is_clean(self, kind, server, n):
        every = self.cases.get((kind, server, n), [])
        return any(not line["disturbed"] for line in every)

    def values(self, kind, server, n, figure):
        return [value for value in map(FIGURES[figure], self.repetitions(kind, server, n)) if value is not None]

    def median(self, kind, server, n, figure):
        values = self.values(kind, server, n, figure)
        return statistics.median(values) if values else None

    def spread(self, kind, server, n, figure):
        """Half the distance between the farthest repetitions, as a share of the median."""
        values = self.values(kind, server, n, figure)
        middle = statistics.median(values) if values else 0
        return (max(values) - min(values)) / 2 / middle if middle else None


def per_message(line):
    """Microseconds of the server's CPU time for one message received."""
    return line["server"]["cores"] / line["messages_s"] * 1e6 if line.get("messages_s") else None


def framing_errors(line):
    return sum(count for text, count in line["errors"].items() if "framing" in text)


FIGURES: dict[str, Callable] = {
    "cpu": lambda line: line["server"]["cpu_s_per_gbit"],
    "cores": lambda line: line["server"]["cores"],
    "p50": lambda line: line["latency_ms"]["p50"],
    "p99": lambda line: line["latency_ms"]["p99"],
    "ttff50": lambda line: line["ttff_ms"]["p50"],
    "ttff": lambda line: line["ttff_ms"]["p99"],
    "rss": lambda line: line["server"]["rss_per_conn"] / 1024,
    "full": lambda line: line["full_rate"],
    "alive": lambda line: line["alive"],
    "missing": lambda line: line["missing"],
    "wrong": lambda line: line["missing"] + line["dup"] + line["ts_backwards"] + framing_errors(line),
    "invalid": lambda line: line["ts_backwards"] + framing_errors(line),
    "gbit": lambda line: line["gbit_s"],
    "load": lambda line: line["load_cpu_cores"],
    "message": per_message,
    "mb": lambda line: line["mb_s"],
    "live": lambda line: line["live"],
    "peak": lambda line: line["peak_rss"] / 2**20,
    "sockets": lambda line: line["peak_socket_memory"] / 2**20,
    "foreign": lambda line: line.get("foreign_core"),
}


# ------------------------------------------------------------------------------------------------ targets


@dataclass
class Target:
    """A promise as a number: `measure` gives it (None = not measured), which must be at most or at least `limit`."""

    text: str
    measure: Callable
    limit: float
    unit: str = ""
    at_least: bool = False

    def verdict(self, results):
        value = self.measure(results)
        if value is None:
            return "-", "not measured"
        holds = value >= self.limit if self.at_least else value <= self.limit
        return f"{value:.2f}{self.unit}", "met" if holds else "**missed**"

    def limit_text(self):
        return f"{'>=' if self.at_least else '<='} {self.limit:g}{self.unit}"


def targets(ours, n, scale):
    """The targets for the engine named `ours`, at `n` players."""
    with_video, immediate, merge = (f"{ours}: {name}" for name in ("with-video", "immediate", "merge-100"))
    policies = [("immediate", immediate), ("with-video", with_video), ("merge 100 ms", merge)]
    found = ratio_targets(with_video, immediate, n) + ratio_targets(with_video, immediate, n, DEFAULT_ACKS)
    found += policy_targets(with_video, immediate, merge, n) + uring_targets(ours, n)
    for name, server in policies[:2]:
        found.append(Target(f"{name}: latency p50", median("fanout", server, n, "p50"), 8, " ms"))
        found.append(Target(f"{name}: latency p99", median("fanout", server, n, "p99"), 25, " ms"))
    for name, server in policies:
        found += player_targets(name, server, n, scale)
    found += door_targets(with_video, policies, n)
    wrong = f"wrong frames, and players without every frame, up to {n} players, default acks and other ways in too"
    found.append(Target(wrong, wrong_anywhere(ours, n), 0))
    return found + limit_targets(with_video, scale) + publishing_targets(with_video, scale) + [
        Target("two shards on two cores, CPU per Gbit: of one shard",
               lambda r: quotient(r.median("shards", with_video, n, "cpu"), r.median("fanout", with_video, n, "cpu")), 1.1)]


def ratio_targets(with_video, immediate, n, kind="fanout"):
    """What depends on how receivers acknowledge: the same limits for either kind of fan-out."""
    def target(text, one, other, limit):
        prefix = "default acks: " if kind == DEFAULT_ACKS else ""
        return Target(prefix + text, ratio(kind, n, "cpu", one, other), limit)

    return [
        target("immediate, CPU per Gbit: of floor-send", immediate, "floor-send", 1.15),
        target("immediate: of nginx-rtmp, chunk 60000", immediate, "nginx-60000", 1.0),
        target("immediate: of nginx-rtmp, chunk 4096", immediate, "nginx-4096", 0.85),
        target("with-video, CPU per Gbit: of floor-ride", with_video, "floor-ride", 1.30),
        target("with-video: of nginx-rtmp, chunk 60000", with_video, "nginx-60000", 0.65),
    ]


def policy_targets(with_video, immediate, merge, n):
    """What with-video adds, and what merging wins."""
    def cpu(one, other):
        return ratio("fanout", n, "cpu", one, other)

    def added(results):
        return difference(*(results.median("fanout", server, n, "p50") for server in (with_video, immediate)))

    return [
        Target("with-video: video latency p50 added to immediate's", added, 1, " ms"),
        Target("merge 100 ms, CPU per Gbit: of floor-merge-100", cpu(merge, "floor-merge-100"), 1.20),
        Target("merge 100 ms: times better than nginx-rtmp, chunk 60000", cpu("nginx-60000", merge), 4, at_least=True),
    ]


def uring_targets(ours, n):
    """What the io_uring back end must win to be worth keeping."""
    return [Target(f"io_uring, {policy}: of the default back end",
                   ratio("fanout", n, "cpu", f"{ours}{URING}: {policy}", f"{ours}: {policy}"), 0.9)
            for policy in ("with-video", "immediate")]


def player_targets(name, server, n, scale):
    return [
        Target(f"{name}: first frame p99 while {n} join at 400/s", median("fanout", server, n, "ttff"), 15, " ms"),
        Target(f"{name}: first frame of a single join, worst", median("join", server, scale.joins, "ttff"), 5, " ms"),
        Target(f"{name}: memory per player", median("fanout", server, n, "rss"), 16, " kB"),
    ]


def door_targets(with_video, policies, n):
    """What players over HTTP and TLS may cost beside those over RTMP, and beside each other."""
    def of(kind, server, other, figure="cpu"):
        return lambda results: quotient(
            results.median(kind, server, n, figure), results.median(other, server, n, figure))

    found = [Target(f"{DOORS[kind].title}, {name}, CPU per Gbit: of RTMP", of(kind, server, "fanout"), 1.10)
             for kind in ("flv", "ws") for name, server in policies]
    found += [Target(f"{DOORS[kind].title}: memory per player", median(kind, with_video, n, "rss"), 9, " kB")
              for kind in ("flv", "ws")]
    return found + [
        Target("RTMPS, CPU per Gbit: of RTMP", of("rtmps", with_video, "fanout"), 1.25),
        Target("RTMPS: memory per player", median("rtmps", with_video, n, "rss"), 16, " kB"),
        Target("WebSocket-FLV with TLS, CPU per Gbit: of RTMPS", of("wss", with_video, "rtmps"), 1.10),
    ]


def limit_targets(with_video, scale):
    top = 3000 if 3000 in scale.ladder else max(scale.ladder)
    invalid = overload(with_video, lambda r, n: max(r.values("overload", with_video, n, "invalid")))
    return [
        Target(f"with-video, {top} players: at full rate", median("fanout", with_video, top, "full"), top, at_least=True),
        Target(f"with-video, {top} players: missing frames",
               lambda r: max(r.values("fanout", with_video, top, "missing"), default=None), 0),
        Target("overload: invalid framing or time", invalid, 0),
        Target("overload: memory of its bound", overload(with_video, lambda r, n: overload_memory(r, with_video, n)), 1.0),
    ]


def publishing_targets(with_video, scale):
    def of_nginx(results):
        ours, *theirs = (results.median("relay", name, scale.relay, "message")
                         for name in (with_video, "nginx-60000", "nginx-4096"))
        return quotient(ours, min((value for value in theirs if value is not None), default=None))

    ingest = [Target(f"ingest of {k}, CPU per message: of the floor", ratio("ingest", k, "message", with_video, "sink"), 1.25)
              for k in scale.ingest]
    return ingest + [
        Target("ingest unpaced", median("unpaced", with_video, UNPACED, "mb"), 1000, " MB/s", at_least=True),
        Target(f"relay push of {scale.relay}, CPU per message: of the better nginx-rtmp", of_nginx, 1.0),
    ]


def median(kind, server, n, figure):
    return lambda results: results.median(kind, server, n, figure)


def ratio(kind, n, figure, one, other):
    return lambda results: quotient(*(results.median(kind, server, n, figure) for server in (one, other)))


def quotient(one, other):
    return one / other if one is not None and other else None


def difference(one, other):
    return one - other if one is not None and other is not None else None


def wrong_anywhere(ours, most):
    """Missing, repeated, backward or broken frames in every fan-out of ours to at most `most` players, and players that
    did not get every frame."""
    def measure(results):
        lines = [line for case in results.cases for line in results.repetitions(*case)
                 if case[0] in ("fanout", DEFAULT_ACKS, *DOORS) and case[1].startswith(f"{ours}: ") and case[2] <= most]
        return sum(FIGURES["wrong"](line) + line["n"] - line["full_rate"] for line in lines) if lines else None
    return measure


def overload(server, figure):
    """A figure at the largest overload measured."""
    def measure(results):
        sizes = [n for kind, name, n in results.cases if kind == "overload" and name == server]
        return figure(results, max(sizes)) if sizes else None
    return measure


def overload_memory(results, server, n):
    peak = max(line["peak_rss"] for line in results.repetitions("overload", server, n))
    return peak / (OVERLOAD_BASE + n * OVERLOAD_PLAYER)


# ------------------------------------------------------------------------------------------------ Markdown


def markdown(run, results, scale, chart, doubts=()):
    """Everything between the marks."""
    warning = f"**Not for publication**: {'; '.join(doubts)}.\n" if doubts else ""
    picture = f"![CPU per Gbit against latency]({chart})\n"
    parts = [warning, head(run, scale), verdicts(run, results, scale), picture, fanout(results, scale),
             doors(results, scale), joins(results, scale), publishing(results, scale), limits(results, run),
             shards(results, run), failures(results)]
    return "\n".join(part for part in parts if part)


def head(run, scale):
    machine = run["machine"]
    lines = [
        f"Measured on {run['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, loopback. Server on core {run['cores'][0]}, publisher and players on core "
        f"{run['cores'][1]}. {scale.repetitions} repetitions in random order, windows of {scale.window_s:g} s; medians "
        "of those in which other programs took less than 0.15 of the server's core. `*`: there was no such repetition.",
        "Stream: 2 Mbit/s video of 30 frames a second, keyframe every 2 s, AAC (77 messages a second).",
        conditions(run),
        "", *[f"- {name}: {version}" for name, version in run["versions"].items()], ""]
    return "\n".join(lines)


def conditions(run):
    """Whose network it was, and how receivers acknowledged: what the ratios depend on."""
    network = run.get("network", {})
    place = "a network namespace of its own" if network.get("is_own") else "the machine's own network"
    note = f" ({network['note']})" if network.get("note") else ""
    if not is_alike(run):
        return (f"Network: {place}{note}. **Receivers were not made alike**: the kernel's default acknowledgements "
                "throughout.")
    return (f"Network: {place}{note}. Receivers alike (`tcp_pingpong_thresh` = {network['alike']}), but for what is "
            f"called \"default acks\" (the kernel's own, {network['default']}): README.md says why.")


def is_alike(run):
    """Whether the fan-outs' receivers acknowledged alike. Runs that say nothing about it are older than that."""
    return run.get("network", {}).get("alike") is not None


def verdicts(run, results, scale):
    n, rows = max(scale.players), []
    for target in targets(run["ours"], n, scale):
        value, verdict = target.verdict(results)
        rows.append([target.text, target.limit_text(), value, verdict])
    title = f"Targets, {n} players{'' if is_alike(run) else ', receivers not made alike'}"
    return section(title, table(["target", "limit", "measured", "verdict"], rows))


def fanout(results, scale):
    """A table for each number of players, and one for the kernel's default acknowledgements."""
    text = []
    for n in sorted(scale.players, reverse=True):
        title = f"Fan-out to {n} players, one core"
        text += [fanout_table(results, "fanout", n, title),
                 fanout_table(results, DEFAULT_ACKS, n, f"{title}, with the kernel's default acknowledgements")]
    return "\n".join(part for part in text if part)


def fanout_table(results, kind, n, title):
    titles = ["server", "CPU-s/Gbit", "of its floor", "of nginx 60000", "cores", "latency p50 / p99 ms",
              "first frame p50 / p99 ms", "RSS/player kB", "full rate", "repetitions"]
    rows = [fanout_row(results, kind, name, n) for name in results.servers(kind) if results.cases.get((kind, name, n))]
    return rows and section(title, table(titles, rows))


def fanout_row(results, kind, name, n):
    """One server beside its floor and nginx-rtmp, all of the same kind."""
    return players_row(results, kind, name, n, [(kind, floor_of(name)), (kind, "nginx-60000")])


def players_row(results, kind, name, n, others):
    """What a server does for its players, beside others: each a kind and a server."""
    def get(figure):
        return results.median(kind, name, n, figure)

    against = [quotient(get("cpu"), results.median(*other, n, "cpu")) for other in others]
    floor = name.startswith("floor")
    return [name, f"{number(get('cpu'), 3)} {plus_minus(results, kind, name, n)}",
            *[number(ratio, 2) for ratio in against], number(get("cores"), 2),
            f"{number(get('p50'), 1)} / {number(get('p99'), 0)}",
            "-" if floor else f"{number(get('ttff50'), 0)} / {number(get('ttff'), 0)}",
            number(get("rss"), 0), number(get("full"), 0), counted(results, kind, name, n)]


def doors(results, scale):
    """A table for each way in besides RTMP, beside RTMP itself."""
    n = max(scale.players)
    return "\n".join(part for part in (door_table(results, kind, n) for kind in DOORS) if part)


def door_table(results, kind, n):
    titles = ["server", "CPU-s/Gbit", "of RTMP", "of RTMPS", "cores", "latency p50 / p99 ms", "first frame p50 / p99 ms",
              "RSS/player kB", "full rate", "repetitions"]
    rows = [door_row(results, kind, name, n) for name in results.servers(kind) if results.cases.get((kind, name, n))]
    return rows and section(f"{DOORS[kind].title} to {n} players, one core", table(titles, rows))


def door_row(results, kind, name, n):
    """One server beside itself over RTMP and RTMPS."""
    return players_row(results, kind, name, n, [("fanout", name), ("rtmps", name)])


def floor_of(name):
    """The floor that writes as often as this server."""
    if name.startswith("nginx"):
        return "floor-send"
    policy = name.split(": ")[-1]
    return {"with-video": "floor-ride", "immediate": "floor-send", "merge-100": "floor-merge-100"}.get(policy)


def joins(results, scale):
    rows = [[name, number(results.median("join", name, scale.joins, "ttff50"), 1),
             number(results.median("join", name, scale.joins, "ttff"), 1),
             counted(results, "join", name, scale.joins)] for name in results.servers("join")]
    return rows and section(f"Single joins ({scale.joins}, one after the other)",
                            table(["server", "first frame, median ms", "worst ms", "repetitions"], rows))


def publishing(results, scale):
    text = []
    for kind, title in (("ingest", "Ingest of {} publishers, 1 Mbit/s each"), ("relay", "Relay push of {} streams")):
        for n in results.sizes(kind):
            rows = [[name, number(results.median(kind, name, n, "cores"), 3),
                     number(results.median(kind, name, n, "message"), 1),
                     number(results.median(kind, name, n, "rss"), 0), number(results.median(kind, name, n, "live"), 0),
                     counted(results, kind, name, n)]
                    for name in results.servers(kind) if results.cases.get((kind, name, n))]
            titles = ["server", "cores", "us per message", "RSS/publisher kB", "live", "repetitions"]
            text.append(section(title.format(n), table(titles, rows)))
    for n in results.sizes("unpaced"):
        rows = [[name, number(results.median("unpaced", name, n, "mb"), 0),
                 number(results.median("unpaced", name, n, "cpu"), 3),
                 number(results.median("unpaced", name, n, "cores"), 2),
                 number(results.median("unpaced", name, n, "load"), 2), counted(results, "unpaced", name, n)]
                for name in results.servers("unpaced")]
        titles = ["server", "MB/s", "CPU-s/Gbit", "cores", "load's cores", "repetitions"]
        text.append(section(f"Ingest unpaced, {n} connections", table(titles, rows)))
    return "\n".join(text)


def limits(results, run):
    rows = []
    ladder = run.get("ladder", [])
    for kind, name, n in sorted(results.cases, key=lambda case: (case[1], case[2])):
        if kind == "overload" or (kind == "fanout" and n in ladder and name == run.get("ladder_server")):
            get = lambda figure: results.median(kind, name, n, figure)
            rows.append([name, "twice the sustainable" if kind == "overload" else "ladder", n, number(get("full"), 0),
                         number(get("alive"), 0), number(get("missing"), 0), number(get("invalid"), 0),
                         number(get("cores"), 2), number(get("load"), 2), number(get("gbit"), 2), number(get("p99"), 0),
                         number(get("peak"), 0), number(get("sockets"), 0), counted(results, kind, name, n)])
    titles = ["server", "step", "players", "full rate", "alive", "missing", "invalid", "cores", "load's cores",
              "Gbit/s", "p99 ms", "peak RSS MB", "peak socket MB", "repetitions"]
    note = "Where the load generator's core is full (1.00), it is what limits, not the server.\n"
    return rows and section("Until it overflows, one core", table(titles, rows) + "\n" + note)


def shards(results, run):
    rows = []
    for name in results.servers("shards"):
        for n in results.sizes("shards"):
            get = lambda figure: results.median("shards", name, n, figure)
            rows.append([name, n, number(get("cpu"), 3), number(results.median("fanout", name, n, "cpu"), 3),
                         number(get("cores"), 2), number(get("load"), 2), number(get("gbit"), 2),
                         f"{number(get('p50'), 1)} / {number(get('p99'), 0)}", number(get("full"), 0),
                         counted(results, "shards", name, n)])
    titles = ["server", "players", "CPU-s/Gbit, two shards", "one shard", "cores", "load's cores", "Gbit/s",
              "latency p50 / p99 ms", "full rate", "repetitions"]
    note = "The load generator runs on the same two cores: this shows the price of two shards, not how they scale.\n"
    return rows and section("Two shards on two cores", table(titles, rows) + "\n" + note)


def failures(results):
    lines = [f"- {line['kind']} {line['n']}, {line['peer']}: {line['failed'].strip()[:200]}"
             for line in results.failures]
    return lines and section("Not measured", "\n".join(lines) + "\n")


def counted(results, kind, name, n):
    """Repetitions that count, of all; marked where none was undisturbed."""
    every = results.cases[kind, name, n]
    clean = sum(not line["disturbed"] for line in every)
    return f"{clean}/{len(every)}{'' if clean else ' *'}"


def plus_minus(results, kind, name, n):
    spread = results.spread(kind, name, n, "cpu")
    return f"± {spread:.0%}" if spread is not None and len(results.repetitions(kind, name, n)) > 1 else ""


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def section(title, body):
    return f"## {title}\n\n{body}"


def table(titles, rows):
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(str(cell).strip() for cell in line) + " |\n" for line in lines)


def place(text, measured):
    """Puts what was measured between the marks of a results file; what people wrote around them stays."""
    block = f"{BEGIN}\n\n{measured}\n{END}"
    if BEGIN in text and END in text:
        return text[:text.index(BEGIN)] + block + text[text.index(END) + len(END):]
    return f"# Results\n\nHow they come about and how far to trust them: [README.md](README.md).\n\n{block}\n"
