"""The bounds of the sources, each with the test that its comment names, for `tests/self-check` and the gate.

A bound is a field of `Limits`, or a constant that is declared in `bound! { ... }`. Whatever else is called like one has
a reason in NO_BOUNDS.
"""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# Folder of a crate -> the name of its modules' paths.
CRATES = {
    "engine": "streamengine",
    "ffi": "streamengine_ffi",
    "cli": "streamengine",
    "gst-plugin": "gststreamengine",
}
TEST = re.compile(r"\(test\s+`(\w+)`\)")
LIKE_A_BOUND = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?const (MAX\w*|\w+_(?:MAX|MOST|TIMEOUT|LIMIT|PERIOD|TIME|LINES)): ", re.M)
# What is called like a bound and is none: its file and name, and why.
NO_BOUNDS = {
    "cli/src/connection.rs REPLY_TIMEOUT": "who asks has an end of its own, and gets words sooner",
    "cli/src/latency.rs ARRIVAL_TIMEOUT": "when a measurement ends; what has not come then counts as missing",
    "cli/src/latency/hls.rs SHORTEST_PERIOD": "spares the server that is measured",
    "engine/src/address.rs LOOK_PERIOD": "how often we look",
    "engine/src/amf0.rs MAX_DEPTH": "what users see of DEPTH, which is kept to",
    "engine/src/amf0.rs MAX_VALUES": "what users see of VALUES, which is kept to",
    "engine/src/egress/mod.rs LOOK_PERIOD": "how often we look",
    "engine/src/egress/form/envelope.rs MAX_CLOSING": "the length of what we write",
    "engine/src/egress/form/envelope.rs MAX_CONTROL": "the format has 7 bits for it",
    "engine/src/egress/form/envelope.rs MAX_OPENING": "the length of what we write",
    "engine/src/egress/form/envelope.rs MAX_TAG_OPENING": "the length of what we write",
    "engine/src/engine.rs SWEEP_PERIOD": "how often we look",
    "engine/src/hls/disk.rs LOOK_PERIOD": "how often we look",
    "engine/src/hls/muxer.rs LOOK_PERIOD": "how often we look",
    "engine/src/key.rs MAX_RAW_PART": "saves work: what is longer is too long decoded, too",
    "engine/src/keys.rs MAX_WHO": "what the operator may write",
    "engine/src/keys/decider.rs FAILURE_LINES": "lines about the database, which no peer makes more of",
    "engine/src/media/flv/browser.rs MAX_HEAD": "the length of what we write",
    "engine/src/media/flv/tag.rs MAX_TAG_PAYLOAD": "the format has 24 bits for it",
    "engine/src/media/looping/straight.rs MAX_ODD": "a guess about files, not a bound on them",
    "engine/src/media/looping/straight.rs MAX_STEP_MS": "a guess about files, not a bound on them",
    "engine/src/proto/chunk.rs MAX_CHUNK_SIZE": "the format has 31 bits for it",
    "engine/src/record/writer.rs LOOK_PERIOD": "how often we look",
    "engine/src/service/http/websocket.rs MAX_CONTROL": "the format has 7 bits for it",
    "engine/src/service/record.rs CLEAR_PERIOD": "how often we look",
    "engine/src/service/record.rs FAULT_LINES": "lines about the disk, which no peer makes more of",
    "cli/src/demo.rs LOG_PERIOD": "a pace of our own lines",
    "cli/src/relay.rs LOG_PERIOD": "a pace of our own lines",
    "cli/src/serve.rs LOG_PERIOD": "a pace of our own lines",
    "gst-plugin/src/server_src/inner_element.rs GAP_PERIOD": "a pace of our own events",
    "gst-plugin/src/sink/inner_element.rs MAX_TAG": "the format has 24 bits for it",
    "gst-plugin/src/sink/settings.rs MAX_GOP_CACHE": "the range of a property, which GObject keeps",
}
class Bound(NamedTuple):
    """A bound: what `STREAMENGINE_WITHOUT` calls it, its file, and the test named in its comment, if any."""

    name: str
    file: str
    test: str | None


def own_code(text: str) -> str:
    """A source up to its tests."""
    return re.split(r"^#\[cfg\((?:test|all\(test, .*\))\)\]\n(?:#.*\n)*mod \w+ \{", text, flags=re.M)[0]


def sources(crate: str) -> list[Path]:
    """The Rust sources of a crate, without files of tests."""
    files = sorted((ROOT / crate / "src").rglob("*.rs"))
    return [file for file in files if not {"tests", "testing", "fuzzing"} & {*file.parts, file.stem}]


def module(crate: str, file: Path) -> str:
    """The path of a file's module."""
    parts = [*file.relative_to(ROOT / crate / "src").with_suffix("").parts]
    if parts[-1] in ("mod", "lib", "main"):
        parts.pop()
    return "::".join([CRATES[crate], *parts])


def documented(items: str, item: re.Pattern) -> list[tuple[str, str | None]]:
    """Names of items, each with the test of the comment above it."""
    found, comment = [], []
    for line in items.splitlines():
        line = line.strip()
        if line.startswith("///"):
            comment.append(line.removeprefix("///").strip())
        elif match := item.match(line):
            test = TEST.search(" ".join(comment))
            found.append((match[1], test and test[1]))
            comment = []
        elif not line.startswith("#["):
            comment = []
    return found


def bounds() -> list[Bound]:
    """All bounds: limits of the configuration first."""
    limits = ROOT / "engine/src/limits.rs"
    fields = re.search(r"^pub struct Limits \{\n(.*?)^\}", limits.read_text(), re.M | re.S)[1]
    found = [
        Bound(f"streamengine::limits::Limits::{name}", "engine/src/limits.rs", test)
        for name, test in documented(fields, re.compile(r"pub (\w+): "))
    ]
    for crate in CRATES:
        for file in sources(crate):
            blocks = re.findall(r"^( *)(?:streamengine::)?bound! \{\n(.*?)^\1\}", own_code(file.read_text()), re.M | re.S)
            for _, block in blocks:
                constants = documented(block, re.compile(r"(?:pub(?:\([^)]*\))? )?const (\w+): "))
                found += [
                    Bound(f"{module(crate, file)}::{name}", str(file.relative_to(ROOT)), test)
                    for name, test in constants
                ]
    return found


def escaped() -> list[str]:
    """Constants that are called like bounds, but are neither declared so nor listed with a reason."""
    found = []
    for crate in CRATES:
        for file in sources(crate):
            text = re.sub(r"^( *)(?:streamengine::)?bound! \{\n.*?^\1\}", "", own_code(file.read_text()), flags=re.M | re.S)
            found += [f"{file.relative_to(ROOT)} {name}" for name in LIKE_A_BOUND.findall(text)]
    return sorted(set(found) ^ set(NO_BOUNDS))


def tests_of_sources() -> set[str]:
    """The names of all functions that are tests."""
    command = ["git", "grep", "-hE", "-A4", r"^\s*#\[(tokio::)?test", "--", "*.rs"]
    text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return set(re.findall(r"^\s*(?:async )?fn (\w+)", text, re.M))
