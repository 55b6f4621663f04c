//! The one web server behind every peer: nginx in the pod `web`, pinned to the clients' core.
//!
//! It serves `/public` (about 70 bytes) and `/api/v1/items/65536` (64 KiB from a file). What no policy here allows is answered too,
//! and noted in `forbidden.log`: while a peer enforces, that file must not grow.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Allowed, with a small answer.
pub(crate) const PUBLIC: &str = "/public";
/// Allowed, with an answer of 64 KiB.
pub(crate) const LARGE: &str = "/api/v1/items/65536";
/// Allowed by nobody.
pub(crate) const PRIVATE: &str = "/private";

const CONFIGURATION: &str = r#"
daemon off;
worker_processes 1;
pid DIRECTORY/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
    map $uri $forbidden { default 1; /public 0; "~^/api/v1/items/[0-9]+$" 0; }
    access_log DIRECTORY/forbidden.log combined if=$forbidden;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
    sendfile on;
    open_file_cache max=16;
    client_body_temp_path DIRECTORY/t1;
    proxy_temp_path DIRECTORY/t2;
    fastcgi_temp_path DIRECTORY/t3;
    uwsgi_temp_path DIRECTORY/t4;
    scgi_temp_path DIRECTORY/t5;
    server {
        listen 80 backlog=4096;
        location = /public { return 200 "seventy bytes of answer, or about as many as a small API would send.\n"; }
        location /api/v1/items/ { alias DIRECTORY/items/; }
        location / { return 200 "nobody should see this\n"; }
    }
}
"#;

/// Where the server's files are.
#[derive(Debug)]
pub(crate) struct Backend {
    directory: PathBuf,
}

impl Backend {
    /// Writes the configuration and the large file into `directory`.
    pub(crate) fn prepare(directory: &Path) -> Result<Self> {
        let items = directory.join("items");
        fs::create_dir_all(&items)?;
        // nginx gives its files to another user, who must be able to pass.
        for open in [directory, &items] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(items.join("65536"), vec![b'x'; 65536])?;
        let place = directory.display().to_string();
        fs::write(
            directory.join("nginx.conf"),
            CONFIGURATION.trim_start().replace("DIRECTORY", &place),
        )?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// The shell command that runs it on `core`.
    pub(crate) fn command(&self, core: usize) -> String {
        let directory = self.directory.display();
        format!("exec taskset -c {core} nginx -p {directory} -c nginx.conf -e stderr")
    }

    /// How many requests reached it that no policy allows.
    pub(crate) fn forbidden(&self) -> Result<usize> {
        let log = self.directory.join("forbidden.log");
        let text = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        Ok(text.iter().filter(|byte| **byte == b'\n').count())
    }
}
