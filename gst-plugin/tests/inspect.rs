//! What `gst-inspect-1.0` shows is complete, and changes only on purpose: `UPDATE_INSPECT=1` writes it anew.

mod outside;

use gst::glib;
use gst::prelude::*;
use outside::{Gst, succeed};
use std::process::Command;
use std::sync::Once;
use streamengine_tests::needs;

const ELEMENTS: &[&str] = &["flvloopsrc", "rtmprelaysink", "rtmpserversrc"];

/// The release whose way of writing the kept texts have.
const SNAPSHOT_OF: &str = "GStreamer 1.22.";

fn factory(element: &str) -> gst::ElementFactory {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        gst::init().unwrap();
        gststreamengine::plugin_register_static().unwrap();
    });
    gst::ElementFactory::find(element).unwrap_or_else(|| panic!("no {element}"))
}

fn create(element: &str) -> gst::Element {
    factory(element).create().build().unwrap()
}

/// The element's own properties, without those of the bin that it is.
fn properties(element: &gst::Element) -> Vec<glib::ParamSpec> {
    let all = element.list_properties();
    all.iter().filter(|property| property.owner_type() == element.type_()).cloned().collect()
}

/// Without what each build and machine has of its own.
fn masked(text: &str) -> String {
    let mask = |line: &str| {
        let field = ["Filename", "Version", "Source release date"]
            .into_iter()
            .find(|field| line.trim_start().starts_with(&format!("{field}  ")) || line.trim() == *field);
        let width = |field: &str| line.find(field).unwrap_or(0) + field.len();
        let line = field.map_or(line.to_owned(), |field| format!("{}  (masked)", &line[..width(field)]));
        line.trim_end().to_owned() + "\n"
    };
    text.lines().map(mask).collect()
}

fn compare(name: &str) {
    needs!("gst-inspect-1.0");
    let gst = Gst::new();
    let version = succeed(gst.command("gst-inspect-1.0").arg("--version"));
    let path = outside::root().join("gst-plugin/tests/inspect").join(format!("{name}.txt"));
    let text = masked(&gst.inspect(name));
    if std::env::var_os("UPDATE_INSPECT").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(&path, text).unwrap();
    }
    if !version.contains(SNAPSHOT_OF) {
        return eprintln!("not compared: this is not {SNAPSHOT_OF}x:\n{version}");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now);
    assert!(
        kept == text,
        "{} is out of date (first at {differs:?}); UPDATE_INSPECT=1 cargo test -p gst-plugin-streamengine --test inspect",
        path.display()
    );
}

#[test]
fn the_plugin_is_described_as_kept() {
    compare("streamengine");
}

#[test]
fn the_loop_is_described_as_kept() {
    compare("flvloopsrc");
}

#[test]
fn the_sink_is_described_as_kept() {
    compare("rtmprelaysink");
}

#[test]
fn the_source_is_described_as_kept() {
    compare("rtmpserversrc");
}

#[test]
fn machine_and_build_are_masked_and_nothing_else() {
    let text =
        "  Filename                 /x/y.so\n  Version                  1\n  Versions  2 \n  Name  n\n";
    assert_eq!(masked(text), "  Filename  (masked)\n  Version  (masked)\n  Versions  2\n  Name  n\n");
}

#[test]
fn the_plugin_loads_and_has_these_elements_only() {
    needs!("gst-inspect-1.0");
    let gst = Gst::new();
    let text = gst.inspect("streamengine");
    assert!(text.contains(&format!("  +-- {} elements\n", ELEMENTS.len())), "{text}");
    for element in ELEMENTS {
        assert!(text.contains(&format!("  {element}: ")), "{text}");
    }
    let blacklist = succeed(gst.command("gst-inspect-1.0").args(["--no-colors", "--print-blacklist"]));
    assert!(!blacklist.contains("libgststreamengine"), "{blacklist}");
    assert!(blacklist.contains("0 blacklisted files"), "{blacklist}");
}

#[test]
fn the_plugin_exports_what_gstreamer_calls_and_nothing_else() {
    needs!("nm");
    let text = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(outside::library()));
    let mut symbols: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    symbols.sort_unstable();
    assert_eq!(symbols, ["gst_plugin_streamengine_get_desc", "gst_plugin_streamengine_register"]);
}

#[test]
fn every_element_says_what_it_is_and_is_never_plugged_by_itself() {
    for element in ELEMENTS {
        let factory = factory(element);
        assert_eq!(factory.rank(), gst::Rank::NONE, "{element}");
        for key in ["long-name", "klass", "description", "author"] {
            assert!(factory.metadata(key).is_some_and(|text| !text.is_empty()), "{element}: {key}");
        }
        let klass = factory.metadata("klass").unwrap_or_default();
        let is_known = ["Sink/Network", "Source/Network", "Source/File"].contains(&klass);
        assert!(is_known, "{element}: {klass}");
    }
}

#[test]
fn every_property_has_its_texts_and_the_states_in_which_it_may_change() {
    let mutable =
        gst::PARAM_FLAG_MUTABLE_READY | gst::PARAM_FLAG_MUTABLE_PAUSED | gst::PARAM_FLAG_MUTABLE_PLAYING;
    for element in ELEMENTS {
        let properties = properties(&create(element));
        assert!(properties.len() >= 2, "{element}");
        for property in properties {
            let name = format!("{element}: {}", property.name());
            let blurb = property.blurb().unwrap_or_default();
            assert!(blurb.len() >= 10 && blurb != property.name(), "{name}: blurb {blurb:?}");
            assert!(
                blurb.starts_with(char::is_uppercase) && !blurb.ends_with('.'),
                "{name}: blurb {blurb:?}"
            );
            assert!(!property.nick().is_empty(), "{name}: nick");
            let flags = property.flags();
            let is_writable = flags.contains(glib::ParamFlags::WRITABLE);
            assert_eq!(is_writable, flags.intersects(mutable), "{name}: when it may change");
            assert!(is_writable || flags.contains(glib::ParamFlags::READABLE), "{name}");
            check_unit(&name, &property, blurb);
            check_values(&name, &property);
        }
    }
}

/// Times and sizes say what they count.
fn check_unit(name: &str, property: &glib::ParamSpec, blurb: &str) {
    let is_number = ["guint", "gint", "guint64", "gint64"].contains(&property.value_type().name());
    let is_time = ["time", "timeout", "latency", "-min", "-max"];
    let is_time = is_time.iter().any(|end| property.name().ends_with(end)) || property.name() == "ts-offset";
    if is_number && is_time {
        let has_unit = [" ms", " ns"].iter().any(|unit| blurb.contains(unit));
        assert!(has_unit, "{name}: no unit in {blurb:?}");
    }
}

/// Values of an enumeration are words that a launch line can have, and explained.
fn check_values(name: &str, property: &glib::ParamSpec) {
    let nicks: Vec<(String, String)> = if let Some(class) = glib::EnumClass::with_type(property.value_type())
    {
        class.values().iter().map(|value| (value.nick().to_owned(), value.name().to_owned())).collect()
    } else if let Some(class) = glib::FlagsClass::with_type(property.value_type()) {
        class.values().iter().map(|value| (value.nick().to_owned(), value.name().to_owned())).collect()
    } else {
        return;
    };
    assert!(nicks.len() >= 2, "{name}");
    for (nick, text) in nicks {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(nick.chars().all(is_plain), "{name}: {nick}");
        assert!(
            text.starts_with(char::is_uppercase) || text.starts_with(&nick[..1]),
            "{name}: {nick}: {text}"
        );
    }
}

#[test]
fn every_element_is_documented_with_the_version_that_brought_it() {
    let book = outside::read("docs/gstreamer.md");
    for element in ELEMENTS {
        let (_, section) =
            book.split_once(&format!("## `{element}`\n")).unwrap_or_else(|| panic!("{element}"));
        assert!(section.trim_start().starts_with("Since 0.1"), "{element} in docs/gstreamer.md");
    }
}
