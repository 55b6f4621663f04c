//! Compiled snapshots: any content behind a header that is right for it, so that the bytes get past magic and checksums.
//!
//! Holds: nothing panics; what is read answers questions about every pair of its first pods.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use policy_table::compiled::{Compiled, framed};
use policy_table::{Access, Flow, HttpRequest, HttpScratch, Peer, Protocol, Settings};

fuzz_target!(|bytes: &[u8]| {
    let Ok(compiled) = Compiled::read(&framed(bytes)) else { return };
    let Ok(table) = compiled.table(&Settings::default(), 1) else { return };
    let mut scratch = HttpScratch::default();
    let addresses: Vec<IpAddr> =
        table.endpoints().iter().flat_map(|endpoint| endpoint.addresses.clone()).take(4).collect();
    let peer = |address: &IpAddr| Peer {
        identity: table.identity_of(*address),
        endpoint: table.endpoint_of(*address),
    };
    for source in &addresses {
        for destination in &addresses {
            for (protocol, dst_port) in
                [(Protocol::TCP, 80), (Protocol::UDP, 53), (Protocol(47), 0)]
            {
                let (source, destination) = (peer(source), peer(destination));
                let access = table.judge(&Flow { source, destination, protocol, dst_port });
                if let Access::Inspect(http) = access {
                    let request =
                        HttpRequest { method: "GET", path: "/", host: "h", headers: &|_| {} };
                    table.judge_http(&http, &request, &mut scratch);
                }
                let grounds = access.grounds().into_iter();
                for cause in grounds.flat_map(|grounds| [grounds.egress, grounds.ingress]).flatten()
                {
                    let _rule = table.rule_of(cause).and_then(|rule| table.rule(rule));
                    let _matched = table.match_type(cause);
                }
            }
        }
    }
});
