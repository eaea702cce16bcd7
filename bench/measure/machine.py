"""The machine under the measurement: ports, pinned processes, and whose CPU time was spent where."""
import ctypes
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PRIORITY = -10  # where allowed: above other people's work
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def free_port():
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_listening(port):
    """Whether somebody listens on the port. Asked of the kernel: a connection would be counted as a player."""
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if state == "0A" and local.endswith(wanted):
            return True
    return False


class Process:
    """A program of ours on its own cores. It ends with us, whatever happens."""

    def __init__(self, argv, cores, folder=None):
        self.name = Path(argv[0]).name
        self.output = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            [str(a) for a in argv], cwd=folder, stdin=subprocess.DEVNULL, stdout=self.output,
            stderr=self.output, start_new_session=True, preexec_fn=lambda: pin(cores))

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def wait(self, seconds):
        """Waits for its end, but no longer than that."""
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def text(self):
        """What it has printed so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def report(self):
        """The JSON object that it printed; None where there is none."""
        for line in reversed(self.text().splitlines()):
            try:
                return json.loads(line)
            except ValueError:
                pass
        return None

    def wait_for_port(self, port, seconds=10):
        end = time.monotonic() + seconds
        while not is_listening(port):
            if not self.is_running() or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not listen: {self.text()[-400:]}")
            time.sleep(0.02)

    def stop(self):
        """Ends it with the workers that it started, which are in its own process group."""
        if self.is_running():
            for sign, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
                try:
                    os.killpg(self.pid, sign)
                    self.child.wait(patience)
                    break
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    break
        self.output.close()


def pin(cores):
    """In a new process, before its program starts."""
    os.sched_setaffinity(0, cores)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        pass
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def raise_descriptor_limit():
    """For everything started from here: thousands of sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def machine_busy():
    """Busy seconds of all cores together."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + fields[5] + fields[6]) / TICK


def run_time(pid):
    """CPU seconds of a process and its descendants, by the scheduler's clock."""
    seconds, todo = 0.0, [pid]
    while todo:
        for task in Path(f"/proc/{todo.pop()}/task").glob("*"):
            try:
                seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
                todo += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                pass  # the thread has ended meanwhile
    return seconds


def children_time():
    """CPU seconds of the children that have ended, and of this program."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(s.ru_utime + s.ru_stime for s in spent)


def resident(pid):
    """Bytes of memory that a process has; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def socket_memory():
    """Bytes that the kernel's TCP sockets hold, all of them: it counts those of all namespaces together."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[-1]) * PAGE
    return 0


def wait_for_quiet(limit, patience):
    """Waits until others use fewer than `limit` cores, or for `patience` seconds; whether it became quiet."""
    end = time.monotonic() + patience
    while True:
        before = machine_busy() - children_time()
        time.sleep(0.5)
        if (machine_busy() - children_time() - before) / 0.5 < limit:
            return True
        if time.monotonic() > end:
            return False


def description():
    """What a reader must know about the machine."""
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return {"cpu": model[0] if model else platform.machine(), "cores": os.cpu_count(),
            "memory_gib": round(memory), "kernel": platform.release(), "load": os.getloadavg()[0]}
