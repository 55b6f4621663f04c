//! nginx as a proxy: one worker, no log, a map of method and path, connections to the server kept.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Peer;
use super::proxy::{self, Place};
use crate::{process::Process, stage::Stage};

const CONFIGURATION: &str = r#"
daemon off;
worker_processes 1;
pid DIRECTORY/proxy.pid;
error_log stderr;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
    client_body_temp_path DIRECTORY/p1;
    proxy_temp_path DIRECTORY/p2;
    fastcgi_temp_path DIRECTORY/p3;
    uwsgi_temp_path DIRECTORY/p4;
    scgi_temp_path DIRECTORY/p5;
    map "$request_method:$uri" $allowed {
        default 0;
        "GET:/public" 1;
        "~^(GET|PUT):/api/v1/items/[0-9]+$" 1;
    }
    upstream web { server BACK:80; keepalive 512; keepalive_requests 1000000000; }
    server {
        listen FRONT:80 backlog=4096;
        location / {
            if ($allowed = 0) { return 403 "Access denied"; }
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://web;
        }
    }
}
"#;

/// nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    place: Place,
    _process: Process,
}

impl Nginx {
    /// Starts it.
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let place = Place::new("nginx", 2)?;
        let directory = stage.directory().display().to_string();
        let file = stage.directory().join("proxy.conf");
        let text = CONFIGURATION.trim_start().replace("DIRECTORY", &directory);
        fs::write(&file, text.replace("FRONT", &place.front).replace("BACK", &place.back))?;
        let arguments = ["-p", &directory, "-c", "proxy.conf", "-e", "stderr"];
        let process = proxy::start(stage, "nginx", &place, Path::new("nginx"), &arguments)?;
        Ok(Self { place, _process: process })
    }
}

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn description(&self) -> String {
        proxy::version("nginx", "-v")
    }

    fn address(&self) -> &str {
        &self.place.front
    }

    fn interface(&self) -> &str {
        &self.place.interface
    }

    fn enforces_requests(&self) -> bool {
        true
    }

    fn carries_packets(&self) -> bool {
        false
    }
}
