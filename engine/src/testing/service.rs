//! An HTTP service that notes what it is asked, and answers as it is told.

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What was asked.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Method and target.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Which connection it came by.
    pub connection: usize,
}

impl HttpRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The path, without a query.
    pub fn path(&self) -> &str {
        let target = self.line.split(' ').nth(1).unwrap();
        target.split('?').next().unwrap()
    }

    /// The fields of the body, or those of the URL where there is none, in their order.
    pub fn fields(&self) -> Vec<(String, String)> {
        let target = self.line.split(' ').nth(1).unwrap();
        let text = match self.body.as_str() {
            "" => target.split_once('?').map_or("", |(_, query)| query),
            body => body,
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').map(|field| field.split_once('=').unwrap_or((field, "")));
        pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
    }

    /// The last field of that name, as PHP and others keep it.
    pub fn field(&self, name: &str) -> Option<String> {
        self.fields().into_iter().rfind(|(own, _)| own == name).map(|(_, value)| value)
    }
}

/// A running service; its threads end with their connections.
pub struct HttpService {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<HttpRequest>>>,
}

impl HttpService {
    /// A service that has each request answered by `answer`, which writes to the connection.
    pub fn start(answer: impl Fn(&HttpRequest, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<HttpRequest>>>::default());
        let (notes, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for (connection, socket) in listener.incoming().enumerate() {
                let (notes, answer) = (notes.clone(), answer.clone());
                thread::spawn(move || {
                    let mut socket = socket.unwrap();
                    let mut reader = BufReader::new(socket.try_clone().unwrap());
                    while let Some(request) = read(&mut reader, connection) {
                        notes.lock().push(request.clone());
                        answer(&request, &mut socket);
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// A service that answers each request with this text.
    pub fn that_says(text: &str) -> Self {
        let text = text.to_owned();
        Self::start(move |_, socket| say(socket, &text))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was asked until now.
    pub fn asked(&self) -> Vec<HttpRequest> {
        self.asked.lock().clone()
    }

    /// The calls of nginx-rtmp's form, in their order.
    pub fn calls(&self) -> Vec<String> {
        self.asked().iter().filter_map(|request| request.field("call")).collect()
    }
}

/// Writes an answer; who has gone does not hear it.
pub fn say(socket: &mut TcpStream, text: &str) {
    let _ = socket.write_all(text.as_bytes());
}

/// An answer with a body.
pub fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An answer in JSON.
pub fn json(body: &str) -> String {
    reply("200 OK", "Content-Type: application/json\r\n", body)
}

fn read(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<HttpRequest> {
    let mut next = || {
        let mut line = String::new();
        let count = reader.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    };
    let line = next()?;
    let mut headers = Vec::new();
    loop {
        let header = next()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(HttpRequest { line, headers, body: String::from_utf8(body).unwrap(), connection })
}
