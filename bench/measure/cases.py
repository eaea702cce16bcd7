"""One measurement at a time: a fresh server, its load, and what others did on the machine meanwhile."""
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import machine, servers
from .doors import DOORS
from .report import DEFAULT_ACKS, UNPACED, URING

# A repetition counts only while others took less than this of the server's core, and of the machine.
FOREIGN_CORE = 0.15
FOREIGN_MACHINE = 0.30
SAMPLE_S = 0.5


@dataclass(frozen=True)
class Scale:
    """How much is measured, and for how long."""

    players: tuple
    repetitions: int
    window_s: float
    settle_s: float
    ingest: tuple
    relay: int
    joins: int
    shards: tuple
    ladder: tuple
    patience_s: float
    retries: int


FULL = Scale(players=(200, 1000), repetitions=3, window_s=5, settle_s=2.5, ingest=(50, 200), relay=50, joins=20,
             shards=(1000, 3000), ladder=(1000, 2000, 3000, 4000), patience_s=30, retries=2)
QUICK = Scale(players=(100,), repetitions=1, window_s=2, settle_s=0.5, ingest=(10,), relay=10, joins=8,
              shards=(100,), ladder=(100,), patience_s=0, retries=0)
JOIN_RATE = 400
# Whose ratios are judged with the kernel's default acknowledgements too.
DEFAULT_ACKS_SERVERS = ("floor-send", "floor-ride", *servers.NGINX_CHUNKS)
DEFAULT_ACKS_POLICIES = (": immediate", ": with-video")


@dataclass
class Case:
    """One server under one load: `kind` is fanout, a door, default-acks, join, ingest, unpaced, relay, shards or
    overload."""

    server: servers.Server
    kind: str
    n: int

    def title(self):
        return f"{self.kind} {self.n}, {self.server.name}"


def plan(found, scale, kinds):
    """The cases of one repetition."""
    cases = []
    for server in found:
        for kind, counts in wanted(server, scale):
            if kind in kinds:
                cases += [Case(server, kind, n) for n in counts]
    return cases


def wanted(server, scale):
    """Which loads a server gets. All policies of ours take in and relay alike: the first of each engine stands for
    them."""
    if server.kind == "sink":
        return [("ingest", scale.ingest), ("unpaced", (UNPACED,))]
    most = (max(scale.players),)
    if f"{URING}: " in server.name:
        return [("fanout", most)]
    if server.kind == "node":
        return [("flv", most), ("ws", most)]
    loads = [("fanout", scale.players)]
    if server.name in DEFAULT_ACKS_SERVERS or server.kind == "ours" and server.name.endswith(DEFAULT_ACKS_POLICIES):
        loads.append((DEFAULT_ACKS, most))
    if server.kind == "floor":
        return loads
    publishing = [("ingest", scale.ingest), ("unpaced", (UNPACED,)), ("relay", (scale.relay,))]
    if server.kind == "nginx":
        return loads + publishing
    loads += [("join", (scale.joins,)), ("flv", most), ("ws", most)]
    if server.name.endswith(": with-video"):
        loads += [(kind, most) for kind, door in DOORS.items() if door.is_tls]
    if server.name.endswith((": with-video", f": {servers.NO_POLICY}")):
        loads += publishing + [("shards", scale.shards)]
    return loads


class Bench:
    """Runs cases, on these cores and this network, with this load generator."""

    def __init__(self, load, network, scale, server_core, load_core):
        self.load = load
        self.network = network
        self.scale = scale
        self.server_core = server_core
        self.load_core = load_core

    def run(self, case):
        """The load generator's report with our accounting; `failed` says why there is none."""
        machine.wait_for_quiet(FOREIGN_MACHINE, self.scale.patience_s)
        self.network.arrange(case.kind)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            folder = Path(folder)
            folder.chmod(0o755)  # nginx's worker may be another user
            with Stage(self, case, folder) as stage:
                try:
                    result = stage.measure()
                except RuntimeError as error:
                    result = {"failed": str(error)}
        result.update(peer=case.server.name, kind=case.kind, n=case.n, at=time.strftime("%H:%M:%S"))
        result["disturbed"] = is_disturbed(result)
        return result


def is_disturbed(result):
    """Whether others took too much for this repetition to count."""
    foreign = [(result.get("foreign_core"), FOREIGN_CORE), (result.get("foreign_machine"), FOREIGN_MACHINE)]
    return any(value is not None and value > limit for value, limit in foreign)


class Stage:
    """The processes of one case; all of them end with it."""

    def __init__(self, bench, case, folder):
        self.bench = bench
        self.case = case
        self.folder = folder
        self.helpers = []
        self.server = None
        both = {bench.server_core, bench.load_core}
        self.is_shared = case.kind == "shards"
        self.server_cores = both if self.is_shared else {bench.server_core}
        self.load_cores = both if self.is_shared else {bench.load_core}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [*reversed(self.helpers), self.server]:
            if process:
                process.stop()

    def help(self, *arguments):
        """Starts another role of the load generator."""
        process = machine.Process([self.bench.load, *arguments], self.load_cores)
        self.helpers.append(process)
        return process

    def measure(self):
        port = machine.free_port()
        order = servers.Order(port, self.folder, self.server_cores)
        if self.case.kind == "relay":
            order.pushes, order.sink_port = self.case.n, machine.free_port()
            self.help("sink", "--port", order.sink_port).wait_for_port(order.sink_port)
        if self.case.kind in ("ingest", "relay"):
            # Full before the window begins: memory that grows for the first time costs twice what the rest does.
            order.ring_ms = int(1000 * self.bench.scale.settle_s)
        if self.is_shared:
            order.threads = 2
        order.players = self.case.n
        order.door = DOORS.get(self.case.kind)
        if order.door:
            order.door_port = machine.free_port()
        self.server = servers.start(self.case.server, order)
        app = "relay" if self.case.kind == "relay" else "live"
        url = f"rtmp://127.0.0.1:{port}/{app}/s"
        if self.case.kind in ("ingest", "unpaced", "relay"):
            return self.accounted(self.publishers(url))
        if self.case.server.kind != "floor":
            self.help("publish", "--url", url, "--audio", "--video-kbps", 2000, "--seconds", 600)
            time.sleep(1)
        return self.accounted(self.players(order.door.url.format(order.door_port) if order.door else url))

    def publishers(self, url):
        scale, kind = self.bench.scale, self.case.kind
        shape = ["--unpaced", "--suffix"] if kind == "unpaced" else ["--video-kbps", 1000]
        warm_up = 1 if kind == "unpaced" else scale.settle_s + 1
        return ["publish", "--url", url, "--streams", self.case.n, "--audio", *shape, "--warmup", warm_up,
                "--seconds", scale.window_s]

    def players(self, url):
        scale = self.bench.scale
        rate, settle, window = JOIN_RATE, scale.settle_s, scale.window_s
        if self.case.kind == "join":
            rate, settle, window = 4, 0, 0.5
        role = DOORS[self.case.kind].role if self.case.kind in DOORS else "play"
        return [role, "--url", url, "-n", self.case.n, "--rate", rate, "--settle", settle, "--seconds", window,
                "--start-timeout", 6]

    def accounted(self, arguments):
        """Runs the load, samples the server's memory, and says what others took."""
        core = [] if self.is_shared else ["--core", self.bench.server_core]
        before, started = self.spent(), time.monotonic()
        busy = machine.machine_busy()
        load = self.help(*arguments, "--pid", self.server.pid, *core, "--label", self.case.server.name)
        peak, peak_sockets = self.watch(load)
        wall = time.monotonic() - started
        busy = machine.machine_busy() - busy
        result = load.report()
        if not result or load.child.returncode:
            raise RuntimeError(f"the load generator failed: {load.text()[-400:]}")
        if not self.server.is_running() and self.case.server.kind != "floor":  # that one ends with its players
            raise RuntimeError(f"the server has ended: {self.server.text()[-400:]}")
        result["foreign_machine"] = round((busy - (self.spent() - before)) / wall, 3)
        if core:
            others = result["core_busy_s"] - result["server"]["cpu_seconds"]
            result["foreign_core"] = round(others / result["window_s"], 3)
        result["peak_rss"], result["peak_socket_memory"] = peak, peak_sockets
        return result

    def spent(self):
        """CPU seconds of everything that is ours: what runs, and what has ended."""
        running = [p for p in [self.server, *self.helpers] if p.is_running()]
        return machine.children_time() + sum(machine.run_time(p.pid) for p in running)

    def watch(self, load):
        """Waits for the load's end; the most memory that the server and all sockets had."""
        peak = peak_sockets = 0
        end = time.monotonic() + 180
        while load.is_running():
            if time.monotonic() > end:
                raise RuntimeError("the load generator does not end")
            peak = max(peak, machine.resident(self.server.pid))
            peak_sockets = max(peak_sockets, machine.socket_memory())
            load.wait(SAMPLE_S)
        return peak, peak_sockets
