//! Installed by meson, or only named by `GST_PLUGIN_PATH`, the plugin is found.
#![cfg(target_os = "linux")]

mod outside;

use outside::{Gst, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;
use streamengine_tests::needs;

/// Meson's cargo has a target folder of its own, the one of the C library's test: most of what it builds is the same.
fn meson(arguments: &[&str]) -> String {
    let mut command = Command::new("meson");
    command.args(arguments).current_dir(outside::root()).env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("install/meson"));
    // What cargo has set for this test is not meant for another cargo.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    succeed(&mut command)
}

#[test]
fn meson_installs_the_plugin_where_gstreamer_looks() {
    needs!("cc", "python3", "meson", "ninja", "pkg-config", "gst-inspect-1.0");
    let (build, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, to) = (build.path().to_str().unwrap(), prefix.path().to_str().unwrap());
    let options = ["--libdir", "lib", "--buildtype", "debug", "--werror", "-Dgst_plugin=enabled"];
    meson(&[&["setup", folder, "--prefix", to, "-Dexamples=false"][..], &options].concat());
    meson(&["compile", "-C", folder, "gststreamengine"]);
    let again = succeed(Command::new("ninja").args(["-C", folder, "-n", "libgststreamengine.so"]));
    assert!(again.contains("no work to do"), "{again}");
    meson(&["test", "-C", folder, "--no-rebuild", "gst-plugin"]);
    meson(&["install", "-C", folder, "--no-rebuild", "--tags", "gst-plugin"]);
    is_found_in(&prefix.path().join("lib/gstreamer-1.0"));
}

fn is_found_in(folder: &Path) {
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, [folder.join("libgststreamengine.so")]);
    let text = Gst::with_plugins_of(folder).inspect("streamengine");
    assert!(text.contains(&format!("Filename                 {}\n", files[0].display())), "{text}");
    for element in ["flvloopsrc", "rtmprelaysink", "rtmpserversrc"] {
        assert!(text.contains(&format!("  {element}: ")), "{text}");
    }
}

/// The recipe of the README: cargo's folder as it is, with libraries in it that are no plugins.
#[test]
fn cargos_folder_is_good_enough_for_gst_plugin_path() {
    needs!("gst-inspect-1.0");
    let gst = Gst::with_plugins_of(outside::library().parent().unwrap());
    assert!(gst.inspect("rtmprelaysink").contains("Sink/Network"));
    let blacklist = succeed(gst.command("gst-inspect-1.0").args(["--no-colors", "--print-blacklist"]));
    assert!(!blacklist.contains("libgststreamengine"), "{blacklist}");
}

#[test]
fn meson_leaves_the_plugin_out_where_gstreamer_is_missing_unless_it_is_asked_for() {
    needs!("cc", "python3", "meson", "ninja", "pkg-config");
    for (option, is_fine) in [("auto", true), ("disabled", true), ("enabled", false)] {
        let build = tempfile::tempdir().unwrap();
        let mut command = Command::new("meson");
        command.args(["setup", "-Dtests=false", "-Dexamples=false"]).arg(format!("-Dgst_plugin={option}"));
        command.arg(build.path()).current_dir(outside::root());
        // A machine without any development package.
        command.env("PKG_CONFIG_LIBDIR", build.path()).env_remove("PKG_CONFIG_PATH");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.success(), is_fine, "{option}: {text}");
        assert!(!is_fine || !build_file(build.path()).contains("libgststreamengine.so"), "{option}");
    }
}

fn build_file(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("build.ninja")).unwrap()
}
