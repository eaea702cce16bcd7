#!/usr/bin/env python3
"""Runs cargo's tests to the end: a failure hides no later test, and what cannot run is named.

    build-aux/cargo_tests.py [--report FILE] SELECTION... [-- ARGUMENTS OF THE TESTS]

SELECTION is what `cargo test` takes: --workspace, --exclude, -p, --lib, --test, --features. Where something does not
compile, cargo alone runs no test at all; this runs the tests that do compile. FILE gets a line for each test program
that failed or did not run, named as cargo names it: `failed -p PACKAGE --test NAME`. Exit status: 0 if there is none.
"""

import argparse
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FAILED_TARGET = re.compile(r"    `(-p .+)`$")
LIBRARIES = {"lib", "rlib", "dylib", "cdylib", "staticlib", "proc-macro"}


class Program(NamedTuple):
    """A test program, or the documentation's tests of a package, in the words of `cargo test`."""

    package: str
    option: str
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, ("-p", self.package, self.option, self.name)))


def arguments():
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--workspace", action="store_true")
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("-p", dest="packages", action="append", default=[])
    parser.add_argument("--lib", action="store_true")
    parser.add_argument("--test", dest="tests", action="append", default=[])
    parser.add_argument("--features")
    chosen = parser.parse_args(words[:cut])
    chosen.of_tests = words[cut:]
    return chosen


def option_of(target) -> tuple[str, str]:
    """How `cargo test` selects a target of cargo's metadata or messages."""
    kind = target["kind"][0]
    return ("--lib", "") if kind in LIBRARIES else (f"--{kind}", target["name"])


@functools.cache
def members() -> list[dict]:
    """The workspace's packages."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]


def programs(chosen) -> list[Program]:
    """Every test program of the selection."""
    found = []
    for package in members():
        name = package["name"]
        if name in chosen.exclude or not (chosen.workspace or name in chosen.packages):
            continue
        found += [Program(name, *option_of(target)) for target in package["targets"] if target["test"]]
        found += [Program(name, "--doc") for target in package["targets"] if target["doctest"]]
    return [program for program in found if is_chosen(program, chosen)]


def is_chosen(program: Program, chosen) -> bool:
    """Whether the options that select targets, if any, select this one."""
    if not (chosen.lib or chosen.tests):
        return True
    return (chosen.lib and program.option == "--lib") or (program.option == "--test" and program.name in chosen.tests)


def selection(wanted: list[Program]) -> list[str]:
    """The options by which `cargo test` runs these programs (and others of the same name)."""
    words = [word for package in unique(p.package for p in wanted) for word in ("-p", package)]
    for program in unique(p._replace(package="") for p in wanted):
        words += filter(None, (program.option, program.name))
    return words


def unique(items) -> list:
    return list(dict.fromkeys(items))


def features(chosen) -> list[str]:
    return ["--features", chosen.features] if chosen.features else []


def all_of(chosen) -> list[str]:
    """The selection as it was given."""
    words = ["--workspace"] if chosen.workspace else []
    words += [word for name in chosen.exclude for word in ("--exclude", name)]
    words += [word for name in chosen.packages for word in ("-p", name)]
    words += ["--lib"] if chosen.lib else []
    return words + [word for name in chosen.tests for word in ("--test", name)]


def compiles(chosen) -> bool:
    return subprocess.run(["cargo", "test", *all_of(chosen), *features(chosen), "--no-run"]).returncode == 0


def built(chosen) -> set[Program]:
    """The test programs that compile. Goes on after errors, which were all shown before."""
    targets = [] if chosen.lib or chosen.tests else ["--tests"]
    command = ["cargo", "build", *all_of(chosen), *features(chosen), *targets, "--keep-going"]
    done = subprocess.run([*command, "--message-format", "json-render-diagnostics"], stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    artifacts = [m for m in messages if m["reason"] == "compiler-artifact" and m["profile"]["test"]]
    names = {package["id"]: package["name"] for package in members()}
    return {Program(names.get(m["package_id"], ""), *option_of(m["target"])) for m in artifacts if m["executable"]}


def together(wanted: list[Program], there: set[Program]) -> list[Program]:
    """What one call of cargo can run, so that it needs no other build: options select targets in all packages.

    Without the integration tests that bear the name of one that does not compile, and without the packages of which
    something else does not.
    """
    broken = [program for program in wanted if program.option != "--doc" and program not in there]
    packages = {program.package for program in broken if program.option != "--test"}
    names = {program.name for program in broken if program.package not in packages}
    return [p for p in wanted if p.package not in packages and not (p.option == "--test" and p.name in names)]


def parts(wanted: list[Program], there: set[Program]) -> list[list[Program]]:
    """What compiles, as what is run by one call of cargo each."""
    first = together(wanted, there)
    later = [program for program in wanted if program in there and program not in first]
    by_package = [[p for p in later if p.package == package] for package in unique(p.package for p in later)]
    documentation = [program for program in first if program.option == "--doc"]
    return [part for part in ([p for p in first if p.option != "--doc"], documentation, *by_package) if part]


def run(options: list[str], wanted: list[Program], chosen) -> list[str]:
    """Runs tests and shows their output; the report's lines."""
    command = ["cargo", "test", *options, *features(chosen), "--no-fail-fast", *chosen.of_tests]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    failed, listing = [], False
    for line in process.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        text = COLOUR.sub("", line.decode(errors="replace")).rstrip()
        named = FAILED_TARGET.match(text)
        if listing and named:
            failed.append(named[1])
        listing = bool(re.fullmatch(r"error: \d+ targets? failed:", text)) or (listing and bool(named))
    if process.wait() == 0:
        return []
    if failed:
        return [f"failed {name}" for name in failed]
    return [f"not run {program}: cargo has ended with status {process.returncode}" for program in wanted]


def run_rest(wanted: list[Program], chosen) -> list[str]:
    """Runs what compiles; the report's lines, with what does not."""
    to_run = parts(wanted, built(chosen))
    lost = [program for program in wanted if not any(program in part for part in to_run)]
    report = [f"not run {program}: {reason(program)}" for program in lost]
    if not report:
        report.append("failed examples: not all compile")
    for part in to_run:
        report += run(selection(part), part, chosen)
    return report


def reason(program: Program) -> str:
    return "its package does not compile" if program.option == "--doc" else "does not compile"


def main() -> int:
    chosen = arguments()
    try:
        wanted = programs(chosen)
        report = run(all_of(chosen), wanted, chosen) if compiles(chosen) else run_rest(wanted, chosen)
    except subprocess.CalledProcessError as error:
        report = [f"not run {' '.join(all_of(chosen))}: {error}"]
    if chosen.report:
        chosen.report.write_text("".join(f"{line}\n" for line in report))
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main())
