//! Attempts to reach somebody, as they are told to a [`Prober`]: a process of ours that stays in a pod.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One attempt.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Attempt {
    /// Its number, unique in its batch.
    pub id: usize,
    /// Whom to reach.
    pub address: IpAddr,
    /// How.
    pub means: Means,
}

/// How somebody is reached.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// By a TCP handshake.
    Tcp {
        /// With this port.
        port: u16,
    },
    /// By a datagram that comes back.
    Udp {
        /// With this port.
        port: u16,
    },
    /// By an SCTP INIT that is acknowledged.
    Sctp {
        /// With this port.
        port: u16,
    },
    /// By an ICMP echo.
    Ping,
    /// By a request that is answered.
    Http {
        /// With this port.
        port: u16,
        /// The request's bytes.
        request: String,
    },
}

/// A `prober` that runs, ended with its owner.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    input: ChildStdin,
}

impl Prober {
    /// Starts one; `command` runs the program in its pod and gets its ports. What it says goes to `said` under `name`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, name: &str, said: Sender<(String, Value)>) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start a prober in {name}"))?;
        let input = child.stdin.take().context("the prober's standard input")?;
        let output = BufReader::new(child.stdout.take().context("the prober's standard output")?);
        let name = name.to_owned();
        thread::Builder::new().spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::Null);
                if said.send((name.clone(), value)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { child, input })
    }

    /// Begins a batch, and ends the one before.
    ///
    /// # Errors
    /// When the prober is gone.
    pub fn begin(&mut self, attempts: &[Attempt]) -> Result<()> {
        let line = serde_json::to_string(attempts)?;
        writeln!(self.input, "{line}").context("the prober is gone")
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
