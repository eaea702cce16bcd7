"""What readers of the results rely on. Run: python3 -m unittest discover bench"""
import argparse
import contextlib
import dataclasses
import importlib.machinery
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path
from unittest import mock

from measure import cases, chart, doors, network, report, servers

BENCH = Path(__file__).resolve().parents[1]
ALIKE = {"is_own": True, "default": 1, "alike": 255, "note": ""}


def script(name):
    """A program of this folder, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(BENCH / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def fanout(server, cpu, disturbed=False, n=1000, **more):
    latency = {"p50": 4.0, "p99": 9.0}
    return {"kind": "fanout", "peer": server, "n": n, "disturbed": disturbed, "latency_ms": latency,
            "server": {"cpu_s_per_gbit": cpu, "cores": 0.3, "rss_per_conn": 1024}, "ttff_ms": latency, "missing": 0,
            "dup": 0, "ts_backwards": 0, "errors": {}, "full_rate": n, **more}


def default_acks(server, cpu, **more):
    return fanout(server, cpu, kind=report.DEFAULT_ACKS, **more)


def run_of(**more):
    return {"date": "2026-01-01", "machine": {"cpu": "x", "cores": 2, "memory_gib": 1, "kernel": "6"}, "ours": "ours",
            "versions": {}, "cores": [0, 1], "scale": dataclasses.asdict(cases.FULL), "full": False, "network": ALIKE,
            **more}


def markdown(lines, **more):
    return report.markdown(run_of(**more), report.Results(lines), cases.FULL, "x.svg")


def part(text, title):
    """What stands under a heading."""
    return next(body for body in text.split("\n## ") if body.partition("\n")[0] == title)


def engine(name, policy):
    return servers.Server(f"{name}: {policy}", "ours", "/bin/false")


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
        lines = [fanout("floor-ride", 0.10), fanout("ours: with-video", 0.13)]
        self.assertEqual(verdict(lines, "with-video, CPU per Gbit: of floor-ride"), "met")
        lines[1] = fanout("ours: with-video", 0.14)
        self.assertEqual(verdict(lines, "with-video, CPU per Gbit: of floor-ride"), "**missed**")

    def test_a_player_without_every_frame_is_never_overlooked(self):
        self.assertEqual(verdict([fanout("ours: with-video", 0.1)], "wrong frames"), "met")
        for wrong in ({"full_rate": 999}, {"dup": 1}, {"errors": {"framing: cut": 1}}):
            self.assertEqual(verdict([fanout("ours: with-video", 0.1, **wrong)], "wrong frames"), "**missed**", wrong)

    def test_what_people_wrote_around_the_measured_part_stays(self):
        first = report.place("", "one\n")
        text = report.place(first + "\n## Tried and dropped\n", "two\n")
        self.assertIn("two", text)
        self.assertNotIn("one\n", text)
        self.assertTrue(text.endswith("\n## Tried and dropped\n"))

    def test_the_chart_shows_every_server(self):
        lines = [fanout(name, cpu) for name, cpu in (("floor-ride", 0.1), ("nginx-4096", 0.11), ("ours: <with-video>", 0.1))]
        text = chart.svg(chart.points(report.Results(lines), 1000), 1000, "a & b")
        labels = [node.firstChild.data for node in xml.dom.minidom.parseString(text).getElementsByTagName("text")]
        for label in ("floor, with-video", "nginx-rtmp, chunk 4096", "ours: <with-video>"):
            self.assertIn(label, labels)


    def test_players_over_http_are_judged_beside_those_over_rtmp_and_drawn(self):
        lines = [fanout("ours: with-video", 0.100), fanout("ours: with-video", 0.109, kind="flv"),
                 fanout("ours: with-video", 0.111, kind="ws"), fanout("node-media-server", 0.5, kind="flv"),
                 fanout("ours: with-video", 0.120, kind="rtmps"), fanout("ours: with-video", 0.130, kind="wss")]
        self.assertEqual(verdict(lines, "HTTP-FLV, with-video"), "met")
        self.assertEqual(verdict(lines, "WebSocket-FLV, with-video"), "**missed**")
        self.assertEqual(verdict(lines, "RTMPS, CPU"), "met")
        self.assertEqual(verdict(lines, "WebSocket-FLV with TLS"), "met")
        self.assertEqual(verdict([*lines, fanout("ours: with-video", 0.1, kind="ws", missing=1)], "wrong frames"), "**missed**")
        text = markdown(lines)
        self.assertIn("| ours: with-video | 0.130 | 1.30 | 1.08 |", part(text, "WebSocket-FLV with TLS to 1000 players, one core"))
        drawn = chart.of_report(text)
        for label in ("ours: with-video", "ours: with-video, HTTP-FLV", "node-media-server, HTTP-FLV"):
            self.assertIn(f">{label}</text>", drawn)

    def test_each_door_has_a_listener_of_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            for kind, door in doors.DOORS.items():
                text = doors.listener(door, 4321, Path(folder))
                self.assertIn(f'[{door.section}]\nlisten = ["127.0.0.1:4321"]', text, kind)
                self.assertEqual("cert = " in text, kind in ("rtmps", "https", "wss"), kind)
            self.assertIn("BEGIN CERTIFICATE", (Path(folder) / "cert.pem").read_text())

    def test_the_chart_in_the_books_is_the_one_of_the_results(self):
        bench = Path(report.__file__).resolve().parents[1]
        drawn = chart.of_report((bench / "RESULTS.md").read_text())
        self.assertEqual((bench / "fan-out.svg").read_text(), drawn)
        self.assertEqual(drawn.count('class="label-'), drawn.count("<circle") + drawn.count("<rect") - 1)
        self.assertGreater(drawn.count("<circle"), 5)


class DefaultAcks(unittest.TestCase):
    """Fan-outs with the kernel's default acknowledgements never pass for those with receivers alike, or the reverse."""

    SAME, DEARER = ("floor-ride", 0.10, "ours: with-video", 0.11), ("floor-ride", 0.10, "ours: with-video", 0.14)
    TEXT = "with-video, CPU per Gbit: of floor-ride"

    @staticmethod
    def lines(make, pair):
        return [make(pair[0], pair[1]), make(pair[2], pair[3])]

    def test_each_condition_has_a_verdict_of_its_own(self):
        lines = self.lines(fanout, self.SAME) + self.lines(default_acks, self.DEARER)
        self.assertEqual(verdict(lines, self.TEXT), "met")
        self.assertEqual(verdict(lines, f"default acks: {self.TEXT}"), "**missed**")
        lines = self.lines(fanout, self.DEARER) + self.lines(default_acks, self.SAME)
        self.assertEqual(verdict(lines, self.TEXT), "**missed**")
        self.assertEqual(verdict(lines, f"default acks: {self.TEXT}"), "met")

    def test_one_condition_does_not_stand_in_for_the_other(self):
        self.assertEqual(verdict(self.lines(default_acks, self.SAME), self.TEXT), "not measured")
        self.assertEqual(verdict(self.lines(fanout, self.SAME), f"default acks: {self.TEXT}"), "not measured")
        halves = [fanout("floor-ride", 0.1), default_acks("ours: with-video", 0.1)]
        self.assertEqual(verdict(halves, self.TEXT), "not measured")
        self.assertEqual(verdict(halves, f"default acks: {self.TEXT}"), "not measured")

    def test_both_conditions_have_the_same_ratios_and_limits(self):
        every = report.targets("ours", 1000, cases.FULL)
        prefix = "default acks: "
        limits = {t.text[len(prefix):]: t.limit for t in every if t.text.startswith(prefix)}
        self.assertEqual(len(limits), 5)
        self.assertEqual(limits, {t.text: t.limit for t in every if t.text in limits})

    def test_each_table_holds_its_own_figures(self):
        lines = [fanout("floor-ride", 0.111), fanout("ours: with-video", 0.222),
                 default_acks("floor-ride", 0.333), default_acks("ours: with-video", 0.999)]
        text = markdown(lines)
        alike = part(text, "Fan-out to 1000 players, one core")
        default = part(text, "Fan-out to 1000 players, one core, with the kernel's default acknowledgements")
        for body, own, foreign in ((alike, ("0.111", "0.222", "2.00"), ("0.333", "0.999", "3.00")),
                                   (default, ("0.333", "0.999", "3.00"), ("0.111", "0.222", "2.00"))):
            for figure in own:
                self.assertIn(f"| {figure} |", body)
            for figure in foreign:
                self.assertNotIn(figure, body)

    def test_a_disturbed_repetition_spoils_its_own_condition_only(self):
        results = report.Results([fanout("ours: with-video", 0.1), default_acks("ours: with-video", 0.9, disturbed=True)])
        self.assertTrue(results.is_clean("fanout", "ours: with-video", 1000))
        self.assertFalse(results.is_clean(report.DEFAULT_ACKS, "ours: with-video", 1000))

    def test_the_chart_shows_receivers_alike(self):
        results = report.Results([fanout("ours: with-video", 0.1), default_acks("ours: with-video", 0.9),
                                  default_acks("floor-ride", 0.9)])
        self.assertEqual(chart.points(results, 1000), [("ours: with-video", "ours", 0.1, 4.0)])

    def test_wrong_frames_count_in_either_condition(self):
        self.assertEqual(verdict([fanout("ours: with-video", 0.1), default_acks("ours: with-video", 0.1)], "wrong frames"), "met")
        for lines in ([fanout("ours: with-video", 0.1), default_acks("ours: with-video", 0.1, dup=1)],
                      [fanout("ours: with-video", 0.1, dup=1), default_acks("ours: with-video", 0.1)]):
            self.assertEqual(verdict(lines, "wrong frames"), "**missed**")

    def test_it_is_planned_for_those_whose_ratios_are_judged_and_the_most_players(self):
        found = [servers.Server(name, "floor", "x") for name in servers.FLOORS]
        found += [servers.Server(name, "nginx", "x") for name in servers.NGINX_CHUNKS]
        found += [servers.Server("sink", "sink", "x")]
        found += [engine(name, policy) for name in ("ours", "other", "ours-uring") for policy in servers.POLICIES]
        plan = cases.plan(found, cases.FULL, (report.DEFAULT_ACKS,))
        self.assertEqual(sorted((case.server.name, case.n) for case in plan), [(name, 1000) for name in (
            "floor-ride", "floor-send", "nginx-4096", "nginx-60000", "other: immediate", "other: with-video",
            "ours: immediate", "ours: with-video")])
        self.assertNotIn(report.DEFAULT_ACKS, {case.kind for case in cases.plan(found, cases.FULL, ("fanout",))})

    def test_the_io_uring_back_end_is_measured_in_the_larger_fan_out_only(self):
        found = [engine("ours" + report.URING, policy) for policy in servers.URING_POLICIES]
        plan = cases.plan(found, cases.FULL, script("run").KINDS)
        self.assertEqual(sorted((case.kind, case.server.name, case.n) for case in plan),
                         [("fanout", f"ours-uring: {policy}", 1000) for policy in ("immediate", "with-video")])
        lines = [fanout("ours: with-video", 0.2), fanout("ours-uring: with-video", 0.17)]
        self.assertEqual(verdict(lines, "io_uring, with-video"), "met")

    def test_a_run_says_under_which_condition_it_was_measured(self):
        lines = [fanout("ours: with-video", 0.1)]
        self.assertIn("Receivers alike (`tcp_pingpong_thresh` = 255)", markdown(lines))
        kept = {"is_own": False, "default": None, "alike": None, "note": "no network of its own: not permitted"}
        for found in (kept, {}):  # runs of before say nothing about it
            text = markdown(lines, network=found)
            self.assertIn("**Receivers were not made alike**", text)
            self.assertIn("## Targets, 1000 players, receivers not made alike\n", text)
            self.assertNotIn("Receivers alike", text)
        self.assertIn("not permitted", markdown(lines, network=kept))


class Network(unittest.TestCase):
    def test_players_are_alike_but_in_the_kind_for_it_and_publishers_are_left_alone(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(network, "PINGPONG", Path(folder, "thresh")):
            for kind in (*script("run").KINDS, "overload"):
                network.Network(True, 7).arrange(kind)
                is_left = kind in (report.DEFAULT_ACKS, "ingest", "unpaced", "relay", "limits")
                wanted = "7" if is_left else "255"
                self.assertEqual(network.PINGPONG.read_text(), wanted, kind)

    def test_nothing_is_set_in_the_machines_own_network(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(network, "PINGPONG", Path(folder, "thresh")), \
                mock.patch.object(network, "unshare", side_effect=PermissionError(1, "not permitted")):
            network.PINGPONG.write_text("1")
            place = network.enter()
            place.arrange("fanout")
            self.assertEqual(network.PINGPONG.read_text(), "1")
        self.assertEqual((place.is_own, place.is_alike), (False, False))
        self.assertIn("not permitted", place.note)

    def test_what_the_kernel_does_not_let_set_is_said(self):
        with mock.patch.object(network, "PINGPONG", Path("/nonexistent/thresh")), \
                mock.patch.object(network, "unshare"):
            place = network.enter()
        self.assertEqual((place.is_own, place.is_alike), (True, False))
        self.assertIn("thresh", place.note)

    def test_an_own_network_works_and_leaves_the_machines_as_it_is(self):
        before = network.PINGPONG.read_text() if network.PINGPONG.exists() else None
        code = ("import json, os, socket; from measure import machine, network; place = network.enter(); "
                "listener = socket.create_server(('127.0.0.1', 0)); port = listener.getsockname()[1]; "
                "socket.create_connection(('127.0.0.1', port)).close(); place.arrange('fanout'); "
                "print(json.dumps([place.description(), machine.is_listening(port), machine.socket_memory() >= 0]))")
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=BENCH, stdout=subprocess.PIPE, check=True)
        place, listens, counts = json.loads(done.stdout)
        if not place["is_own"]:
            self.skipTest(place["note"])
        self.assertTrue(listens and counts)
        self.assertEqual(network.PINGPONG.read_text() if network.PINGPONG.exists() else None, before)


class Run(unittest.TestCase):
    def setUp(self):
        self.script = script("run")

    def test_the_lines_of_a_run_give_its_report_again(self):
        lines = [run_of(), fanout("floor-ride", 0.10), fanout("ours: with-video", 0.11), default_acks("floor-ride", 0.10),
                 default_acks("ours: with-video", 0.14)]
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = Path(folder, "run.jsonl")
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            self.script.again(path)
            text = Path(folder, "RESULTS.md").read_text()
            picture = Path(folder, "fan-out.svg").read_text()
        self.assertIn("| with-video, CPU per Gbit: of floor-ride | <= 1.3 | 1.10 | met |", text)
        self.assertIn("| default acks: with-video, CPU per Gbit: of floor-ride | <= 1.3 | 1.40 | **missed** |", text)
        self.assertIn("receivers alike", picture)

    def test_results_of_receivers_that_are_not_alike_are_not_published(self):
        run = run_of(full=True, network={"is_own": False, "default": None, "alike": None, "note": "no"})
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
            path = self.script.publish(run, [fanout("ours: with-video", 0.1)], cases.FULL, True, Path(folder))
            self.assertEqual(path.parent, Path(folder))
        self.assertIn("receivers were not made alike", out.getvalue())

    def test_where_receivers_cannot_be_alike_there_is_one_condition(self):
        given = argparse.Namespace(kinds=None)
        self.assertIn(report.DEFAULT_ACKS, self.script.kinds_of(given, network.Network(True, 1)))
        kinds = self.script.kinds_of(given, network.Network(False))
        self.assertEqual(set(self.script.KINDS) - set(kinds), {report.DEFAULT_ACKS})

    def test_servers_are_selected_by_any_part_of_their_names(self):
        found = [servers.Server(name, "floor", "x") for name in ("floor-ride", "floor-uring-ride")]
        found += [servers.Server("nginx-4096", "nginx", "x"), engine("ours", "with-video"), engine("uring", "with-video")]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            for only, names in (("uring,floor", {"floor-ride", "floor-uring-ride", "uring: with-video"}),
                                ("ours: with-video, nginx", {"ours: with-video", "nginx-4096"}),
                                (None, {server.name for server in found})):
                self.assertEqual({server.name for server in self.script.select(found, only)}, names, only)
            self.assertEqual(out.getvalue(), "")
            self.script.select(found, "floor,ngnix")
        self.assertIn("ngnix", out.getvalue())

    def test_targets_judge_the_first_engine_that_is_measured(self):
        programs = [("streamengine", "/a"), ("streamengine2", "/b")]
        both = [engine("streamengine", "with-video"), engine("streamengine2", "with-video")]
        self.assertEqual(self.script.judged(both, programs), "streamengine")
        self.assertEqual(self.script.judged(both[1:], programs), "streamengine2")
        self.assertEqual(self.script.judged([], programs), "streamengine")

    def test_wrong_frames_of_another_engine_are_not_ours(self):
        self.assertEqual(verdict([fanout("ours: with-video", 0.1), fanout("ours2: with-video", 0.1, dup=1)], "wrong frames"), "met")


class Instructions(unittest.TestCase):
    def setUp(self):
        self.script = script("instructions")

    def test_copies_count_apart_and_calls_count_once(self):
        profile = "fn=step\n1 100\ncfn=__memcpy_avx\ncalls=2 0\n1 50\nfn=__memcpy_avx\n1 50\nfn=other\nfi=x.rs\n7 20\n"
        self.assertEqual(self.script.split(profile), (50, 120))

    def test_more_and_fewer_than_the_tolerance_are_both_beyond_it(self):
        for now, bad in ((1000, False), (1049, False), (1051, True), (949, True)):
            self.assertEqual(self.script.beyond(1000, now, 5), bad, now)


if __name__ == "__main__":
    unittest.main()
