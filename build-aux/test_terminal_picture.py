"""The terminal that pictures are made with shows what a terminal shows."""

import importlib.util
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("terminal_picture", ROOT / "build-aux/terminal_picture.py")
picture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(picture)


def shown(text):
    screen = picture.Screen()
    screen.write(text)
    return ["".join(char for char, _ in line).rstrip() for line in screen.shown()]


class Terminal(unittest.TestCase):
    def test_lines_that_are_written_again_replace_those_before(self):
        self.assertEqual(shown("log\r\n1 fps\r\n2 fps\x1b[1A\r\x1b[2K3 fps\r\n\x1b[2K4 fps"), ["log", "3 fps", "4 fps"])
        self.assertEqual(shown("old text\rnew\x1b[K"), ["new"])
        self.assertEqual(shown("a\r\nb\r\nc\x1b[2A\r\x1b[J"), [])

    def test_colours_are_kept(self):
        screen = picture.Screen()
        screen.write("\x1b[32mok\x1b[0m then \x1b[91mbad")
        self.assertEqual([piece[2] for piece in picture.runs(screen.shown()[0])], ["green", "", "red"])

    def test_the_picture_of_the_readme_is_one_of_the_demo(self):
        text = (ROOT / "docs/demo.svg").read_text()
        xml.fromstring(text)
        for part in ("$ streamengine demo", "rtmp://127.0.0.1", "live/demo", "live/demo-copy"):
            self.assertIn(part, text)


if __name__ == "__main__":
    unittest.main()
