//! A peer that speaks HTTP as far as it is asked to, right or wrong, and plays FLV by it.

use crate::flv::Tag;
use crate::raw::RawPeer;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// How a stream comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In the chunks of a reply.
    Reply,
    /// In the messages of a WebSocket.
    WebSocket,
}

/// Both ways.
pub const WAYS: [Way; 2] = [Way::Reply, Way::WebSocket];

/// A connection, and what has been read of it.
pub struct HttpPeer {
    /// The socket; its reads end after [`PATIENCE`](crate::PATIENCE).
    pub socket: TcpStream,
    input: Vec<u8>,
    way: Way,
    /// What has come of a stream and is no whole tag yet.
    flv: Vec<u8>,
    has_begun: bool,
}

/// A reply as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request without headers but `Host`.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A request for a WebSocket.
pub fn upgrade(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl HttpPeer {
    /// Opens a connection, nothing more.
    pub fn dial(address: SocketAddr) -> io::Result<Self> {
        Self::dial_with(address, None, None)
    }

    /// The same from a given local address and with a small receive buffer.
    pub fn dial_with(to: SocketAddr, from: Option<Ipv4Addr>, buffer: Option<usize>) -> io::Result<Self> {
        let socket = RawPeer::dial_with(to, from, buffer)?.socket;
        Ok(Self { socket, input: Vec::new(), way: Way::Reply, flv: Vec::new(), has_begun: false })
    }

    /// Sends bytes. The other side may have closed already: what it has said then counts.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref());
    }

    /// Reads more; an error at the end.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 65_536];
        match self.socket.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.input.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < len {
            self.read()?;
        }
        Ok(self.input.drain(..len).collect())
    }

    fn take_through(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len());
            }
            self.read()?;
        }
    }

    /// The head of a reply: its status, and the text in lower case.
    pub fn head(&mut self) -> io::Result<(u16, String)> {
        let head = String::from_utf8_lossy(&self.take_through(b"\r\n\r\n")?).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, head))
    }

    /// A whole reply: its status and text.
    pub fn reply(&mut self) -> io::Result<(u16, String)> {
        let answer = self.answer()?;
        Ok((answer.status, answer.text()))
    }

    /// A whole reply.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let (status, head) = self.head()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let body = self.take(length.parse().map_err(io::Error::other)?)?;
        Ok(Answer { status, head, body })
    }

    /// Asks for a target, with header lines that end with CRLF each.
    pub fn fetch(&mut self, target: &str, headers: &str) -> io::Result<Answer> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n"));
        self.answer()
    }

    /// Sends a request and reads its reply.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<(u16, String)> {
        self.send(request);
        self.reply()
    }

    /// Asks to play `app/stream` as FLV; the status of the answer.
    pub fn play(&mut self, way: Way, name: &str) -> io::Result<u16> {
        self.play_as(way, name, "flv")
    }

    /// The same with another ending of the URL.
    pub fn play_as(&mut self, way: Way, name: &str, ending: &str) -> io::Result<u16> {
        let target = format!("/{name}.{ending}");
        self.way = way;
        self.send(if way == Way::Reply { get(&target) } else { upgrade(&target) });
        Ok(self.head()?.0)
    }

    /// What is in the next chunk or message; none at the end of the stream.
    fn content(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.way {
            Way::Reply => {
                let line = self.take_through(b"\r\n")?;
                let size = String::from_utf8_lossy(&line).trim().to_owned();
                let content = self.take(usize::from_str_radix(&size, 16).map_err(io::Error::other)?)?;
                self.take(2)?;
                Ok((!content.is_empty()).then_some(content))
            }
            Way::WebSocket => {
                let (first, content) = self.message()?;
                Ok((first == 0x82).then_some(content))
            }
        }
    }

    /// The first byte of the next frame of a WebSocket, and what is in it.
    pub fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let head = self.take(2)?;
        let len = match head[1] {
            126 => self.take(2)?,
            127 => self.take(8)?,
            short => vec![short],
        };
        let content = self.take(len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))?;
        Ok((head[0], content))
    }

    /// The next tag of the stream; none at its end, and an error where it was cut.
    pub fn tag(&mut self) -> io::Result<Option<Tag>> {
        loop {
            if !self.has_begun && self.flv.len() >= 13 {
                assert!(self.flv.starts_with(b"FLV\x01"), "{:?}", &self.flv[..13]);
                self.flv.drain(..13);
                self.has_begun = true;
            }
            if self.has_begun
                && let Some(tag) = next_tag(&mut self.flv)
            {
                return Ok(Some(tag));
            }
            match self.content()? {
                Some(content) => self.flv.extend(content),
                None => return Ok(None),
            }
        }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read().is_ok() {}
        std::mem::take(&mut self.input)
    }
}

/// Takes a whole tag off `flv`.
fn next_tag(flv: &mut Vec<u8>) -> Option<Tag> {
    let head = flv.get(..11)?;
    let len = 11 + u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
    let (kind, timestamp) = (head[0], u32::from_be_bytes([head[7], head[4], head[5], head[6]]));
    let body = flv.get(11..len)?.to_vec();
    flv.get(len..len + 4)?;
    flv.drain(..len + 4);
    Some(Tag { kind, timestamp, body })
}
