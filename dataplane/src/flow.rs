//! Flow events: what workers tell of their verdicts, and how people and tools read it.
//!
//! A worker puts a small copyable [`FlowEvent`] into a bounded queue and goes on; the control thread takes it out, finds names
//! for addresses and prints it as `hubble observe` does (`cilium-semantics.md` §4.3) or as JSON in Hubble's field names (§4.1).

use std::{net::IpAddr, time::SystemTime};

use parser::{dns::Name, flow_key::FlowTuple, http::HttpRefusal, network::Protocol, tcp::TcpFlags};
use policy_table::{Cause, Direction, Identity, MatchType, RuleOrigin, Table};
use serde_json::{Value, json};

use crate::{drop_reason::DropReason, worker::clock::Tick};

/// Bytes of a request's line that an event carries; what is longer is cut.
pub const REQUEST_BYTES: usize = 256;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// A verdict on a new connection.
    PolicyVerdict {
        /// None: allowed. Some: dropped for this reason.
        denied: Option<DropReason>,
        /// It passed nevertheless, because the policy is only tried.
        audited: bool,
        /// Which side's policy spoke.
        direction: Direction,
        /// Why, in the table of the event's epoch.
        cause: Cause,
    },
    /// A packet dropped for another reason than policy.
    Drop(DropReason),
    /// A request on an inspected connection.
    Request {
        /// Whether it was allowed.
        allowed: bool,
        /// Only because the policy is tried.
        audited: bool,
        /// The method, a space, the host and the target, cut at [`REQUEST_BYTES`].
        text: RequestText,
        /// Which side's policy spoke.
        direction: Option<Direction>,
        /// Why, in the table of the event's epoch.
        cause: Option<Cause>,
    },
    /// Bytes on an inspected connection that are no acceptable request.
    Refused(HttpRefusal),
    /// A DNS query where a rule names names.
    Query {
        /// Whether it was allowed.
        allowed: bool,
        /// Only because the policy is tried.
        audited: bool,
        /// The name asked for.
        name: Name,
        /// The type of the records asked for.
        record_type: u16,
        /// Why, in the table of the event's epoch.
        cause: Cause,
    },
    /// A DNS answer that gave a name of `toFQDNs` addresses.
    Learned {
        /// The name.
        name: Name,
        /// How many addresses.
        addresses: u16,
    },
}

/// The beginning of a request, copied.
#[derive(Clone, Copy)]
pub struct RequestText {
    bytes: [u8; REQUEST_BYTES],
    len: u16,
    method_len: u16,
}

impl std::fmt::Debug for RequestText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method(), self.url())
    }
}

impl RequestText {
    /// Copies what fits.
    pub fn new(method: &str, host: &str, path: &str) -> Self {
        let mut text = Self { bytes: [0; REQUEST_BYTES], len: 0, method_len: 0 };
        text.append(method.as_bytes());
        text.method_len = text.len;
        text.append(b"http://");
        text.append(host.as_bytes());
        text.append(path.as_bytes());
        text
    }

    /// The method.
    pub fn method(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.bytes.get(..usize::from(self.method_len)).unwrap_or_default())
    }

    /// `http://host/path?query`, perhaps cut.
    pub fn url(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(
            self.bytes.get(usize::from(self.method_len)..usize::from(self.len)).unwrap_or_default(),
        )
    }

    fn append(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        let count = bytes.len().min(REQUEST_BYTES - start);
        if let (Some(room), Some(bytes)) =
            (self.bytes.get_mut(start..start + count), bytes.get(..count))
        {
            room.copy_from_slice(bytes);
            self.len += u16::try_from(count).unwrap_or(0);
        }
    }
}

/// One event, as a worker makes it: copyable, without names.
#[derive(Clone, Copy, Debug)]
pub struct FlowEvent {
    /// When.
    pub tick: Tick,
    /// The epoch of the table that judged.
    pub epoch: u64,
    /// The packet's addresses and ports, after service translation where it took place.
    pub tuple: FlowTuple,
    /// The sender's identity.
    pub source: Identity,
    /// The receiver's identity.
    pub destination: Identity,
    /// The segment's flags; empty if it is not TCP.
    pub flags: TcpFlags,
    /// The type of the message, if it is ICMP.
    pub icmp_type: Option<u8>,
    /// What happened.
    pub happening: Happening,
}

/// An event with its wall-clock time and names, ready to print.
#[derive(Debug)]
pub struct Flow<'a> {
    /// The event.
    pub event: &'a FlowEvent,
    /// Its wall-clock time.
    pub time: SystemTime,
    /// The table that knows the names.
    pub table: &'a Table,
    /// The node's name.
    pub node: &'a str,
}

impl Flow<'_> {
    /// One line as `hubble observe` prints it.
    pub fn line(&self) -> String {
        let event = self.event;
        let source = self.end(event.tuple.source, event.tuple.src_port, event.source);
        let destination =
            self.end(event.tuple.destination, event.tuple.dst_port, event.destination);
        let (kind, verdict, summary) = match &event.happening {
            Happening::PolicyVerdict { denied, audited, direction, cause } => {
                let by = self.by(Some(*cause));
                let verdict = match (denied, audited) {
                    (None, _) => "ALLOWED",
                    (Some(_), true) => "AUDITED",
                    (Some(_), false) => "DENIED",
                };
                (
                    format!(
                        "policy-verdict:{} {}",
                        self.table.match_type(*cause),
                        shout(*direction)
                    ),
                    format!("{verdict}{by}"),
                    self.protocol_summary(),
                )
            }
            Happening::Drop(reason) => {
                (reason.text().to_owned(), "DROPPED".to_owned(), self.protocol_summary())
            }
            Happening::Request { allowed, audited, text, cause, .. } => {
                let by = self.by(*cause);
                let verdict = verdict(*allowed, *audited);
                let why = cause.and_then(no_request).map(|why| format!("; {why}"));
                (
                    "http-request".to_owned(),
                    format!("{verdict}{by}"),
                    format!("HTTP/1.1 {} {}{}", text.method(), text.url(), why.unwrap_or_default()),
                )
            }
            Happening::Refused(refusal) => (
                "http-request".to_owned(),
                "DROPPED".to_owned(),
                format!("refused with {}: {refusal}", refusal.status()),
            ),
            Happening::Query { allowed, audited, name, record_type, cause } => {
                let by = self.by(Some(*cause));
                let verdict = verdict(*allowed, *audited);
                (
                    "dns-request".to_owned(),
                    format!("{verdict}{by}"),
                    format!("DNS Query {} {}", name.as_str(), type_name(*record_type)),
                )
            }
            Happening::Learned { name, addresses } => (
                "dns-response".to_owned(),
                "FORWARDED".to_owned(),
                format!("DNS Answer {addresses} addresses ({})", name.as_str()),
            ),
        };
        format!("{}: {source} -> {destination} {kind} {verdict} ({summary})", timestamp(self.time))
    }

    /// One object in the shape of `hubble observe -o json`.
    pub fn json(&self) -> Value {
        let event = self.event;
        let time = timestamp(self.time);
        let version = if event.tuple.source.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut flow = json!({
            "time": time,
            "node_name": self.node,
            "IP": {
                "source": event.tuple.source.to_string(),
                "destination": event.tuple.destination.to_string(),
                "ipVersion": version,
            },
            "l4": self.l4(),
            "source": self.peer(event.tuple.source, event.source),
            "destination": self.peer(event.tuple.destination, event.destination),
            "is_reply": false,
        });
        let mut set = |field: &str, value: Value| {
            if let Value::Object(fields) = &mut flow {
                fields.insert(field.to_owned(), value);
            }
        };
        match &event.happening {
            Happening::PolicyVerdict { denied, audited, direction, cause } => {
                set("Type", json!("L3_L4"));
                set("verdict", json!(verdict(denied.is_none(), *audited)));
                set("event_type", json!({"type": 5}));
                set("traffic_direction", json!(shout(*direction)));
                set("policy_match_type", json!(match_number(self.table.match_type(*cause))));
                if let Some(reason) = denied {
                    set("drop_reason", json!(reason.number()));
                    set("drop_reason_desc", json!(reason.flow_name()));
                }
                if let Some(rule) = self.rule(*cause) {
                    let side = shout(*direction).to_lowercase();
                    let action = if denied.is_none() { "allowed" } else { "denied" };
                    set(&format!("{side}_{action}_by"), json!([self.policy(rule)]));
                }
            }
            Happening::Drop(reason) => {
                set("Type", json!("L3_L4"));
                set("verdict", json!("DROPPED"));
                set("event_type", json!({"type": 1, "sub_type": reason.number()}));
                set("drop_reason", json!(reason.number()));
                set("drop_reason_desc", json!(reason.flow_name()));
            }
            Happening::Request { allowed, audited, text, direction, cause } => {
                set("Type", json!("L7"));
                set("verdict", json!(verdict(*allowed, *audited)));
                set("event_type", json!({"type": 129}));
                let http =
                    json!({"method": text.method(), "url": text.url(), "protocol": "HTTP/1.1"});
                set("l7", json!({"type": "REQUEST", "http": http}));
                if !allowed {
                    set("drop_reason_desc", json!(DropReason::PolicyDenied.flow_name()));
                }
                if let Some(direction) = direction.map(shout) {
                    set("traffic_direction", json!(direction));
                    if let Some(rule) = cause.and_then(|cause| self.rule(cause)) {
                        let action = if *allowed { "allowed" } else { "denied" };
                        let field = format!("{}_{action}_by", direction.to_lowercase());
                        set(&field, json!([self.policy(rule)]));
                    }
                }
                if let Some(why) = cause.and_then(no_request) {
                    set("extensions", json!({"denial": why}));
                }
            }
            Happening::Refused(refusal) => {
                set("Type", json!("L7"));
                set("verdict", json!("DROPPED"));
                set("event_type", json!({"type": 129}));
                set("l7", json!({"type": "REQUEST", "http": {"code": refusal.status()}}));
                set("drop_reason_desc", json!(DropReason::InvalidPacket.flow_name()));
                set("extensions", json!({"refusal": refusal.to_string()}));
            }
            Happening::Query { allowed, audited, name, record_type, cause } => {
                set("Type", json!("L7"));
                set("verdict", json!(verdict(*allowed, *audited)));
                set("event_type", json!({"type": 129}));
                let dns = json!({"query": name.as_str(), "qtypes": [type_name(*record_type)]});
                set("l7", json!({"type": "REQUEST", "dns": dns}));
                if !allowed {
                    let reason = DropReason::DnsNameRefused;
                    set("drop_reason", json!(reason.number()));
                    set("drop_reason_desc", json!(reason.flow_name()));
                }
                if let Some(rule) = self.rule(*cause) {
                    set("egress_allowed_by", json!([self.policy(rule)]));
                }
            }
            Happening::Learned { name, addresses } => {
                set("Type", json!("L7"));
                set("verdict", json!("FORWARDED"));
                set("event_type", json!({"type": 129}));
                set("is_reply", json!(true));
                set("l7", json!({"type": "RESPONSE", "dns": {"query": name.as_str()}}));
                set("extensions", json!({"addresses": addresses}));
            }
        }
        json!({"flow": flow, "node_name": self.node, "time": time})
    }

    /// A rule as Hubble's `Policy`, with the file and line where it stands.
    fn policy(&self, rule: &RuleOrigin) -> Value {
        json!({
            "name": rule.name,
            "namespace": rule.namespace,
            "kind": rule.kind.to_string(),
            "revision": self.event.epoch,
            "field": rule.field,
            "file": rule.file.as_ref(),
            "line": rule.line,
        })
    }

    /// The rule behind a cause, if the table is still the one that gave it.
    fn rule(&self, cause: Cause) -> Option<&RuleOrigin> {
        let same = self.table.epoch() == self.event.epoch;
        self.table.rule_of(cause).filter(|_| same).and_then(|rule| self.table.rule(rule))
    }

    fn by(&self, cause: Option<Cause>) -> String {
        cause
            .and_then(|cause| self.rule(cause))
            .map(|rule| format!(" BY {rule}"))
            .unwrap_or_default()
    }

    fn end(&self, address: IpAddr, port: u16, identity: Identity) -> String {
        let name =
            match self.table.endpoint_of(address).and_then(|index| self.table.endpoint(index)) {
                Some(endpoint) => format!("{}/{}", endpoint.namespace, endpoint.name),
                None if address.is_ipv6() => format!("[{address}]"),
                None => address.to_string(),
            };
        let port = if port == 0 { String::new() } else { format!(":{port}") };
        match identity.reserved_name() {
            Some(reserved) => format!("{name}{port} ({reserved})"),
            None => format!("{name}{port} (ID:{})", identity.number()),
        }
    }

    fn peer(&self, address: IpAddr, identity: Identity) -> Value {
        let mut peer = json!({"identity": identity.number(), "cluster_name": "default"});
        if let (Value::Object(fields), Some(endpoint)) = (
            &mut peer,
            self.table.endpoint_of(address).and_then(|index| self.table.endpoint(index)),
        ) {
            fields.insert("namespace".into(), json!(endpoint.namespace));
            fields.insert("pod_name".into(), json!(endpoint.name));
            let labels: Vec<String> = endpoint.labels.iter().map(ToString::to_string).collect();
            fields.insert("labels".into(), json!(labels));
        }
        peer
    }

    fn l4(&self) -> Value {
        let tuple = &self.event.tuple;
        let ports = json!({"source_port": tuple.src_port, "destination_port": tuple.dst_port});
        match tuple.protocol {
            Protocol::TCP => {
                let mut tcp = ports;
                let names = self.event.flags.to_string();
                let names = names.split(", ").filter(|name| !name.is_empty());
                let flags: serde_json::Map<String, Value> =
                    names.map(|name| (name.to_owned(), json!(true))).collect();
                // Fields without a value are left out, as in Hubble's JSON.
                if let (Value::Object(fields), false) = (&mut tcp, flags.is_empty()) {
                    fields.insert("flags".into(), Value::Object(flags));
                }
                json!({"TCP": tcp})
            }
            Protocol::UDP => json!({"UDP": ports}),
            Protocol::ICMP => json!({"ICMPv4": {"type": self.event.icmp_type}}),
            Protocol::ICMPV6 => json!({"ICMPv6": {"type": self.event.icmp_type}}),
            Protocol::SCTP => json!({"SCTP": ports}),
            other => json!({"protocol": other.value()}),
        }
    }

    fn icmp_summary(&self) -> String {
        self.event.icmp_type.map(|number| format!(" type {number}")).unwrap_or_default()
    }

    fn protocol_summary(&self) -> String {
        match self.event.tuple.protocol {
            Protocol::TCP if self.event.flags == TcpFlags::NONE => "TCP".to_owned(),
            Protocol::TCP => format!("TCP Flags: {}", self.event.flags),
            Protocol::UDP => "UDP".to_owned(),
            Protocol::ICMP => format!("ICMPv4{}", self.icmp_summary()),
            Protocol::ICMPV6 => format!("ICMPv6{}", self.icmp_summary()),
            other => other.to_string(),
        }
    }
}

/// The record types that people ask for by name; others by number (RFC 3597 §5).
fn type_name(record_type: u16) -> String {
    let name = match record_type {
        1 => "A",
        5 => "CNAME",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        65 => "HTTPS",
        other => return format!("TYPE{other}"),
    };
    name.to_owned()
}

/// Hubble's verdict.
fn verdict(allowed: bool, audited: bool) -> &'static str {
    match (allowed, audited) {
        (_, true) => "AUDIT",
        (true, false) => "FORWARDED",
        (false, false) => "DROPPED",
    }
}

/// As Hubble prints a direction.
fn shout(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "INGRESS",
        Direction::Egress => "EGRESS",
    }
}

/// Cilium's numbers of match types (`PolicyMatch` in pkg/monitor/api).
fn match_number(matched: MatchType) -> u8 {
    match matched {
        MatchType::None => 0,
        MatchType::L3Only => 1,
        MatchType::L3L4 => 2,
        MatchType::L4Only => 3,
        MatchType::All => 4,
        MatchType::L3Proto => 5,
        MatchType::ProtoOnly => 6,
    }
}

/// Says so, if a request was denied because none of the rules for it matched. The rule that is told has them.
fn no_request(cause: Cause) -> Option<&'static str> {
    cause.is_no_request().then_some("no HTTP rule matches")
}

/// RFC 3339 in UTC.
fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use policy_table::{
        Access, Flow as Question, HttpRequest, HttpScratch, HttpVerdict, Identities, Peer,
        Settings, Snapshot,
    };

    use super::*;

    const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: deathstar, labels: {class: deathstar}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: tiefighter, labels: {org: empire}}
status: {podIP: 10.0.0.2}
"#;
    const POLICY: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: POST, path: /v1/request-landing}]}
"#;

    struct Rig {
        table: Table,
        access: Access,
        source: Peer,
        destination: Peer,
    }

    impl Rig {
        fn new() -> Self {
            let sources = [("pods.yaml", CLUSTER), ("rule1.yaml", POLICY)];
            let snapshot = Snapshot::parse(&sources).unwrap().snapshot;
            let table =
                Table::compile(&snapshot, &Settings::default(), &mut Identities::default(), 4);
            let peer = |address: &str| {
                let address = address.parse().unwrap();
                Peer { identity: table.identity_of(address), endpoint: table.endpoint_of(address) }
            };
            let (source, destination) = (peer("10.0.0.2"), peer("10.0.0.1"));
            let protocol = policy_table::Protocol::TCP;
            let access = table.judge(&Question { source, destination, protocol, dst_port: 80 });
            Self { table, access, source, destination }
        }

        fn event(&self, happening: Happening) -> FlowEvent {
            FlowEvent {
                tick: Tick(0),
                epoch: 4,
                tuple: FlowTuple {
                    source: "10.0.0.2".parse().unwrap(),
                    destination: "10.0.0.1".parse().unwrap(),
                    protocol: Protocol::TCP,
                    src_port: 40000,
                    dst_port: 80,
                },
                source: self.source.identity,
                destination: self.destination.identity,
                flags: TcpFlags::NONE,
                icmp_type: None,
                happening,
            }
        }

        fn request(&self, method: &str, path: &str) -> FlowEvent {
            let Access::Inspect(access) = &self.access else { panic!("inspected") };
            let request = HttpRequest { method, path, host: "h", headers: &|_| {} };
            let verdict = self.table.judge_http(access, &request, &mut HttpScratch::default());
            let (allowed, direction, cause) = match verdict {
                HttpVerdict::Allow { ingress, .. } => (true, Some(Direction::Ingress), ingress),
                HttpVerdict::Deny { direction, cause } => (false, Some(direction), Some(cause)),
            };
            let text = RequestText::new(method, "h", path);
            self.event(Happening::Request { allowed, audited: false, text, direction, cause })
        }

        fn flow<'a>(&'a self, event: &'a FlowEvent) -> Flow<'a> {
            Flow { event, time: SystemTime::UNIX_EPOCH, table: &self.table, node: "node" }
        }
    }

    /// Whoever reads the denial can go to the rule, and `explain` names the same.
    #[test]
    fn a_denied_request_names_the_rule_whose_http_rules_it_did_not_meet() {
        let rig = Rig::new();
        let denied = rig.request("PUT", "/v1/exhaust-port");
        insta::assert_snapshot!(rig.flow(&denied).line());
        insta::assert_snapshot!(format!("{:#}", rig.flow(&denied).json()));
        let allowed = rig.request("POST", "/v1/request-landing");
        insta::assert_snapshot!(rig.flow(&allowed).line());
    }

    #[test]
    fn a_dropped_packet_says_why() {
        let rig = Rig::new();
        let mut event = rig.event(Happening::Drop(DropReason::InvalidSourceIp));
        insta::assert_snapshot!(rig.flow(&event).line());
        event.tuple.protocol = Protocol::ICMP;
        event.icmp_type = Some(8);
        insta::assert_snapshot!(format!("{:#}", rig.flow(&event).json()));
    }
}
