"""What `tests/self-check` relies on: every bound is in its table. Run: python3 -m unittest discover build-aux"""

import unittest

import self_check


class Bounds(unittest.TestCase):
    def test_every_bound_names_a_test_that_exists(self):
        bounds, tests = self_check.bounds(), self_check.tests_of_sources()
        self.assertGreater(len(bounds), 80)
        for bound in bounds:
            self.assertIn(bound.test, tests, f"{bound.name} in {bound.file}")

    def test_no_constant_that_looks_like_a_bound_escapes(self):
        self.assertEqual(self_check.escaped(), [])

    def test_names_are_those_that_the_programs_know_and_unique(self):
        names = [bound.name for bound in self_check.bounds()]
        self.assertEqual(len(names), len(set(names)))
        for name in ("limits::Limits::max_lags", "limits::LONGEST_MS", "net::OVERSLEPT", "proto::server::MAX_REFUSED"):
            self.assertIn(f"streamengine::{name}", names)


if __name__ == "__main__":
    unittest.main()
