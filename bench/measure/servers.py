"""What is measured: the kernel's floor, nginx-rtmp, Node-Media-Server, and every flush policy of ours, as data and as
processes."""
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import doors, machine
from .report import URING

ROOT = Path(__file__).resolve().parents[2]

# Flush policies of ours: name -> lines of [default_app]. A binary that refuses them is measured without.
POLICIES = {
    "with-video": 'flush = "with-video"',
    "immediate": 'flush = "immediate"',
    "merge-100": 'flush = "merge"\nmerge_ms = 100',
}
# Those that are measured with the io_uring back end too.
URING_POLICIES = ("with-video", "immediate")
# The name for a binary that knows no policy at all.
NO_POLICY = "as-built"

# The kernel's floor, as options of `rtmp-load sink --floor`: one thread, no protocol, no shared state.
FLOORS = {
    "floor-send": ["--mode", "send"],
    "floor-ride": ["--mode", "writev", "--ride"],
    "floor-merge-100": ["--mode", "writev", "--batch-ms", "100"],
    # What a back end on io_uring could win at most.
    "floor-uring-send": ["--mode", "uring"],
    "floor-uring-ride": ["--mode", "uring", "--ride"],
}
# Of the servers that others play HTTP-FLV and WebSocket-FLV from, the one that npm has.
NODE_MEDIA_SERVER = "4.4.3"
NGINX_CHUNKS = {"nginx-60000": 60000, "nginx-4096": 4096}
NGINX_MODULES = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules"]
SINK = "sink"  # reads and discards: the floor of ingest

NGINX_CONFIG = """\
{load_module}
worker_processes 1;
worker_rlimit_nofile {descriptors};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 16384; }}
rtmp {{
  access_log off;
  server {{
    listen 127.0.0.1:{port};
    chunk_size {chunk};
    max_message 4M;
    application live {{ live on; wait_key off; }}
    application relay {{ live on; push rtmp://127.0.0.1:{sink}/live; }}
  }}
}}
"""

ENGINE_CONFIG = """\
[engine]
io_threads = {threads}

{door}

[default_app]
{policy}

[limits]
# Publishers of one case connect in the same instant, from one address.
max_pending_per_address = 1000
# Some publish as fast as they are read.
publisher_bytes_per_s = 1000000000000
publisher_messages_per_s = 1000000000000
ring_ms = {ring_ms}
{pushes}"""


@dataclass
class Server:
    """One column of the measurement."""

    name: str
    kind: str  # floor, sink, nginx, node, ours
    program: str
    setting: object = None  # options of the floor, chunk size of nginx, folder of Node-Media-Server, policy of ours


@dataclass
class Order:
    """What a case needs of its server."""

    port: int
    folder: Path
    cores: set
    players: int = 0
    threads: int = 1
    sink_port: int = 0
    pushes: int = 0
    ring_ms: int = 30_000  # the engine's default
    door: object = None  # what players come in by, where it is not RTMP
    door_port: int = 0


def start(server, order):
    """Starts the server; it listens when this returns."""
    process = machine.Process(COMMANDS[server.kind](server, order), order.cores, order.folder)
    try:
        process.wait_for_port(order.port)
        if order.door:
            process.wait_for_port(order.door_port)
    except RuntimeError:
        process.stop()
        raise
    return process


def floor_command(server, order):
    return [server.program, "sink", "--port", order.port, "--floor", order.players, "--seconds", 300, "--audio",
            "--video-kbps", 2000, *server.setting]


def sink_command(server, order):
    return [server.program, "sink", "--port", order.port]


def nginx_command(server, order):
    config = order.folder / "nginx.conf"
    module = next((f"load_module {folder}/ngx_rtmp_module.so;" for folder in NGINX_MODULES
                   if Path(folder, "ngx_rtmp_module.so").exists()), "")
    config.write_text(NGINX_CONFIG.format(
        load_module=module, descriptors=16384 + 64, folder=order.folder, port=order.port,
        chunk=server.setting, sink=order.sink_port or 9))
    return [server.program, "-p", order.folder, "-c", config]


def engine_command(server, order):
    config = order.folder / "streamengine.toml"
    config.write_text(engine_config(server.setting, order))
    return [server.program, "serve", "--config", config, "--rtmp", f"127.0.0.1:{order.port}", "--log", "warn"]


def engine_config(policy, order):
    push = '[[push]]\nstream = "relay/s{0}"\nurl = "rtmp://127.0.0.1:{1}/live/s{0}"\n'
    pushes = "".join(push.format(index, order.sink_port) for index in range(order.pushes))
    door = doors.listener(order.door, order.door_port, order.folder) if order.door else ""
    return ENGINE_CONFIG.format(threads=order.threads, door=door, policy=policy, ring_ms=order.ring_ms, pushes=pushes)


def node_command(server, order):
    """Node-Media-Server with what it comes with, and nothing stored outside the folder."""
    config = json.loads(Path(server.setting, "bin", "config.json").read_text())
    for unused in ("rtmps", "https"):
        config.pop(unused, None)
    path = order.folder / "config.json"
    path.write_text(json.dumps(config))
    return [server.program, Path(server.setting, "bin", "app.js"), "--config", path, "--bind", "127.0.0.1",
            "--rtmp-port", order.port, "--http-port", order.door_port, "--no-admin"]


COMMANDS = {"floor": floor_command, "sink": sink_command, "nginx": nginx_command, "node": node_command,
            "ours": engine_command}


# ------------------------------------------------------------------------------------------------ finding them


def engines(given, policies, folder):
    """The servers of ours: of each engine binary, the policies that it knows."""
    servers = []
    for label, program in given:
        known = {name: text for name, text in policies.items() if accepts(program, text, folder)}
        for name in policies.keys() - known.keys():
            print(f"{label}: skipping policy {name}, the binary refuses {policies[name]!r}")
        if label.endswith(URING):
            known = {name: known[name] for name in URING_POLICIES if name in known}
        for name, text in (known or {NO_POLICY: ""}).items():
            servers.append(Server(f"{label}: {name}", "ours", program, text))
    return servers


def accepts(program, policy, folder):
    """Whether the binary's check-config takes the policy."""
    config = folder / "check.toml"
    config.write_text(engine_config(policy, Order(0, folder, set())))
    return subprocess.run([program, "check-config", config], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


def build_engines():
    """Builds the stand-alone server as for a release, with either back end; names and paths."""
    return [("streamengine", build_engine("streamengine")),
            ("streamengine" + URING, build_engine("streamengine" + URING, "--features", "io-uring"))]


def build_engine(name, *options):
    """Builds one, and keeps it apart from the next, which cargo would give the same name; its path."""
    print(f"building {name} (profile dist)", flush=True)
    subprocess.run(["cargo", "build", "--profile", "dist", "--quiet", "-p", "streamengine-cli", *options], cwd=ROOT, check=True)
    kept = target_folder() / "bench" / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(target_folder() / "dist" / "streamengine", kept)
    return str(kept)


def target_folder():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()


def find_load(option):
    """The load generator: a program or its source folder, by option, environment, or beside the project (of a work
    tree: one folder higher)."""
    for place in (option, os.environ.get("RTMP_LOAD"), ROOT.parent / "shared" / "tools" / "rtmp-load",
                  ROOT.parents[1] / "shared" / "tools" / "rtmp-load", shutil.which("rtmp-load")):
        path = Path(place) if place else None
        if path and path.is_file() and os.access(path, os.X_OK):
            return str(path.absolute())
        if path and (path / "Cargo.toml").is_file():
            return build_load(path)
    return None


def build_load(source):
    target = target_folder() / "rtmp-load"
    print("building rtmp-load (release)", flush=True)
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", target],
                   cwd=source, check=True)
    return str(target / "release" / "rtmp-load")


def find_nginx():
    """nginx with the RTMP module; installed where it is absent and we may. None = there is none."""
    if not has_nginx():
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            print("nginx with libnginx-mod-rtmp is absent, and only root can install it: measuring without")
            return None
        install_nginx()
    return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") if has_nginx() else None


def has_nginx():
    modules = any(Path(folder, "ngx_rtmp_module.so").exists() for folder in NGINX_MODULES)
    return modules and shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is not None


def install_nginx():
    """Installs Debian's packages, and keeps the installation from starting a web server of its own."""
    print("installing nginx and libnginx-mod-rtmp", flush=True)
    guard = Path("/usr/sbin/policy-rc.d")
    ours = not guard.exists()
    if ours:
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    try:
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        subprocess.run(["apt-get", "-qq", "update"], env=environment, stdout=sys.stderr)
        subprocess.run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", "nginx", "libnginx-mod-rtmp"],
                       env=environment, stdout=sys.stderr)
    finally:
        if ours:
            guard.unlink()


def find_node_media_server(option):
    """The folder of Node-Media-Server, by option, or installed by npm where that is here. None = there is none."""
    if option:
        return Path(option).absolute()
    if not shutil.which("npm") or not shutil.which("node"):
        print("node and npm are absent: measuring without Node-Media-Server")
        return None
    place = target_folder() / "bench" / "node-media-server"
    folder = place / "node_modules" / "node-media-server"
    if not folder.is_dir():
        print(f"installing Node-Media-Server {NODE_MEDIA_SERVER}", flush=True)
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", place, "--no-audit", "--no-fund", "--ignore-scripts",
                   f"node-media-server@{NODE_MEDIA_SERVER}"]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            print("npm cannot install it: measuring without Node-Media-Server")
            return None
    return folder


def versions(given, built, nginx, node, load):
    """What was measured, in words. Of a binary that was not built here nobody knows the commit."""
    found = {label: f"{line_of([program, '--version'])} {revision() if built else '(a given binary)'}"
             for label, program in given}
    if nginx:
        module = line_of(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-rtmp"])
        version = re.sub(r".*nginx/", "nginx ", line_of([nginx, "-v"]))
        found["nginx-rtmp"] = f"{version}, libnginx-mod-rtmp {module}"
    if node:
        found["Node-Media-Server"] = f"{json.loads((node / 'package.json').read_text())['version']}, node {line_of(['node', '--version'])}"
    found["load generator"] = line_of([load, "--version"])
    found["rustc"] = line_of(["rustc", "--version"])
    return found


def revision():
    commit = line_of(["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude", "*"])
    return f"({commit})" if commit else ""


def line_of(command):
    """The first line that a command prints, on whichever output."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""
