#!/usr/bin/env python3
"""Checks that everything compiles with the oldest Rust that Cargo.toml promises (`rust-version`).

First that no locked dependency asks for a newer one, on any platform and with any feature. Then, with that very
toolchain, which rustup is asked for, `cargo check` of the whole workspace. Where it cannot be had, clippy looks for newer
parts of the standard library instead, and a NOTE says what was not checked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A toolchain is 200 MB; without a network rustup tries for long.
INSTALL_TIMEOUT = 180


def number(version: str) -> tuple[int, ...]:
    """`1.92` and `1.92.0` are the same."""
    return tuple(int(part) for part in [*version.split("."), "0", "0"][:3])


def promise(packages: list[dict]) -> str:
    """The version that all packages of the workspace promise."""
    versions = {package["name"]: package["rust_version"] for package in packages if package["source"] is None}
    if len(set(versions.values())) != 1 or None in versions.values():
        sys.exit(f"minimum_rust: the packages of the workspace promise different versions: {versions}")
    return next(iter(versions.values()))


def too_new(packages: list[dict], promised: str) -> list[str]:
    """The packages that ask for a Rust newer than is promised."""
    return [f"{package['name']} {package['version']} needs Rust {package['rust_version']}, promised is {promised}"
            for package in packages if package["rust_version"] and number(package["rust_version"]) > number(promised)]


def silent(packages: list[dict]) -> int:
    """How many packages do not say what they need."""
    return sum(not package["rust_version"] for package in packages)


def locked() -> list[dict]:
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["packages"]


def passes(*command: str, timeout: float | None = None, **environment: str) -> bool:
    """Whether a command succeeds; its output is shown unless its time is limited."""
    output = subprocess.DEVNULL if timeout else None
    try:
        done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, timeout=timeout,
                              stdout=output, stderr=output)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def has_toolchain(version: str) -> bool:
    """Whether this toolchain is there, or can be fetched."""
    there = ("rustup", "run", version, "cargo", "--version")
    install = ("rustup", "toolchain", "install", version, "--profile", "minimal", "--no-self-update")
    return passes(*there, timeout=30) or (passes(*install, timeout=INSTALL_TIMEOUT) and passes(*there, timeout=30))


def compiles(version: str) -> bool:
    """Compiles all targets with this toolchain, in a folder of its own: other compilers' work is of no use to it."""
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "msrv"
    check = ("cargo", "check", "--workspace", "--all-targets", "--all-features", "--locked")
    return passes("rustup", "run", version, *check, CARGO_TARGET_DIR=str(folder))


def uses_no_newer_api() -> bool:
    """What clippy of this toolchain sees by the promised version: newer functions and types of the standard library."""
    clippy = ("cargo", "clippy", "--workspace", "--all-targets", "--all-features", "--locked")
    return passes(*clippy, "--", "-D", "clippy::incompatible_msrv")


def main() -> int:
    packages = locked()
    promised = promise(packages)
    for offender in (offenders := too_new(packages, promised)):
        print(f"minimum_rust: {offender}")
    print(f"minimum_rust: {len(packages)} packages, {silent(packages)} of them do not say which Rust they need")
    if has_toolchain(promised):
        sound = compiles(promised)
    else:
        print(f"NOTE: Rust {promised} is not installed and cannot be fetched: the workspace is NOT compiled with it. "
              "Clippy looks for newer parts of the standard library; newer syntax, and the dependencies that do not "
              "say what they need, are NOT checked", flush=True)
        sound = uses_no_newer_api()
    return 0 if sound and not offenders else 1


if __name__ == "__main__":
    sys.exit(main())
