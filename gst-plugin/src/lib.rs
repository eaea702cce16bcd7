//! GStreamer elements on the streamengine RTMP engine: `rtmprelaysink` serves a pipeline's stream to players and
//! pushes it to other servers, `rtmpserversrc` takes a publisher's stream into a pipeline, `flvloopsrc` plays an FLV
//! file over and over again.
//!
//! Elements of one process that name the same address and port share one server: see `host.rs`.

mod dispatcher;
mod flv_loop_src;
mod host;
mod log;
mod server_src;
mod sink;
mod time;

use gst::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    log::bridge(plugin);
    sink::register(plugin)?;
    server_src::register(plugin)?;
    flv_loop_src::register(plugin)
}

pub use plugin::plugin_register_static;

mod plugin {
    // What the macro makes has no documentation.
    #![allow(missing_docs)]

    use super::plugin_init;

    gst::plugin_define!(
        streamengine,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_REPOSITORY"),
        env!("BUILD_REL_DATE")
    );
}
