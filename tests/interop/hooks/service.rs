//! An HTTP service that answers as a row of the table has it, and notes what it is asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What the service answers, of a row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Says {
    /// A status, headers and a body. `PUSH` in the headers stands for a server that takes streams.
    Reply(&'static str, &'static str, &'static str),
    /// 200 with so many bytes behind it.
    Big(usize),
    /// These bytes, then the end of the connection.
    Raw(&'static str),
    /// The same, and the connection stays.
    Stays(&'static str),
    /// Nothing, for as long as somebody waits.
    Silence,
    /// What [`book`] says.
    Book,
    /// 200 where the last field of this name has this value, as back ends that keep the last of two see it; else 403.
    Last(&'static str, &'static str),
    /// 200 where the fields end with these, as they are; else 403.
    Ends(&'static str),
    /// This for a call, and 200 for the others.
    To(&'static str, &'static Says),
}

/// The keys of a service: as the name, where they lead to the public one, or beside it, as the field `key`.
fn book(asked: &Asked) -> Says {
    const NO: Says = Says::Reply("403 Forbidden", "", "");
    let name = asked.last("name").unwrap_or_default();
    match (name.as_str(), asked.last("key").as_deref()) {
        ("k-alice", None) => Says::Reply("302 Found", "Location: alice\r\n", ""),
        // Rotated: the old one is good for a while.
        ("k-old" | "k-new", None) => Says::Reply("302 Found", "Location: bob\r\n", ""),
        ("alice", Some("k-alice")) => Says::Reply("200 OK", "", ""),
        // Of another name, expired, blocked, none.
        _ => NO,
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and target.
    pub(crate) line: String,
    /// The fields as they came, in the body or the URL.
    pub(crate) text: String,
}

impl Asked {
    /// Name and value of all fields, in their order.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let pairs = self.text.split('&').map(|field| field.split_once('=').unwrap_or((field, "")));
        pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
    }

    /// The last field of that name, for a back end as lenient as there are: spaces before a name are none, what is in
    /// brackets behind it is not looked at, letters are as good as capitals, and semicolons as good as ampersands.
    pub(crate) fn last(&self, name: &str) -> Option<String> {
        let mut pairs = self.text.split(['&', ';']).map(|field| field.split_once('=').unwrap_or((field, "")));
        let is_it = |own: &str| {
            let own = decoded(own).to_lowercase();
            own.trim_start().split('[').next() == Some(name)
        };
        pairs.rfind(|(own, _)| is_it(own)).map(|(_, value)| decoded(value))
    }

    /// The first field of that name, which is the server's.
    pub(crate) fn first(&self, name: &str) -> String {
        self.fields().into_iter().find(|(own, _)| own == name).map_or_else(String::new, |(_, value)| value)
    }

    /// What it is about.
    pub(crate) fn call(&self) -> String {
        self.first("call")
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (byte, _) => {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct State {
    says: Says,
    asked: Vec<Asked>,
}

/// A running service. It closes each connection behind its answer, for which nginx waits.
pub(crate) struct Service {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// Starts one; `push` is the server that takes streams.
    pub(crate) fn start(push: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound address");
        let state = Arc::new(Mutex::new(State { says: Says::Reply("200 OK", "", ""), asked: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                std::thread::spawn(move || serve(socket, &state, push));
            }
        });
        Self { address, state }
    }

    /// What it answers from now on.
    pub(crate) fn says(&self, says: Says) {
        locked(&self.state).says = says;
    }

    /// How many requests there have been.
    pub(crate) fn mark(&self) -> usize {
        locked(&self.state).asked.len()
    }

    /// The requests since then.
    pub(crate) fn asked_since(&self, mark: usize) -> Vec<Asked> {
        locked(&self.state).asked[mark..].to_vec()
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut socket: TcpStream, state: &Mutex<State>, push: SocketAddr) {
    let Some(asked) = read(&socket) else { return };
    let says = {
        let mut state = locked(state);
        state.asked.push(asked.clone());
        // The end of one row comes with the next one.
        if asked.call().ends_with("done") { Says::Reply("200 OK", "", "") } else { state.says }
    };
    answer(&mut socket, says, &asked, push);
}

fn answer(socket: &mut TcpStream, says: Says, asked: &Asked, push: SocketAddr) {
    let status = |is_good| Says::Reply(if is_good { "200 OK" } else { "403 Forbidden" }, "", "");
    match says {
        Says::Reply(status, headers, body) => {
            let headers = headers.replace("PUSH", &push.to_string());
            say(socket, &reply(status, &headers, body));
        }
        Says::Big(size) => say(socket, &reply("200 OK", "", &"x".repeat(size))),
        Says::Raw(text) => say(socket, text),
        Says::Stays(text) => {
            say(socket, text);
            drop(socket.read(&mut [0]));
        }
        Says::Silence => drop(socket.read(&mut [0])),
        Says::Book => answer(socket, book(asked), asked, push),
        Says::Last(name, value) => {
            answer(socket, status(asked.last(name).as_deref() == Some(value)), asked, push);
        }
        Says::Ends(fields) => {
            answer(socket, status(asked.text.ends_with(&format!("&{fields}"))), asked, push)
        }
        Says::To(call, says) if asked.call() == call => answer(socket, *says, asked, push),
        Says::To(..) => answer(socket, status(true), asked, push),
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Who has gone does not hear it.
fn say(socket: &mut TcpStream, text: &str) {
    let _ = socket.write_all(text.as_bytes());
}

fn read(socket: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(socket);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0).map(|_| line.trim_end().to_owned())
    };
    let line = next()?;
    let mut length = 0;
    while let Some((name, value)) = next()?.split_once(':') {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let query = line.split(' ').nth(1)?.split_once('?').map_or("", |(_, query)| query);
    let text = if body.is_empty() { query.to_owned() } else { String::from_utf8_lossy(&body).into_owned() };
    Some(Asked { line, text })
}
