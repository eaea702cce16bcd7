#!/usr/bin/env python3
"""Makes the Python wheel: the module and the library in one file, which needs nothing else.

    build-aux/wheel.py [--out FOLDER] [--library FILE]

Then `pip install FOLDER/streamengine-*.whl`. The library is built by cargo with the profile `dist`, or is FILE. Needs Python
only, no package: a wheel is a zip archive with three files about itself.
"""

import argparse
import base64
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Dict, Optional

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = "libstreamengine.so.0"
# Zip archives know no earlier time. The same sources give the same bytes.
TIME = (1980, 1, 1, 0, 0, 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "wheel", help="default: target/wheel")
    parser.add_argument("--library", type=Path, help="a library that is built already")
    return parser.parse_args()


def built() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = ["cargo", "rustc", "--locked", "--profile", "dist", "--package", "libstreamengine", "--lib", "--crate-type", "cdylib"]
    code = subprocess.run([*command, "--target-dir", str(target.absolute())], cwd=ROOT).returncode
    if code != 0:
        sys.exit(code)
    return target / "dist" / "libstreamengine.so"


def package(key: str) -> str:
    """What the workspace's manifest says."""
    found = re.search(rf'^{key} = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    if not found:
        sys.exit(f"wheel: no {key} in Cargo.toml")
    return found[1]


def platform() -> str:
    return re.sub(r"[-.]", "_", sysconfig.get_platform())


def oldest_python(module: str) -> str:
    found = re.search(r"Python (\d+\.\d+) or later", module)
    assert found, "the module says which Python it needs"
    return found[1]


def files(library: Path) -> Dict[str, bytes]:
    """All files by their names in the archive, but the list of them."""
    module = (ROOT / "examples/python/streamengine.py").read_text()
    version, tag = package("version"), f"py3-none-{platform()}"
    info = f"streamengine-{version}.dist-info"
    metadata = (f"Metadata-Version: 2.1\nName: streamengine\nVersion: {version}\n"
                "Summary: An RTMP engine inside your program: serves, relays and loops live streams\n"
                f"License: {package('license')}\nProject-URL: Source, {package('repository')}\n"
                f"Requires-Python: >={oldest_python(module)}\nDescription-Content-Type: text/markdown\n\n")
    return {
        "streamengine/__init__.py": module.encode(),
        "streamengine/py.typed": b"",
        f"streamengine/{LIBRARY}": library.read_bytes(),
        f"{info}/METADATA": metadata.encode() + (ROOT / "README.md").read_bytes(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: build-aux/wheel.py\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/LICENSE-MIT": (ROOT / "LICENSE-MIT").read_bytes(),
        f"{info}/LICENSE-APACHE": (ROOT / "LICENSE-APACHE").read_bytes(),
    }


def record(name: str, data: Optional[bytes]) -> str:
    if data is None:
        return f"{name},,\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def main() -> None:
    options = arguments()
    contents = files(options.library or built())
    version = package("version")
    name = f"streamengine-{version}.dist-info/RECORD"
    lines = [record(*item) for item in contents.items()] + [record(name, None)]
    contents[name] = "".join(lines).encode()
    options.out.mkdir(parents=True, exist_ok=True)
    wheel = options.out / f"streamengine-{version}-py3-none-{platform()}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if path.endswith(LIBRARY) else 0o644) << 16
            archive.writestr(entry, data)
    print(wheel)


if __name__ == "__main__":
    main()
