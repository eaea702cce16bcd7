//! Files for browsers that an engine serves over HTTP: the page of a player, the one that publishes a camera or a screen, and the
//! dashboard.
//!
//! ```no_run
//! # fn main() -> streamengine::Result<()> {
//! let builder = streamengine::Engine::builder().assets(streamengine_web::assets());
//! let engine = builder.listen_http("127.0.0.1:8080".parse().unwrap()).start()?;
//! # Ok(())
//! # }
//! ```
//!
//! The player is our own: ECMAScript modules as they are in `page`, so that every build has it. Players of others, mpegts.js and
//! hls.js, are what the page loads where ours cannot play. npm makes them, and the dashboard, when this crate is built, which needs
//! Node.js 18 or later, and a network or npm's cache. Without them, or with `STREAMENGINE_WEB=off` or `CARGO_NET_OFFLINE=true` in
//! the environment, the page does without, and in the dashboard's place is one that says how to get it. `STREAMENGINE_WEB=/A/FOLDER` takes those that `npm ci && node build.js /A/FOLDER` has
//! made before.
//!
//! `STREAMENGINE_WEB_AAC=1` adds an encoder of AAC (1.1 MB, 0.3 MB packed; FFmpeg's, LGPL, in packages under MPL-2.0) for the page that
//! publishes, which loads it in browsers that have none, as Chromium and Firefox on Linux; without it, these send Opus.
#![forbid(unsafe_code)]

use streamengine::Assets;

/// A file's name, its bytes, and the same packed with gzip.
type File = (&'static str, &'static [u8], Option<&'static [u8]>);

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Whether this build has the page, with our own player.
pub const HAS_PLAYER: bool = !FILES.is_empty();

/// Whether it has the players of others and the dashboard too: npm has made them.
pub const HAS_OTHER_PLAYERS: bool = include!(concat!(env!("OUT_DIR"), "/has_others.rs"));

/// The files, for [`EngineBuilder::assets`](streamengine::EngineBuilder::assets).
pub fn assets() -> Assets {
    FILES
        .iter()
        .fold(Assets::default(), |assets, (name, body, gzip)| assets.file(*name, *body, gzip.map(Into::into)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(name: &str) -> &'static str {
        let (_, body, _) = FILES.iter().find(|(file, _, _)| *file == name).unwrap();
        std::str::from_utf8(body).unwrap()
    }

    /// A file's name as it is in the sources.
    fn plain(name: &str) -> String {
        let (stem, end) = name.rsplit_once('.').unwrap();
        format!("{}.{end}", stem.rsplit_once('-').map_or(stem, |(plain, _)| plain))
    }

    /// The files that a text refers to by `before` and the name.
    fn named<'a>(text: &'a str, before: &str, end: char) -> Vec<&'a str> {
        text.split(before).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
    }

    const OTHERS: [&str; 3] = ["mpegts.js", "hls.js", "aac.js"];
    /// What the dashboard is made of, beside its page: what it loads at first, and what it loads as it needs it.
    const DASHBOARD: [&str; 2] = ["dashboard.js", "dashboard.css"];
    const WITH_DASHBOARD: [&str; 5] =
        ["uplot.js", "words_en.js", "words_de.js", "words_fr.js", "words_zh.js"];
    /// The most bytes of the dashboard's first load, and of all that browsers may ask for who watch and manage, packed where it is.
    const FIRST_LOAD: usize = 60_000;
    const IN_ALL: usize = 400_000;

    fn is_of_dashboard(name: &str) -> bool {
        DASHBOARD.iter().chain(&WITH_DASHBOARD).any(|file| *file == plain(name))
    }

    /// The bytes of a file on its way.
    fn len(name: &str) -> usize {
        let (_, body, gzip) = FILES.iter().find(|(file, _, _)| *file == name).unwrap();
        gzip.unwrap_or(body).len()
    }
    /// What goes with them is fetched with them.
    const WITH_OTHERS: [&str; 3] = ["play_flv.js", "play_hls.js", "tags.js"];
    /// The page that publishes.
    const PUBLISHER: &str = "publish.html";
    /// What publishes, in a thread of its own, and what is fetched where a browser lacks something.
    const OF_THREADS: [&str; 4] = ["adapt.js", "clock.js", "publish_worker.js", "samples_worklet.js"];
    /// What pages of others import, and no page of ours.
    const OF_OTHERS: &str = "embed.js";
    /// What is on the page that publishes alone.
    const OF_PUBLISHER: [&str; 7] = [
        "capture.js",
        "encoders.js",
        "muxer.js",
        "publish.css",
        "publish.js",
        "publish_words.js",
        "publisher.js",
    ];

    #[test]
    fn the_page_and_its_modules_name_files_that_are_there_and_have_no_code_between_the_lines() {
        let pages = [text(Assets::PLAYER), text(PUBLISHER)];
        let is_there = |name: &str| FILES.iter().any(|(file, _, _)| *file == name);
        let on_pages: Vec<_> = pages.iter().flat_map(|page| named(page, "/assets/", '"')).collect();
        let modules = FILES.iter().map(|(name, ..)| *name).filter(|name| {
            name.ends_with(".js") && !OTHERS.contains(&plain(name).as_str()) && !is_of_dashboard(name)
        });
        for module in modules.clone() {
            let is_later =
                [&WITH_OTHERS[..], &OF_THREADS, &[OF_OTHERS]].concat().contains(&plain(module).as_str());
            assert_ne!(on_pages.contains(&module), is_later, "{module}");
            for name in named(text(module), "'./", '\'') {
                let is_optional = OTHERS.contains(&name) && (!HAS_OTHER_PLAYERS || name == "aac.js");
                assert!(is_there(name) || is_optional, "{module} names {name}");
            }
        }
        assert!(modules.count() > 5 && on_pages.iter().all(|name| is_there(name)), "{on_pages:?}");
        for page in pages {
            for forbidden in ["<style", " style=", " onclick=", "://"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            assert_eq!(
                page.matches("<script").count(),
                page.matches("<script type=\"module\" src=\"/").count()
            );
        }
    }

    /// Whether a file is for who publishes.
    fn publishes(name: &str) -> bool {
        let plain = if name == OF_OTHERS { name.to_owned() } else { plain(name) };
        [&OF_PUBLISHER[..], &OF_THREADS, &[OF_OTHERS]].concat().contains(&plain.as_str()) || name == PUBLISHER
    }

    #[test]
    fn modules_do_what_their_own_tests_say() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/test");
        let tests = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let tests: Vec<_> = tests.filter(|path| path.to_string_lossy().ends_with(".test.js")).collect();
        assert!(tests.len() > 3, "{tests:?}");
        let Ok(run) = std::process::Command::new("node").arg("--test").args(tests).output() else {
            let _ = writeln!(
                std::io::stderr(),
                "SKIP modules_do_what_their_own_tests_say: node is not installed"
            );
            return;
        };
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    }

    #[test]
    fn the_dashboard_names_files_that_are_there_has_no_code_between_the_lines_and_is_small() {
        let page = text(Assets::DASHBOARD);
        let on_page = named(page, "/assets/", '"');
        assert!(on_page.iter().all(|name| FILES.iter().any(|(file, _, _)| file == name)), "{on_page:?}");
        for forbidden in ["<style", " style=", " onclick=", "://"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"/").count());
        if !HAS_OTHER_PLAYERS {
            assert!(page.contains("npm") && page.contains("href=\"/streams\""), "{page}");
            return;
        }
        let all: Vec<_> = FILES.iter().map(|(name, ..)| *name).filter(|name| is_of_dashboard(name)).collect();
        assert_eq!(all.len(), DASHBOARD.len() + WITH_DASHBOARD.len(), "{all:?}");
        assert!(all.iter().all(|name| on_page.contains(name)), "{on_page:?}");
        let first = all.iter().filter(|name| DASHBOARD.contains(&plain(name).as_str())).map(|name| len(name));
        let first = page.len() + first.sum::<usize>();
        let in_all: usize =
            FILES.iter().filter(|(name, ..)| !publishes(name)).map(|(name, ..)| len(name)).sum();
        let largest =
            WITH_DASHBOARD[1..].iter().map(|word| all.iter().find(|name| plain(name) == *word).unwrap());
        let with_words = first + largest.map(|name| len(name)).max().unwrap();
        assert!(with_words <= FIRST_LOAD && in_all <= IN_ALL, "{first}, {with_words} and {in_all} bytes");
    }

    /// Names come from peers: they are to be text nodes, whatever is in them.
    #[test]
    fn no_source_of_the_dashboard_makes_markup_of_text() {
        let mut left = vec![std::path::PathBuf::from("dashboard")];
        let mut seen = 0;
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                seen += 1;
                for forbidden in [
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "document.write",
                    "eval(",
                    "new Function",
                ] {
                    assert!(
                        !source.to_lowercase().contains(&forbidden.to_lowercase()),
                        "{forbidden} in {path:?}"
                    );
                }
            }
        }
        assert!(seen > 20, "{seen} files");
    }

    #[test]
    fn names_carry_a_hash_that_all_files_share() {
        let plain = [Assets::PLAYER, Assets::DASHBOARD, PUBLISHER, OF_OTHERS];
        let hashed = FILES.iter().map(|(name, ..)| *name).filter(|name| !plain.contains(name));
        let hashes: Vec<_> =
            hashed.map(|name| name.rsplit_once('-').unwrap().1.split('.').next().unwrap()).collect();
        assert!(hashes.iter().all(|hash| hash.len() == 16 && *hash == hashes[0]), "{hashes:?}");
    }

    #[test]
    fn the_pages_are_small_and_what_others_made_is_packed_with_its_licences() {
        let is_own = |name: &str| {
            !OTHERS.contains(&plain(name).as_str()) && !is_of_dashboard(name) && plain(name) != "licences.txt"
        };
        let size = |of: &dyn Fn(&str) -> bool| -> usize {
            FILES.iter().filter(|(name, ..)| is_own(name) && of(name)).map(|(_, body, _)| body.len()).sum()
        };
        let (player, publisher) = (size(&|name| !publishes(name)), size(&|name| publishes(name)));
        assert!(player < 65_000 && publisher < 100_000, "{player} and {publisher} bytes");
        let (licences, ..) = FILES.iter().find(|(name, ..)| name.starts_with("licences-")).unwrap();
        assert!(text(licences).contains("Apache-2.0 or MIT"));
        if !HAS_OTHER_PLAYERS {
            // Not eprintln: the test runner swallows what passing tests print that way.
            let _ = writeln!(
                std::io::stderr(),
                "SKIP the_pages_are_small_and_what_others_made_is_packed_with_its_licences: built without the players of others"
            );
            return;
        }
        let is_default = |name: &str| OTHERS.contains(&plain(name).as_str()) && plain(name) != "aac.js";
        let packed = FILES.iter().filter(|(name, ..)| is_default(name));
        let packed: usize = packed.filter_map(|(_, _, gzip)| Some(gzip.as_ref()?.len())).sum();
        assert!(packed > 100_000 && packed < 200_000, "{packed} bytes");
        for part in [
            "mpegts.js 1.8",
            "hls.js 1.7",
            "Apache License",
            "es6-promise",
            "eventemitter3",
            "url-toolkit",
            "preact 11.2",
            "@preact/signals 2.11",
            "@preact/signals-core 1.",
            "uplot 1.6",
        ] {
            assert!(text(licences).contains(part), "{part}");
        }
    }
}
