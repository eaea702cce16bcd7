//! Every command line that the books show is one: ours are parsed as the command parses them, and each other is known to a
//! test that runs it, which is named here.

#[allow(dead_code, unreachable_pub)]
#[path = "../src/args.rs"]
mod args;

use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The books: README, all of docs/, and the pages of folders that a reader runs something from.
fn books() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let docs = docs.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".md"));
    let mut books: Vec<_> = docs.map(|name| format!("docs/{name}")).collect();
    books.extend(["README.md", "bench/README.md", "packaging/README.md"].map(str::to_owned));
    books.sort();
    books
}

/// The command lines in the shell blocks of a book, without comments, each on one line.
fn commands(book: &str) -> Vec<String> {
    let text = read(book);
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(|block| {
        let joined = block.replace("\\\n", " ");
        joined.lines().map(without_comment).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    });
    lines.collect()
}

/// A line up to its comment, with single spaces.
fn without_comment(line: &str) -> String {
    let code = line.split_once(" #").map_or(line, |(code, _)| code);
    let code = if code.trim_start().starts_with('#') { "" } else { code };
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words of a simple line, as a shell splits them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

/// Lines that are not ours alone: how they begin, the file of the test that runs them (or says why none can), and a text in
/// it that shows that it does.
const RUN_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("cargo run --release -- demo", "cli/tests/commands.rs", "fn the_demo_serves_a_clip"),
    ("cargo install --path cli", "cli/Cargo.toml", "name = \"streamengine\""),
    ("tests/run", "build-aux/test_tests_run.py", "tests/run"),
    ("cargo build --profile dist --locked -p libstreamengine", "ffi/tests/install.rs", "-p libstreamengine"),
    ("cc app.c -o app", "ffi/tests/install.rs", "app.c"),
    ("prefix=", "ffi/tests/install.rs", "recipe_with(\"install -D\")"),
    ("install -D -m", "ffi/tests/install.rs", "recipe_with(\"install -D\")"),
    ("ln -sf libstreamengine.so", "ffi/tests/install.rs", "recipe_with(\"install -D\")"),
    ("mkdir -p \"$DESTDIR", "ffi/tests/install.rs", "recipe_with(\"install -D\")"),
    ("sed -e \"s|@prefix@", "ffi/tests/install.rs", "recipe_with(\"install -D\")"),
    ("meson setup build", "ffi/tests/install.rs", "meson(&[\"setup\""),
    ("meson compile -C build", "ffi/tests/install.rs", "meson(&[\"compile\""),
    ("meson test -C build", "ffi/tests/install.rs", "meson(&[\"test\""),
    (
        "sudo meson install -C build --tags gst-plugin",
        "gst-plugin/tests/install.rs",
        "\"--tags\", \"gst-plugin\"",
    ),
    ("sudo meson install -C build", "ffi/tests/install.rs", "meson(&[\"install\""),
    ("build-aux/wheel.py", "ffi/tests/install.rs", "build-aux/wheel.py"),
    ("pip install target/wheel/", "ffi/tests/install.rs", "\"install\", \"--no-index\""),
    (
        "cargo rustc --profile dist -p gst-plugin-streamengine",
        "gst-plugin/tests/install.rs",
        "recipe of the README",
    ),
    ("export GST_PLUGIN_PATH=", "gst-plugin/tests/install.rs", "recipe of the README"),
    ("gst-inspect-1.0 ", "gst-plugin/tests/install.rs", "--print-blacklist"),
    (
        "sudo install -D -m 755 target/dist/libgststreamengine.so",
        "gst-plugin/tests/install.rs",
        "is_found_in",
    ),
    ("rm ~/.cache/gstreamer-1.0/registry", "gst-plugin/tests/outside/mod.rs", "GST_REGISTRY"),
    ("gst-launch-1.0 ", "gst-plugin/tests/examples.rs", "fn every_launch_line_of_the_documentation_is_valid"),
    ("cargo run -p gst-plugin-streamengine --example targets", "gst-plugin/tests/examples.rs", "targets"),
    ("python3 examples/gst/targets.py", "gst-plugin/tests/examples.rs", "targets.py"),
    ("cargo run -p streamengine-cli --example pages", "cli/tests/packaging.rs", "examples/pages"),
    ("H=", "cli/tests/keys.rs", "fn the_curl_lines_of_the_book_do_what_it_says"),
    ("B=", "cli/tests/keys.rs", "fn the_curl_lines_of_the_book_do_what_it_says"),
    ("curl ", "cli/tests/keys.rs", "fn the_curl_lines_of_the_book_do_what_it_says"),
    (
        "ffmpeg -re -i film.mp4 -c copy -f flv -method POST",
        "tests/interop/ingest.rs",
        "fn what_ffmpeg_posts_arrives_as_it_is",
    ),
    ("packaging/deb", "cli/tests/packaging.rs", "packaging/deb"),
    ("python3 -m unittest discover bench", ".ci/run", "python3 -m unittest discover bench"),
    ("bench/instructions", ".ci/run", "bench/instructions"),
    ("cargo bench -p streamengine-bench", "bench/micro/Cargo.toml", "[[bench]]"),
];

/// Programs of the project whose runs take long: every option of a line must be one that the program names.
const BY_THEIR_OPTIONS: &[&str] =
    &["bench/run", "bench/boundary", "bench/gst-relay", "bench/gst-latency", "bench/recorders"];

/// Whether a test answers for a line: by running it, or by its options.
fn is_run_elsewhere(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    if BY_THEIR_OPTIONS.contains(&first) {
        let program = read(first);
        let options = words(line).into_iter().filter(|word| word.starts_with("--"));
        options.into_iter().for_each(|option| {
            assert!(program.contains(&format!("\"{option}\"")), "{line}: {first} has no {option}");
        });
        return true;
    }
    RUN_ELSEWHERE.iter().any(|(begin, _, _)| line.starts_with(begin))
}

#[test]
fn every_command_line_of_the_books_is_parsed_or_run_by_a_test() {
    let (mut ours, mut others) = (0, 0);
    for book in books() {
        for line in commands(&book) {
            if line.starts_with("streamengine ") {
                let parsed = args::Cli::try_parse_from(words(&line));
                assert!(parsed.is_ok(), "{book}: {line}: {}", parsed.err().unwrap());
                ours += 1;
            } else {
                assert!(is_run_elsewhere(&line), "{book}: no test knows {line:?}");
                others += 1;
            }
        }
    }
    assert!(ours >= 6 && others >= 40, "{ours} and {others} lines");
}

#[test]
fn every_test_that_answers_for_a_line_is_there_and_every_line_is_still_in_a_book() {
    let lines: Vec<String> = books().iter().flat_map(|book| commands(book)).collect();
    for (begin, file, text) in RUN_ELSEWHERE {
        assert!(read(file).contains(text), "{begin}: {file} has no {text}");
        assert!(lines.iter().any(|line| line.starts_with(begin)), "no book has {begin}");
    }
}

#[test]
fn the_readme_says_what_is_needed_as_the_manifests_do() {
    let readme = read("README.md");
    let manifest = read("Cargo.toml");
    let rust = manifest.split_once("rust-version = \"").unwrap().1.split('"').next().unwrap().to_owned();
    assert!(readme.contains(&format!("[Rust](https://rustup.rs) {rust} or later")), "Rust {rust}");
    assert!(manifest.contains("[profile.dist]") && readme.contains("--profile dist"));
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = link.split('#').next().unwrap();
        assert!(
            link.contains("://") || file.is_empty() || root().join(file).exists(),
            "README.md: no {link}"
        );
    }
}
