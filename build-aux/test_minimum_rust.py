"""What `build-aux/minimum_rust.py` says about dependencies. Run: python3 -m unittest discover build-aux"""
import unittest

import minimum_rust


def package(name, rust_version, source="registry"):
    return {"name": name, "version": "0.1.0", "rust_version": rust_version, "source": source}


class Dependencies(unittest.TestCase):
    def test_one_that_needs_a_newer_rust_is_named(self):
        packages = [package("old", "1.56"), package("same", "1.92.0"), package("silent", None),
                    package("patch", "1.92.1"), package("minor", "1.100"), package("major", "2.0")]
        named = [line.split()[0] for line in minimum_rust.too_new(packages, "1.92")]
        self.assertEqual(named, ["patch", "minor", "major"])

    def test_those_that_say_nothing_are_counted(self):
        self.assertEqual(minimum_rust.silent([package("old", "1.56"), package("silent", None)]), 1)

    def test_all_of_ours_promise_the_same(self):
        ours = [package("a", "1.92", None), package("b", "1.92", None), package("other", "1.56")]
        self.assertEqual(minimum_rust.promise(ours), "1.92")
        for differs in ["1.93", None]:
            with self.assertRaises(SystemExit):
                minimum_rust.promise([*ours, package("c", differs, None)])

    def test_a_toolchain_that_does_not_exist_is_not_there(self):
        self.assertFalse(minimum_rust.passes("rustup", "run", "0.0.1", "cargo", "--version", timeout=30))
        self.assertFalse(minimum_rust.passes("there-is-no-such-program", timeout=30))


if __name__ == "__main__":
    unittest.main()
