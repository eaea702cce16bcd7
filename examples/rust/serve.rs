//! Serves RTMP and prints what happens.
//!
//!     cargo run --example serve -- 127.0.0.1:1935
//!
//! Publish with `ffmpeg -re -i FILE -c copy -f flv rtmp://127.0.0.1/live/demo`, play with `ffplay` on the same URL.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::net::SocketAddr;
use streamengine::{Action, AuthRequest, Engine, Grant, Received, Ticket};

fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr =
        std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1935".to_owned()).parse()?;

    // Who may publish: everybody here, but not under the app "private". A real program would look at
    // `request.name.secret` or `request.name.query_value("token")`, and may answer the ticket later.
    let authorize = |request: AuthRequest, ticket: Ticket| match request.action {
        Action::Publish if request.stream().app() == "private" => ticket.reject("this app is not for you"),
        _ => ticket.accept(Grant::default()),
    };

    let engine = Engine::builder().listen_rtmp(address).authorize(authorize).start()?;
    let mut events = engine.events();
    for listener in engine.listeners() {
        println!("serving {}://{}", listener.protocol, listener.address);
    }
    while let Some(received) = events.blocking_next() {
        match received {
            Received::Event(event) => println!("{event:?}"),
            Received::Lagged(count) => println!("({count} events lost)"),
        }
    }
    Ok(())
}
