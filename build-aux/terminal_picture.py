#!/usr/bin/env python3
"""Makes the picture of the demo in a terminal: runs it in one, and draws what stands on the screen as SVG.

    build-aux/terminal_picture.py [PROGRAM]      default: target/release/streamengine; writes docs/demo.svg
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from typing import List, Tuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, ROWS = 100, 34
SECONDS = 8.0
CHAR_WIDTH, LINE_HEIGHT, MARGIN = 7.8, 18, 16
CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
# What SGR numbers are drawn as; others are the plain colour.
COLOURS = {1: "bold", 2: "dim", 31: "red", 32: "green", 33: "yellow", 34: "blue", 35: "magenta", 36: "cyan"}

STYLE = """\
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d1d7e0; white-space: pre; }
.page { fill: #151b23; } .prompt { fill: #9198a1; }
.bold { font-weight: 600; } .dim { fill: #9198a1; }
.red { fill: #f47067; } .green { fill: #57ab5a; } .yellow { fill: #daaa3f; } .blue { fill: #539bf5; } .magenta { fill: #b083f0; }
.cyan { fill: #39c5cf; }"""

Cell = Tuple[str, str]


class Screen:
    """As much of a terminal as progress lines use: cursor up, down and to a column, erasing, colours."""

    def __init__(self) -> None:
        self.lines: List[List[Cell]] = [[]]
        self.row = self.column = 0
        self.style = ""

    def write(self, text: str) -> None:
        at = 0
        while at < len(text):
            control = CONTROL.match(text, at)
            if control:
                self.control(control[1], control[2])
                at = control.end()
            else:
                self.put(text[at])
                at += 1

    def put(self, char: str) -> None:
        if char == "\n":
            self.row, self.column = self.row + 1, 0
        elif char == "\r":
            self.column = 0
        elif char >= " ":
            if self.column >= COLUMNS:  # it wraps with what follows, not before
                self.row, self.column = self.row + 1, 0
            line = self.line()
            line += [(" ", "")] * (self.column + 1 - len(line))
            line[self.column] = (char, self.style)
            self.column += 1

    def line(self) -> List[Cell]:
        self.lines += [[] for _ in range(self.row + 1 - len(self.lines))]
        return self.lines[self.row]

    def control(self, arguments: str, kind: str) -> None:
        numbers = [int(number or 0) for number in arguments.strip("?").split(";")]
        count = numbers[0] or 1
        if kind == "A":
            self.row = max(0, self.row - count)
        elif kind == "B":
            self.row += count
        elif kind == "G":
            self.column = count - 1
        elif kind == "K":
            del self.line()[0 if numbers[0] == 2 else self.column:]
        elif kind == "J":
            del self.line()[self.column:]
            del self.lines[self.row + 1:]
        elif kind == "m":
            for number in numbers:
                self.style = "" if number == 0 else COLOURS.get(number % 60 if number >= 90 else number, self.style)

    def shown(self) -> List[List[Cell]]:
        lines = list(self.lines)
        while lines and not any(char != " " for char, _ in lines[-1]):
            lines.pop()
        return lines[-ROWS:]


def run(program: str) -> Screen:
    """What stands on the screen after some seconds; the program is ended then."""
    pid, terminal = pty.fork()
    if pid == 0:
        # Where the size is not set yet, the program would ask too early.
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS + 20, COLUMNS, 0, 0))
        os.environ["TERM"] = "xterm-256color"
        os.execv(program, [program, "demo"])
    screen, until, data = Screen(), time.monotonic() + SECONDS, b""
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            data += os.read(terminal, 65536)
    # Complete control sequences and characters only: all of it at once.
    screen.write(data.decode(errors="ignore"))
    os.kill(pid, signal.SIGINT)
    while True:
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:
            break
    os.waitpid(pid, 0)
    return screen


def runs(line: List[Cell]) -> List[Tuple[int, str, str]]:
    """Pieces of one style: column, text, style."""
    pieces: List[Tuple[int, str, str]] = []
    for column, (char, style) in enumerate(line):
        if pieces and pieces[-1][2] == style:
            first, text, _ = pieces[-1]
            pieces[-1] = (first, text + char, style)
        else:
            pieces.append((column, char, style))
    return [piece for piece in pieces if piece[1].strip()]


def svg(lines: List[List[Cell]]) -> str:
    command: List[Cell] = [(char, "prompt") for char in "$ streamengine demo"]
    lines = [command, *lines]
    width = round(COLUMNS * CHAR_WIDTH + 2 * MARGIN)
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
           "<title>streamengine demo in a terminal</title>", f"<style>\n{STYLE}\n</style>",
           f'<rect class="page" width="{width}" height="{height}" rx="8"/>']
    for number, line in enumerate(lines):
        for column, text, style in runs(line):
            x, y = MARGIN + column * CHAR_WIDTH, MARGIN + number * LINE_HEIGHT + 13
            length = f'textLength="{len(text.rstrip()) * CHAR_WIDTH:.1f}"'
            name = f' class="{style}"' if style else ""
            out.append(f'<text{name} x="{x:.1f}" y="{y}" {length}>{escape(text.rstrip())}</text>')
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/release/streamengine")
    lines = run(program).shown()
    if not lines:
        sys.exit("terminal_picture: nothing was shown")
    (ROOT / "docs/demo.svg").write_text(svg(lines))


if __name__ == "__main__":
    main()
