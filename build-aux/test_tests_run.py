"""What `tests/run` promises, shown on a small workspace. Run: python3 -m unittest discover build-aux"""
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FEATURES = "[features]\nio-uring = []\n"
# Package -> what its manifest has besides its name. Those of our name are the ones that tests/run names.
PACKAGES = {
    "alpha": "",
    "beta": "",
    "gamma": '[dependencies]\nalpha = { path = "../alpha" }\n',
    "omega": "",
    "streamengine": FEATURES,
    "streamengine-cli": FEATURES + '[[bin]]\nname = "streamengine"\npath = "src/main.rs"\n',
    "streamengine-tests": "",
}
LIBRARY = "#[test]\nfn unit() {}\n"
PASSES = "#[test]\nfn passes() {}\n"
WAITS = """#[test]
fn waits() {
    std::fs::write(std::env::var("WAITING").unwrap(), std::process::id().to_string()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(600));
}
"""
SLEEPS = "#[test]\nfn sleeps() { std::thread::sleep(std::time::Duration::from_secs(600)); }\n"
FAILS = '#[test]\nfn fails() { panic!("planted") }\n'
DOES_NOT_COMPILE = "#[test]\nfn planted() -> u8 {}\n"
SUITES = ["streamengine-tests/tests/interop.rs", "streamengine-tests/tests/browser.rs",
          "streamengine-tests/tests/fault.rs"]


class TestsRun(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = Path(cls.folder.name)
        # Beside the workspace: a pkg-config that has everything, so that this machine's packages do not matter.
        cls.write("bin/pkg-config", "#!/bin/sh\n")
        (cls.root / "bin/pkg-config").chmod(stat.S_IRWXU)
        for file in ["tests/run", "tests/expected-skips", "build-aux/cargo_tests.py"]:
            (cls.root / file).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / file, cls.root / file)
        cls.write("Cargo.toml", f"[workspace]\nresolver = '3'\nmembers = {list(PACKAGES)}\n")
        for package, manifest in PACKAGES.items():
            cls.write(f"{package}/Cargo.toml", f'[package]\nname = "{package}"\nedition = "2024"\n{manifest}')

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def write(cls, path, text):
        file = cls.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def setUp(self):
        for package in PACKAGES:
            program = "fn main() {}\n" if package == "streamengine-cli" else ""
            self.write(f"{package}/src/{'main' if program else 'lib'}.rs", program + LIBRARY)
            self.write(f"{package}/tests/first.rs", PASSES)
            self.write(f"{package}/tests/{package}_second.rs", PASSES)
        for suite in SUITES:
            self.write(suite, PASSES)

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_", "RUST"))}
        environment |= {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "STREAMENGINE_BIN": "",
                        "CARGO_TARGET_DIR": str(self.root / "target")}
        environment |= {name: os.environ[name] for name in ("CARGO_HOME", "RUSTUP_HOME") if name in os.environ}
        environment["WAITING"] = str(self.root / "waiting")
        return subprocess.Popen([self.root / "tests/run", "--no-install"], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run_tests(self):
        """Exit status, what was shown before the summary, and the summary's lines."""
        running = self.start()
        output, _ = running.communicate()
        shown, _, summary = output.partition("== summary\n")
        self.assertTrue(summary, output)
        return running.returncode, shown, summary.splitlines()

    def test_all_is_well(self):
        status, shown, summary = self.run_tests()
        self.assertEqual(status, 0, shown)
        self.assertEqual([line for line in summary if line.startswith(("failed", "not run"))], [])
        self.assertIn("all passed", summary[-1])
        # Six packages with a unit test and two programs each, the harness, and three suites.
        self.assertEqual(shown.count("test result: ok. 1 passed"), 6 * 3 + 1 + 3, shown)

    def test_a_failure_hides_no_later_test_and_is_named(self):
        self.write("alpha/tests/first.rs", FAILS)
        self.write("streamengine-tests/src/lib.rs", FAILS)
        status, shown, summary = self.run_tests()
        self.assertNotEqual(status, 0)
        self.assertIn("failed -p alpha --test first", summary)
        self.assertIn("failed -p streamengine-tests --lib", summary)
        for later in ["alpha_second", "omega_second", "interop", "browser", "fault"]:
            self.assertIn(f"tests/{later}.rs", shown)
        self.assertEqual([line for line in summary if line.startswith("not run")], [])
        self.assertIn("FAILED: crates harness", summary[-1])

    def test_what_does_not_compile_is_named_and_the_rest_runs(self):
        self.write("beta/tests/first.rs", DOES_NOT_COMPILE)
        self.write("streamengine/src/lib.rs", "#[cfg(test)]\n" + DOES_NOT_COMPILE)
        self.write("alpha/src/lib.rs", DOES_NOT_COMPILE + "fn planted_too() -> u8 {}\n")
        self.write("omega/tests/first.rs", FAILS)
        status, shown, summary = self.run_tests()
        self.assertNotEqual(status, 0)
        not_run = {line.split(":")[0] for line in summary if line.startswith("not run")}
        lost = [f"-p {package} {option}" for package in ["alpha", "gamma"]
                for option in ["--lib", "--doc", "--test first", f"--test {package}_second"]]
        lost += ["-p beta --test first", "-p streamengine --lib", "-p streamengine --doc"]
        self.assertEqual(not_run, {f"not run {name}" for name in lost})
        self.assertIn("failed -p omega --test first", summary)
        for program in ["beta_second", "omega_second", "streamengine_second", "interop", "browser", "fault"]:
            self.assertIn(f"tests/{program}.rs", shown)
        # Those of omega, streamengine and streamengine-cli, though a test of the same name does not compile.
        self.assertEqual(shown.count("tests/first.rs ("), 3, shown)
        self.assertIn("Doc-tests omega", shown)

    def test_without_a_binary_the_crates_run_and_the_suites_are_named(self):
        self.write("streamengine-cli/src/main.rs", "fn main() -> u8 {}\n")
        status, shown, summary = self.run_tests()
        self.assertNotEqual(status, 0)
        self.assertIn("tests/omega_second.rs", shown)
        for name in ["interop", "browser", "fault", "uring-interop", "uring-fault"]:
            self.assertTrue([line for line in summary if line.startswith(f"not run {name}: no binary")], summary)
        self.assertTrue([line for line in summary if line.startswith("not run -p streamengine-cli --bin")], summary)
        self.assertNotIn("tests/interop.rs", shown)

    def test_an_interrupt_ends_at_once_what_runs_and_what_goes_on_beside(self):
        self.write("streamengine-tests/tests/browser.rs", WAITS)
        self.write("streamengine-tests/tests/interop.rs", SLEEPS)
        waiting = self.root / "waiting"
        running = self.start()
        until(lambda: waiting.exists() and waiting.read_text())
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
        self.assertEqual(running.returncode, 130)
        until(lambda: not is_running(int(waiting.read_text())))


def is_running(process):
    try:
        return " (zombie)" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def until(is_so):
    """Waits for it, for two minutes at most."""
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
