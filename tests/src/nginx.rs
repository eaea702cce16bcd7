//! nginx with its RTMP module, each instance with an own configuration, folder and address.

use crate::{PATIENCE, Proc, find_program, free_address, poll};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The module's file.
pub fn module() -> Option<PathBuf> {
    find_program("nginx")?;
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/nginx/modules"]
        .iter()
        .map(|folder| PathBuf::from(folder).join("ngx_rtmp_module.so"))
        .find(|file| file.is_file())
}

/// A running nginx.
pub struct Nginx {
    /// The process.
    pub process: Proc,
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts one whose app `live` has these further directives (`pull URL;`), on a free port.
    pub fn start(directives: &str) -> Self {
        Self::start_at(free_address(), directives)
    }

    /// The same on a given address.
    pub fn start_at(address: SocketAddr, directives: &str) -> Self {
        let config = format!(
            "load_module modules/ngx_rtmp_module.so;\n\
             events {{ worker_connections 256; }}\n\
             rtmp {{ server {{ listen {address}; chunk_size 4096; out_queue 4096;\n\
             application live {{ live on; {directives} }} }} }}\n",
        );
        Self::run(address, &config)
    }

    /// Runs a configuration as its user has it, which listens on `address`.
    pub fn run(address: SocketAddr, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = folder.path().display();
        let module = module().expect("nginx-rtmp");
        // Its own process, log and folder; and the module where it is, as paths are below the folder.
        let config = config.replace("modules/ngx_rtmp_module.so", &module.display().to_string());
        let config = format!(
            "{config}\ndaemon off;\nmaster_process off;\nuser root;\npid {home}/pid;\nerror_log stderr info;\n",
        );
        std::fs::write(folder.path().join("nginx.conf"), config).expect("nginx.conf");
        let mut command = Command::new(find_program("nginx").expect("nginx"));
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        let process = Proc::spawn("nginx", command);
        let up = poll(PATIENCE, || TcpStream::connect(address).ok());
        assert!(up.is_some(), "nginx does not listen\n{}", process.log());
        Self { process, address, folder }
    }

    /// The URL of a stream in app `live`.
    pub fn url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.address)
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}
