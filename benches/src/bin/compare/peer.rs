//! The peers: what stands between client and server, each in a small file of its own.
//!
//! A peer is set up once and stays; `enter` and `leave` bracket its turn in a round. Its configuration says the same as the policy:
//! `GET /public` and `GET|PUT /api/v1/items/<digits>` pass, everything else is answered 403.

pub(crate) mod blastdoor;
pub(crate) mod bridge;
pub(crate) mod envoy;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod proxy;
pub(crate) mod testpmd;

use anyhow::Result;

/// Something between client and server.
pub(crate) trait Peer {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// What it is, in words, with its version.
    fn description(&self) -> String;

    /// The address that clients ask; the server's own, unless it is a proxy.
    fn address(&self) -> &str;

    /// The client's interface that leads to it.
    fn interface(&self) -> &str;

    /// Whether it judges requests.
    fn enforces_requests(&self) -> bool;

    /// Whether it carries any packets, not only requests.
    fn carries_packets(&self) -> bool;

    /// Its turn begins.
    fn enter(&self) -> Result<()> {
        Ok(())
    }

    /// Its turn is over.
    fn leave(&self) -> Result<()> {
        Ok(())
    }
}
