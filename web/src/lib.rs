//! Files for browsers that an engine serves over HTTP: the page of a player, and the one that publishes a camera or a screen.
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
//! hls.js, are what the page loads where ours cannot play. npm makes them when this crate is built, which needs Node.js 18
//! or later, and a network or npm's cache. Without them, or with `STREAMENGINE_WEB=off` or `CARGO_NET_OFFLINE=true` in the
//! environment, the page does without. `STREAMENGINE_WEB=/A/FOLDER` takes those that `npm ci && node build.js /A/FOLDER` has
//! made before.
#![forbid(unsafe_code)]

use streamengine::Assets;

/// A file's name, its bytes, and the same packed with gzip.
type File = (&'static str, &'static [u8], Option<&'static [u8]>);

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Whether this build has the page, with our own player.
pub const HAS_PLAYER: bool = !FILES.is_empty();

/// Whether it has the players of others too: npm has made them.
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

    const OTHERS: [&str; 2] = ["mpegts.js", "hls.js"];
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
        let modules = FILES
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| name.ends_with(".js") && !OTHERS.contains(&plain(name).as_str()));
        for module in modules.clone() {
            let is_later =
                [&WITH_OTHERS[..], &OF_THREADS, &[OF_OTHERS]].concat().contains(&plain(module).as_str());
            assert_ne!(on_pages.contains(&module), is_later, "{module}");
            for name in named(text(module), "'./", '\'') {
                let is_optional = OTHERS.contains(&name) && !HAS_OTHER_PLAYERS;
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
    fn names_carry_a_hash_that_all_files_share() {
        let plain = [Assets::PLAYER, PUBLISHER, OF_OTHERS];
        let hashed = FILES.iter().map(|(name, ..)| *name).filter(|name| !plain.contains(name));
        let hashes: Vec<_> =
            hashed.map(|name| name.rsplit_once('-').unwrap().1.split('.').next().unwrap()).collect();
        assert!(hashes.iter().all(|hash| hash.len() == 16 && *hash == hashes[0]), "{hashes:?}");
    }

    #[test]
    fn the_pages_are_small_and_what_others_made_is_packed_with_its_licences() {
        let is_own = |name: &str| !OTHERS.contains(&plain(name).as_str()) && plain(name) != "licences.txt";
        let publishes = |name: &str| {
            let plain = plain(name);
            [&OF_PUBLISHER[..], &OF_THREADS].concat().contains(&plain.as_str()) || name == PUBLISHER
        };
        let size = |of: &dyn Fn(&str) -> bool| -> usize {
            FILES.iter().filter(|(name, ..)| is_own(name) && of(name)).map(|(_, body, _)| body.len()).sum()
        };
        let (player, publisher) = (size(&|name| !publishes(name)), size(&publishes));
        assert!(player < 65_000 && publisher < 90_000, "{player} and {publisher} bytes");
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
        let packed: usize = FILES.iter().filter_map(|(_, _, gzip)| Some(gzip.as_ref()?.len())).sum();
        assert!(packed > 100_000 && packed < 200_000, "{packed} bytes");
        for part in
            ["mpegts.js 1.8", "hls.js 1.7", "Apache License", "es6-promise", "eventemitter3", "url-toolkit"]
        {
            assert!(text(licences).contains(part), "{part}");
        }
    }
}
