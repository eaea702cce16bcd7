//! Signals, and the actions that applications call by them.

use super::{RtmpRelaySink, TargetState};
use gst::glib;
use gst::glib::subclass::Signal;
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::ops::ControlFlow;
use streamengine::SessionId;

pub(super) fn signals() -> Vec<Signal> {
    let number = u32::static_type();
    let structure = gst::Structure::static_type();
    let text = String::static_type();
    vec![
        player_connecting(),
        Signal::builder("play-started").param_types([number, structure]).build(),
        Signal::builder("play-ended").param_types([number, text, structure]).build(),
        Signal::builder("target-state").param_types([number, TargetState::static_type(), structure]).build(),
        action("add-target", &[text, structure], |sink, arguments| {
            let url = arguments.first()?.get::<Option<String>>().ok()?.unwrap_or_default();
            let options = arguments.get(1)?.get::<Option<gst::Structure>>().ok()?;
            Some(sink.add_target(&url, options))
        }),
        action("remove-target", &[number], |sink, arguments| Some(sink.remove_target(id(arguments)?))),
        action("restart-target", &[number], |sink, arguments| Some(sink.restart_target(id(arguments)?))),
        action("kick-player", &[number], |sink, arguments| Some(sink.kick_player(id(arguments)?))),
    ]
}

/// Asks every handler until one says no. Without any, all may play.
fn player_connecting() -> Signal {
    Signal::builder("player-connecting")
        .param_types([gst::Structure::static_type()])
        .return_type::<bool>()
        .run_last()
        .class_handler(|_| Some(true.to_value()))
        .accumulator(|_, _, answer| match answer.get::<bool>() {
            Ok(false) => ControlFlow::Break(false.to_value()),
            _ => ControlFlow::Continue(true.to_value()),
        })
        .build()
}

/// A signal that applications emit to have `act` done. It gets the arguments behind the element.
fn action<R: StaticType + Into<glib::Value>>(
    name: &str,
    parameters: &[glib::Type],
    act: impl Fn(&RtmpRelaySink, &[glib::Value]) -> Option<R> + Send + Sync + 'static,
) -> Signal {
    Signal::builder(name)
        .param_types(parameters.iter().copied())
        .return_type::<R>()
        .action()
        .run_last()
        .class_handler(move |arguments| {
            let (element, arguments) = arguments.split_first()?;
            act(&element.get().ok()?, arguments).map(Into::into)
        })
        .build()
}

fn id(arguments: &[glib::Value]) -> Option<u32> {
    arguments.first()?.get().ok()
}

/// Actions.
impl RtmpRelaySink {
    /// The id of the new target; 0 where the URL or an option is wrong, which is a warning too.
    fn add_target(&self, url: &str, options: Option<gst::Structure>) -> u32 {
        let added = self.imp().with_targets(|targets, run| targets.add_target(url, options, run));
        added.unwrap_or_else(|error| {
            gst::element_warning!(self, gst::ResourceError::Settings, ("{error}"));
            0
        })
    }

    fn remove_target(&self, id: u32) -> bool {
        self.imp().with_targets(|targets, run| targets.remove(id, run.map(|run| run.engine)))
    }

    fn restart_target(&self, id: u32) -> bool {
        self.imp().with_targets(|targets, run| run.is_some_and(|run| targets.restart(id, run.engine)))
    }

    fn kick_player(&self, id: u32) -> bool {
        let session = SessionId(id.into());
        let engine = self.imp().engine().filter(|_| self.imp().audience.is_player(session));
        engine.is_some_and(|engine| engine.kick(session, "kicked").is_ok())
    }
}
