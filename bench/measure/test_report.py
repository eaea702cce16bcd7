"""What readers of the results rely on. Run: python3 -m unittest discover bench"""
import importlib.machinery
import importlib.util
import unittest
import xml.dom.minidom
from pathlib import Path

from measure import cases, chart, report


def fanout(server, cpu, disturbed=False, n=1000, **more):
    return {"kind": "fanout", "peer": server, "n": n, "disturbed": disturbed, "server": {"cpu_s_per_gbit": cpu},
            "latency_ms": {"p50": 4.0}, "missing": 0, "dup": 0, "ts_backwards": 0, "errors": {}, "full_rate": n, **more}


def verdict(lines, text):
    results = report.Results(lines)
    target = next(t for t in report.targets("ours", 1000, cases.FULL) if t.text.startswith(text))
    return target.verdict(results)[1]


class Report(unittest.TestCase):
    def test_disturbed_repetitions_count_only_where_there_is_no_other(self):
        lines = [fanout("a", 1.0), fanout("a", 9.0, disturbed=True), fanout("b", 5.0, disturbed=True)]
        results = report.Results(lines)
        self.assertEqual(results.median("fanout", "a", 1000, "cpu"), 1.0)
        self.assertEqual(results.median("fanout", "b", 1000, "cpu"), 5.0)
        self.assertEqual(report.counted(results, "fanout", "a", 1000), "1/2")
        self.assertEqual(report.counted(results, "fanout", "b", 1000), "0/1 *")

    def test_what_was_not_measured_is_never_met(self):
        for target in report.targets("ours", 1000, cases.FULL):
            self.assertEqual(target.verdict(report.Results([])), ("-", "not measured"), target.text)

    def test_a_target_is_judged_against_its_own_floor(self):
        lines = [fanout("floor-ride", 0.10), fanout("ours: ride", 0.13)]
        self.assertEqual(verdict(lines, "ride, CPU per Gbit: of floor-ride"), "met")
        lines[1] = fanout("ours: ride", 0.14)
        self.assertEqual(verdict(lines, "ride, CPU per Gbit: of floor-ride"), "**missed**")

    def test_a_player_without_every_frame_is_never_overlooked(self):
        self.assertEqual(verdict([fanout("ours: ride", 0.1)], "wrong frames"), "met")
        for wrong in ({"full_rate": 999}, {"dup": 1}, {"errors": {"framing: cut": 1}}):
            self.assertEqual(verdict([fanout("ours: ride", 0.1, **wrong)], "wrong frames"), "**missed**", wrong)

    def test_what_people_wrote_around_the_measured_part_stays(self):
        first = report.place("", "one\n")
        text = report.place(first + "\n## Tried and dropped\n", "two\n")
        self.assertIn("two", text)
        self.assertNotIn("one\n", text)
        self.assertTrue(text.endswith("\n## Tried and dropped\n"))

    def test_the_chart_shows_every_server(self):
        lines = [fanout(name, cpu) for name, cpu in (("floor-ride", 0.1), ("nginx-4096", 0.11), ("ours: <ride>", 0.1))]
        text = chart.svg(chart.points(report.Results(lines), 1000), 1000, "a & b")
        labels = [node.firstChild.data for node in xml.dom.minidom.parseString(text).getElementsByTagName("text")]
        for label in ("floor, ride", "nginx-rtmp, chunk 4096", "ours: <ride>"):
            self.assertIn(label, labels)


class Instructions(unittest.TestCase):
    def setUp(self):
        path = str(Path(__file__).resolve().parents[1] / "instructions")
        loader = importlib.machinery.SourceFileLoader("instructions", path)
        self.script = importlib.util.module_from_spec(importlib.util.spec_from_loader("instructions", loader))
        loader.exec_module(self.script)

    def test_copies_count_apart_and_calls_count_once(self):
        profile = "fn=step\n1 100\ncfn=__memcpy_avx\ncalls=2 0\n1 50\nfn=__memcpy_avx\n1 50\nfn=other\nfi=x.rs\n7 20\n"
        self.assertEqual(self.script.split(profile), (50, 120))

    def test_more_and_fewer_than_the_tolerance_are_both_beyond_it(self):
        for now, bad in ((1000, False), (1049, False), (1051, True), (949, True)):
            self.assertEqual(self.script.beyond(1000, now, 5), bad, now)


if __name__ == "__main__":
    unittest.main()
