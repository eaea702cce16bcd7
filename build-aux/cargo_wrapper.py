#!/usr/bin/env python3
"""Runs cargo for meson: builds a library or the command, puts its files where ninja wants them, and tells ninja what they depend on.

A file is copied only when its bytes have changed, so programs are not linked anew for nothing.
"""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cargo", required=True)
    parser.add_argument("--source", type=Path, required=True, help="the workspace")
    parser.add_argument("--build", type=Path, required=True, help="meson's build folder")
    parser.add_argument("--profile", choices=["dev", "release", "dist"], required=True)
    parser.add_argument("--package", required=True)
    parser.add_argument("--depfile", type=Path, required=True)
    parser.add_argument("--no-default-features", action="store_true")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("output", nargs="+", type=Path)
    return parser.parse_args()


def target_folder(options: argparse.Namespace) -> Path:
    """Cargo's folder: the user's own, if there is one; else one in the build folder."""
    return Path(os.environ.get("CARGO_TARGET_DIR", options.build / "cargo")).absolute()


def build(options: argparse.Namespace, target: Path) -> Path:
    # Not as an rlib too, as the manifests say for tests: then cargo does not optimise the library as a whole.
    kinds = ["staticlib" if output.suffix == ".a" else "cdylib" for output in options.output if output.suffix]
    what = ["rustc", "--lib", "--crate-type", ",".join(kinds)] if kinds else ["build", "--bins"]
    command = [options.cargo, *what, "--locked", "--package", options.package, "--profile", options.profile,
               "--manifest-path", str(options.source / "Cargo.toml"), "--target-dir", str(target)]
    if options.no_default_features:
        command.append("--no-default-features")
    if options.offline:
        command += ["--offline", "--frozen"]
    code = subprocess.run(command).returncode
    if code != 0:
        sys.exit(code)
    return target / ("debug" if options.profile == "dev" else options.profile)


def built_name(output: Path) -> str:
    """What cargo calls the file: it has no version in its name."""
    return re.sub(r"\.so\..*", ".so", output.name)


def copy_changed(built: Path, output: Path) -> None:
    """Not with its time: cargo may have built it before a manifest changed that it does not depend on, but ninja thinks so."""
    if not output.is_file() or not filecmp.cmp(built, output, shallow=False):
        shutil.copy(built, output)


def link(shared: Path) -> None:
    """The names that the linker and the loader look for, beside the library."""
    soname = re.sub(r"(\.so\.\d+).*", r"\1", shared.name)
    for name, to in ((soname, shared.name), (built_name(shared), soname)):
        path = shared.with_name(name)
        if not path.is_symlink() or os.readlink(path) != to:
            path.unlink(missing_ok=True)
            path.symlink_to(to)


def write_depfile(options: argparse.Namespace, folder: Path) -> None:
    """Cargo's list has its own outputs on the left of the colon; ninja knows the files by other names."""
    lists = (folder / built_name(options.output[0])).with_suffix(".d").read_text().splitlines()
    sources = {source for line in lists for source in re.split(r"(?<!\\) ", line.split(": ", 1)[1])}
    manifests = [options.source / "Cargo.lock", *options.source.glob("Cargo.toml"),
                 *options.source.glob("*/Cargo.toml"), *options.source.glob("*/*/Cargo.toml")]
    sources |= {str(manifest).replace(" ", "\\ ") for manifest in manifests}
    names = " ".join(str(output).replace(" ", "\\ ") for output in options.output)
    options.depfile.write_text(f"{names}: {' '.join(sorted(sources))}\n")


def main() -> None:
    options = arguments()
    folder = build(options, target_folder(options))
    for output in options.output:
        copy_changed(folder / built_name(output), output)
        if ".so." in output.name:
            link(output)
    write_depfile(options, folder)


if __name__ == "__main__":
    main()
