//! Files for browsers that an engine serves over HTTP: the page of a player, made by npm when this crate is built.
//!
//! ```no_run
//! # fn main() -> streamengine::Result<()> {
//! let builder = streamengine::Engine::builder().assets(streamengine_web::assets());
//! let engine = builder.listen_http("127.0.0.1:8080".parse().unwrap()).start()?;
//! # Ok(())
//! # }
//! ```
//!
//! Building it needs Node.js 18 or later with npm, and a network or npm's cache. Without them, or with
//! `STREAMENGINE_WEB=off` or `CARGO_NET_OFFLINE=true` in the environment, there are no files, and the engine's pages say how to
//! get them. `STREAMENGINE_WEB=/A/FOLDER` takes those that `npm ci && node build.js /A/FOLDER` has made before.
#![forbid(unsafe_code)]

use streamengine::Assets;

/// A file's name, its bytes, and the same packed with gzip.
type File = (&'static str, &'static [u8], Option<&'static [u8]>);

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Whether this build has the player: npm has made it.
pub const HAS_PLAYER: bool = !FILES.is_empty();

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

    /// The files, where there are some; else a line that says why the running test does without.
    fn files() -> Option<&'static [File]> {
        if !HAS_PLAYER {
            let test = std::thread::current().name().unwrap_or("?").to_owned();
            // Not eprintln: the test runner swallows what passing tests print that way.
            let _ = writeln!(std::io::stderr(), "SKIP {test}: built without the player");
            return None;
        }
        Some(FILES)
    }

    fn text(name: &str) -> &'static str {
        let (_, body, _) = FILES.iter().find(|(file, _, _)| *file == name).unwrap();
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn the_page_names_files_that_are_there_and_has_no_code_of_its_own() {
        let Some(files) = files() else { return };
        let page = text(Assets::PLAYER);
        let named: Vec<_> =
            page.split("/assets/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(named.len(), files.len() - 1, "{named:?}");
        for name in named {
            assert!(files.iter().any(|(file, _, gzip)| *file == name && gzip.is_some()), "{name}");
        }
        for forbidden in ["<style", " style=", " onclick=", "://"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"/").count());
    }

    #[test]
    fn the_player_is_small_and_its_licences_are_with_it() {
        let Some(files) = files() else { return };
        let packed: usize = files.iter().filter_map(|(_, _, gzip)| Some(gzip.as_ref()?.len())).sum();
        assert!(packed < 100_000, "{packed} bytes");
        let licences = files.iter().find(|(name, _, _)| name.starts_with("licences-")).unwrap().0;
        for part in ["mpegts.js 1.8", "Apache License", "es6-promise"] {
            assert!(text(licences).contains(part), "{part}");
        }
    }
}
