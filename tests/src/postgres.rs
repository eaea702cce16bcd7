//! A PostgreSQL server with a folder and an address of its own, as Debian's package has it.

use crate::{PATIENCE, Proc, Signal, find_program, free_address, is_root, poll};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The folder of the server's programs, which Debian keeps out of `PATH`.
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max()
}

/// A running server with one user, `streamengine`, whom it asks for no password.
pub struct Postgres {
    /// Where it listens.
    pub address: SocketAddr,
    process: Proc,
    folder: TempDir,
}

impl Postgres {
    /// Starts one with an empty database.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status();
            assert!(owned.is_ok_and(|status| status.success()), "the package makes a user postgres");
        }
        let data = folder.path().join("data");
        let mut make = program("initdb");
        make.args(["--auth=trust", "--username=streamengine", "--encoding=UTF8", "--no-sync", "--pgdata"])
            .arg(&data);
        Proc::spawn("initdb", make).succeed(PATIENCE);
        let address = free_address();
        let process = serve(&data, address);
        Self { address, process, folder }
    }

    /// The database, as a program has it.
    pub fn url(&self) -> String {
        format!("postgres://streamengine@{}/postgres", self.address)
    }

    /// Ends it at once, with all its connections.
    pub fn kill(&self) {
        self.process.signal(Signal::QUIT);
        assert!(self.process.try_wait(PATIENCE).is_some(), "it ends: {}", self.process.log());
    }

    /// Starts it again, where it was, with what it had.
    pub fn restart(&mut self) {
        self.process = serve(&self.folder.path().join("data"), self.address);
    }

    /// Runs statements as somebody else does; what they give, one row in a line.
    pub fn sql(&self, statements: &str) -> String {
        let mut psql = Command::new(find_program("psql").expect("psql"));
        psql.arg(self.url()).args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        psql.args(["--set", "ON_ERROR_STOP=1", "--command", statements]);
        let done = psql.output().expect("psql");
        assert!(done.status.success(), "{statements}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

/// The server refuses to be root.
fn program(name: &str) -> Command {
    let path = programs().expect("PostgreSQL").join(name);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path).current_dir("/");
    command
}

fn serve(data: &Path, address: SocketAddr) -> Proc {
    let mut command = program("postgres");
    command.arg("-D").arg(data).args(["-p", &address.port().to_string()]);
    command.args(["-c", &format!("listen_addresses={}", address.ip())]);
    // No socket in a folder of the system's, and no wait for disks.
    command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
    let process = Proc::spawn("postgres", command);
    let up = process.err.find("ready to accept connections", PATIENCE);
    assert!(up.is_some(), "PostgreSQL does not start\n{}", process.log());
    let listens = poll(PATIENCE, || TcpStream::connect(address).ok());
    assert!(listens.is_some(), "PostgreSQL does not listen\n{}", process.log());
    process
}
