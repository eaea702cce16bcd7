//! How `reload` reaches a server: a socket in the file system, over which one asks and is told what came of it.
//!
//! A signal would need the server's number and bring no answer: who has changed a file wants to know what was wrong with it, by
//! words and by exit status. Over HTTP it would need a password. A socket belongs to a user, and the kernel says who asks.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as Bound, UnixStream as Asking};
use std::path::{Path, PathBuf};
use std::time::Duration;
use streamengine::Reloaded;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

streamengine::bound! {
    /// How long somebody who has connected may take to ask, and to take the answer; meanwhile others wait
    /// (test `who_says_nothing_or_something_else_is_left_and_others_are_answered`).
    const PATIENCE_TIME: Duration = Duration::from_secs(2), without Duration::from_secs(1 << 30);
}

/// What is asked for: the only thing so far.
const RELOAD: &[u8] = b"reload\n";
/// Pause after an error of the socket.
const PAUSE: Duration = Duration::from_millis(500);

/// What came of it, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It has been done.
    Reloaded(Reloaded),
    /// Nothing has changed: why, and the exit status for that.
    Refused { text: String, status: u8 },
}

/// Where the socket is where nothing else is said: in the folder that systemd makes for a service while it runs.
pub(crate) fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("RUNTIME_DIRECTORY").filter(|folder| !folder.is_empty())?;
    // It may name several.
    let first = folder.to_str()?.split(':').next()?;
    Some(Path::new(first).join("control"))
}

/// The server's end, before it listens.
pub(crate) struct Control {
    socket: Bound,
    file: SocketFile,
}

/// A socket's place in the file system: gone when it is dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The server's end. The file is gone when it is dropped.
pub(crate) struct Listening {
    listener: UnixListener,
    file: SocketFile,
}

impl Control {
    /// Makes the socket, also where a server that has been killed has left its own.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::running(format!("--control {}: {error}", path.display()));
        let socket = match Bound::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(&path) => {
                std::fs::remove_file(&path).and_then(|()| Bound::bind(&path)).map_err(fail)?
            }
            bound => bound.map_err(fail)?,
        };
        socket.set_nonblocking(true).map_err(fail)?;
        Ok(Self { socket, file: SocketFile(path) })
    }

    /// Listens. Needs a tokio runtime.
    pub(crate) fn listen(self) -> io::Result<Listening> {
        Ok(Listening { listener: UnixListener::from_std(self.socket)?, file: self.file })
    }
}

impl Listening {
    /// The next one who connects. Safe to cancel.
    pub(crate) async fn next(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!("--control {}: {error}", self.file.0.display());
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether it is a socket that nobody listens on.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && Asking::connect(path).err().is_some_and(refused)
}

/// Somebody who waits for an answer.
pub(crate) struct Asked(UnixStream);

impl Asked {
    /// Somebody who asks for a reload, and may.
    pub(crate) async fn by(mut stream: UnixStream) -> Option<Self> {
        match stream.peer_cred() {
            Ok(peer) if may_ask(peer.uid()) => {}
            Ok(peer) => {
                tracing::warn!("user {} may not reload this server: it is another's", peer.uid());
                return None;
            }
            Err(_) => return None,
        }
        let mut request = [0; RELOAD.len()];
        let read = timeout(PATIENCE_TIME.get(), stream.read_exact(&mut request)).await;
        (read.is_ok_and(|read| read.is_ok()) && request == RELOAD).then_some(Self(stream))
    }

    pub(crate) async fn answer(mut self, answer: &Answer) {
        let Ok(line) = serde_json::to_vec(answer) else { return };
        let write = async {
            self.0.write_all(&line).await?;
            self.0.shutdown().await
        };
        // Who has asked may be gone.
        let _ = timeout(PATIENCE_TIME.get(), write).await;
    }
}

/// Whoever runs the server, and the administrator.
fn may_ask(user: u32) -> bool {
    user == 0 || user == nix::unistd::geteuid().as_raw()
}

/// Asks the server behind a socket to read its configuration again.
pub(crate) fn ask(path: &Path) -> Result<Answer, Failure> {
    let fail = |what: &str, error: &dyn std::fmt::Display| {
        Failure::running(format!("{}: {what}: {error}", path.display()))
    };
    let mut stream = Asking::connect(path).map_err(|error| fail("no server answers here", &error))?;
    stream.write_all(RELOAD).map_err(|error| fail("the server does not listen", &error))?;
    let mut answer = Vec::new();
    // It takes as long as reading new media files does.
    stream.read_to_end(&mut answer).map_err(|error| fail("the server gives no answer", &error))?;
    match answer.is_empty() {
        true => Err(fail("the server gives no answer", &"it has ended, or this user may not ask it")),
        false => serde_json::from_slice(&answer).map_err(|error| fail("the answer is none", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Answer {
        Answer::Refused { text: text.to_owned(), status: 2 }
    }

    /// Answers all who ask.
    async fn serve(control: Control) {
        let control = control.listen().unwrap();
        loop {
            if let Some(asked) = Asked::by(control.next().await).await {
                asked.answer(&refused("no")).await;
            }
        }
    }

    fn is_refused(answer: Result<Answer, Failure>) -> bool {
        matches!(answer, Ok(Answer::Refused { text, status: 2 }) if text == "no")
    }

    #[tokio::test]
    async fn who_says_nothing_or_something_else_is_left_and_others_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let serving = tokio::spawn(serve(Control::open(path.clone()).unwrap()));
        let silent = Asking::connect(&path).unwrap();
        let mut other = Asking::connect(&path).unwrap();
        other.write_all(b"restart\n").unwrap();
        let asking = tokio::task::spawn_blocking(move || ask(&path));
        let answer = timeout(PATIENCE_TIME.stated() * 10, asking).await.expect("an answer in time");
        assert!(is_refused(answer.unwrap()));
        drop((silent, other));
        serving.abort();
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        assert!(ask(&path).is_err());
        drop(Bound::bind(&path).unwrap());
        let control = Control::open(path.clone()).unwrap();
        assert!(Control::open(path.clone()).is_err(), "somebody listens");
        drop(control);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(Control::open(path.clone()).is_err() && path.exists(), "no file is overwritten");
    }

    #[test]
    fn nobody_else_may_ask() {
        let own = nix::unistd::geteuid().as_raw();
        assert!(may_ask(own) && may_ask(0) && !may_ask(own.wrapping_add(1).max(1)));
    }
}
