//! The Death Star: requests arrive, the answers of Cilium's demo server leave (`cilium-semantics.md` §6.3).
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1`, `GET /v1/` | 200, the ship's data sheet |
//! | `POST /v1/request-landing` | 200 `Ship landed` |
//! | `PUT /v1/exhaust-port` | 503, a panic's text; the process dies two seconds later with exit code 2 |
//! | another path | 404, JSON |
//! | another method on these paths | 405, JSON, with `allow` |
//!
//! Every answer carries `x-deathstar-replica`, so that a client sees which pod it reached.

use std::convert::Infallible;
use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// The time between the hit and the explosion.
const FUSE: Duration = Duration::from_secs(2);
/// A Go program that panics ends with this.
const PANIC_EXIT_CODE: u8 = 2;

const DATA_SHEET: &str = r#"{
	"name": "Death Star",
	"hostname": "{replica}",
	"model": "DS-1 Orbital Battle Station",
	"manufacturer": "Imperial Department of Military Research, Sienar Fleet Systems",
	"cost_in_credits": "1000000000000",
	"length": "120000",
	"crew": "342953",
	"passengers": "843342",
	"cargo_capacity": "1000000000000",
	"hyperdrive_rating": "4.0",
	"starship_class": "Deep Space Mobile Battlestation",
	"api": [
		"GET   /v1",
		"GET   /v1/healthz",
		"POST  /v1/request-landing",
		"PUT   /v1/cargobay",
		"GET   /v1/hyper-matter-reactor/status",
		"PUT   /v1/exhaust-port"
	]
}
"#;

const PANIC: &str = "Panic: deathstar exploded\n\n\
                     goroutine 1 [running]:\n\
                     deathstar.exhaustPort(0x2, 0x4d)\n\
                     \t/reactor/main.rs:2m wide, ray shielded, particle shield missing\n";

/// A small HTTP server that stands in for Cilium's demo image.
#[derive(Debug, Parser)]
struct Options {
    /// Address and port to listen on; `[::]` takes IPv4, too
    #[arg(long, default_value = "[::]:80")]
    listen: SocketAddr,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(options.listen))
}

/// Serves until the exhaust port is hit.
async fn serve(address: SocketAddr) -> Result<ExitCode> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    // With port 0 the kernel chose; whoever started us reads here what.
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    let station = Rc::new(Station { replica: replica_name(), hit: Notify::new() });
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that died in the queue is its client's affair.
                if let Ok((stream, _)) = accepted {
                    tokio::task::spawn_local(converse(stream, Rc::clone(&station)));
                }
            }
            () = station.hit.notified() => break,
        }
    }
    // Until it explodes it goes on serving.
    let last_moments = async {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(converse(stream, Rc::clone(&station)));
        }
    };
    tokio::time::timeout(FUSE, last_moments).await.ok();
    Ok(ExitCode::from(PANIC_EXIT_CODE))
}

struct Station {
    replica: HeaderValue,
    hit: Notify,
}

async fn converse(stream: TcpStream, station: Rc<Station>) {
    let answer = service_fn(move |request| {
        let station = Rc::clone(&station);
        async move { Ok::<_, Infallible>(station.answer(request).await) }
    });
    // An error here is a client that left or did not speak HTTP; hyper has answered it if it could be answered.
    http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .ok();
}

impl Station {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        // Read to its end, so that the connection can carry the next request.
        let complete = body.collect().await.is_ok();
        let mut response = match (head.uri.path(), &head.method) {
            _ if !complete => text(StatusCode::BAD_REQUEST, "the body ended early\n".to_owned()),
            ("/v1" | "/v1/", &Method::GET | &Method::HEAD) => {
                let replica = self.replica.to_str().unwrap_or_default();
                text(StatusCode::OK, DATA_SHEET.replace("{replica}", replica))
            }
            ("/v1" | "/v1/", method) => not_allowed(method, "GET"),
            ("/v1/request-landing", &Method::POST) => {
                text(StatusCode::OK, "Ship landed\n".to_owned())
            }
            ("/v1/request-landing", method) => not_allowed(method, "POST"),
            ("/v1/exhaust-port", &Method::PUT) => {
                self.hit.notify_one();
                text(StatusCode::SERVICE_UNAVAILABLE, PANIC.to_owned())
            }
            ("/v1/exhaust-port", method) => not_allowed(method, "PUT"),
            (path, _) => json(StatusCode::NOT_FOUND, &format!("path {path} was not found")),
        };
        response.headers_mut().insert("x-deathstar-replica", self.replica.clone());
        response
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    with_type(status, "text/plain", body)
}

fn json(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "code": status.as_u16(), "message": message });
    with_type(status, "application/json", format!("{body}\n"))
}

fn not_allowed(method: &Method, allowed: &'static str) -> Response<Full<Bytes>> {
    let message = format!("method {method} is not allowed, but [{allowed}] are");
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The pod's name, which the lab gives; the machine's outside a lab.
fn replica_name() -> HeaderValue {
    let name = env::var("POD_NAME").ok().or_else(|| {
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned())
    });
    name.and_then(|name| HeaderValue::from_str(&name).ok())
        .unwrap_or_else(|| HeaderValue::from_static("unknown"))
}
