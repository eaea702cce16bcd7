//! Serves a live test picture with sound, and adds, removes and restarts targets while it runs, by commands on stdin.
//!
//!     cargo run -p gst-plugin-streamengine --example targets [PORT]
//!
//! Commands: `add URL`, `remove ID`, `restart ID`, `list`, `quit`; the end of the input is `quit`, and so is Ctrl-C.
//! `examples/gst/targets.py` is the same in Python.

#![allow(clippy::print_stdout)]

use gst::glib;
use gst::prelude::*;
use nix::sys::signal::{SigSet, Signal};
use std::error::Error;
use std::io::BufRead;
use std::thread;

/// `add-target` with this only to show how; an empty structure, or none, leaves all to the element's properties.
const TARGET_OPTIONS: &str = "options,reconnect-min=(uint)500";

fn main() -> Result<(), Box<dyn Error>> {
    let port: u32 = std::env::args().nth(1).unwrap_or_else(|| "1935".to_owned()).parse()?;
    // Before there are threads: each has from its parent which signals it takes.
    let interrupts = SigSet::from(Signal::SIGINT);
    interrupts.thread_block()?;
    gst::init()?;
    // Compiled in: this program needs no installed plugin.
    gststreamengine::plugin_register_static()?;

    let pipeline = gst::parse::launch(
        "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 ! rtmprelaysink name=sink sync=false \
         audiotestsrc is-live=true wave=ticks ! avenc_aac ! aacparse ! sink.",
    )?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "not a pipeline")?;
    let sink = pipeline.by_name("sink").ok_or("no sink")?;
    sink.set_property("port", port);
    // Comes on a thread of the element's own, with no lock held: any call back into the element is fine.
    sink.connect("target-state", false, |arguments| {
        if let Some(Ok(info)) = arguments.get(3).map(|info| info.get::<gst::Structure>()) {
            println!("{}", line(&info));
        }
        None
    });

    // Where it fails, an error with the cause waits on the bus.
    if pipeline.set_state(gst::State::Playing).is_ok() {
        println!("playing at rtmp://127.0.0.1:{}/live/stream", sink.property::<u32>("current-port"));
        let commanded = pipeline.clone();
        thread::spawn(move || read_commands(&commanded, &sink));
    }
    let interrupted = pipeline.clone();
    thread::spawn(move || {
        if interrupts.wait().is_ok() {
            end(&interrupted);
        }
        // A second one ends the program at once.
        interrupts.thread_unblock()
    });
    let ended = watch(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    ended
}

fn read_commands(pipeline: &gst::Pipeline, sink: &gst::Element) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if !obey(sink, &line) {
            break;
        }
    }
    end(pipeline);
}

/// Through the whole pipeline: players and targets get all that has been encoded, then the stream's end.
fn end(pipeline: &gst::Pipeline) {
    pipeline.send_event(gst::event::Eos::new());
}

/// Does what a line asks for; false if it is the last.
fn obey(sink: &gst::Element, line: &str) -> bool {
    let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let id = || argument.parse::<u32>().unwrap_or(0);
    match command {
        "add" => {
            let options = TARGET_OPTIONS.parse::<gst::Structure>().ok();
            match sink.emit_by_name::<u32>("add-target", &[&argument, &options]) {
                0 => println!("not a URL to push to: {argument}"),
                id => println!("target {id} added"),
            }
        }
        "remove" if sink.emit_by_name::<bool>("remove-target", &[&id()]) => {
            println!("target {} removed", id())
        }
        "restart" if sink.emit_by_name::<bool>("restart-target", &[&id()]) => {}
        "remove" | "restart" => println!("no target {argument}"),
        "list" => list(sink),
        "quit" => return false,
        _ => println!("commands: add URL, remove ID, restart ID, list, quit"),
    }
    true
}

/// Players and targets, out of the statistics.
fn list(sink: &gst::Element) {
    let stats = sink.property::<gst::Structure>("stats");
    println!("{} players", stats.get::<u32>("players").unwrap_or(0));
    let targets = stats.get::<gst::List>("targets-list").unwrap_or_default();
    for target in targets.iter().filter_map(|target| target.get::<gst::Structure>().ok()) {
        println!("{}, {} bytes sent", line(&target), target.get::<u64>("bytes-sent").unwrap_or(0));
    }
}

/// What is known of a target, in a line; in the statistics two fields have other names than in messages.
fn line(info: &gst::StructureRef) -> String {
    let text = |names: [&str; 2]| names.into_iter().find_map(|name| info.get::<String>(name).ok());
    let (uri, state) = (text(["uri", "uri-masked"]), info.get::<String>("state").ok());
    let error = text(["error", "last-error"]).map(|error| format!(": {error}"));
    let [uri, state, error] = [uri, state, error].map(Option::unwrap_or_default);
    format!("target {} {uri} {state}{error}", info.get::<u32>("id").unwrap_or(0))
}

/// Reads the pipeline's messages to its end.
fn watch(pipeline: &gst::Pipeline) -> Result<(), Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("no bus")?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => return Ok(()),
            gst::MessageView::Error(error) => return Err(describe(error.src(), &error.error()).into()),
            gst::MessageView::Warning(warning) => {
                println!("warning: {}", describe(warning.src(), &warning.error()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn describe(source: Option<&gst::Object>, error: &glib::Error) -> String {
    format!("{}: {error}", source.map(|source| source.name()).unwrap_or_default())
}
