//! HAProxy in mode http: one thread, keep-alive on both sides, no log, four ACLs.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Peer;
use super::proxy::{self, Place};
use crate::{process::Process, stage::Stage};

const CONFIGURATION: &str = r#"
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    maxconn 4096
frontend policy
    bind FRONT:80
    acl is_get method GET
    acl is_put method PUT
    acl public path /public
    acl item path_reg ^/api/v1/items/[0-9]+$
    http-request deny deny_status 403 content-type text/plain string "Access denied" unless is_get public or is_get item or is_put item
    default_backend web
backend web
    server web BACK:80
"#;

/// HAProxy.
#[derive(Debug)]
pub(crate) struct Haproxy {
    place: Place,
    _process: Process,
}

impl Haproxy {
    /// Starts it.
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let place = Place::new("haproxy", 1)?;
        let file = stage.directory().join("haproxy.cfg");
        let text = CONFIGURATION.trim_start().replace("FRONT", &place.front);
        fs::write(&file, text.replace("BACK", &place.back))?;
        let file = file.display().to_string();
        let arguments = ["-db", "-f", &file];
        let process = proxy::start(stage, "haproxy", &place, Path::new("haproxy"), &arguments)?;
        Ok(Self { place, _process: process })
    }
}

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn description(&self) -> String {
        proxy::version("haproxy", "-v")
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
