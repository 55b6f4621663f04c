//! Questions and answers: a flow, whether it may pass, and why.
//!
//! Arrives: who talks to whom on which port. Leaves: an [`Access`], small and `Copy`, that a connection can keep for as long
//! as the table's epoch lasts. *Why* is a [`Cause`]: a reference that costs nothing to carry and is looked up in the table
//! only when somebody asks ([`Table::rule_of`](crate::Table::rule_of)).

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::identity::Identity;
use crate::names::Names;
use crate::rule::{Direction, Protocol};

/// An endpoint of a table. It means nothing in another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointIndex(pub(crate) u32);

impl EndpointIndex {
    pub(crate) fn of(position: usize) -> Self {
        Self(u32::try_from(position).unwrap_or(u32::MAX))
    }

    /// Its place in [`Table::endpoints`](crate::Table::endpoints).
    pub fn position(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A rule of a table. The next table knows it by the same number for as long as its policy stays as it is; a number that
/// is free may be another rule's later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) u32);

impl RuleId {
    pub(crate) fn of(position: usize) -> Self {
        Self(u32::try_from(position).unwrap_or(u32::MAX))
    }

    /// Its place in [`Table::rules`](crate::Table::rules).
    pub fn position(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// One side of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// Its endpoint, if its policy is enforced here.
    pub endpoint: Option<EndpointIndex>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who opened it.
    pub source: Peer,
    /// Whom it is for.
    pub destination: Peer,
    /// The IP protocol.
    pub protocol: Protocol,
    /// The destination port after service translation; for ICMP the message type; 0 for protocols without ports.
    pub dst_port: u16,
}

/// Whether a flow may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Allow(Grounds),
    /// It may not.
    Deny(Denial),
    /// It may, as far as each of its HTTP requests does.
    Inspect(HttpAccess),
    /// It may, as far as each of its DNS queries does; the answers teach names.
    Resolve(DnsAccess),
}

impl Access {
    /// Why the flow itself may pass, if it may.
    pub fn grounds(&self) -> Option<Grounds> {
        match self {
            Self::Allow(grounds) => Some(*grounds),
            Self::Inspect(http) => Some(http.grounds()),
            Self::Resolve(dns) => Some(dns.grounds),
            Self::Deny(_) => None,
        }
    }

    /// The names that had a part in the answer: a connection that was opened under them may keep them.
    pub fn names(&self) -> Names {
        let mut names = match self {
            Self::Inspect(http) => http.names,
            Self::Resolve(dns) => dns.names,
            Self::Allow(_) | Self::Deny(_) => Names::NONE,
        };
        if let Some(cause) = self.grounds().and_then(|grounds| grounds.egress) {
            names.add(cause.peer);
        }
        names
    }
}

/// Why a flow may pass: one cause a direction, `None` where no endpoint of ours stands on that side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// What the source's policy said.
    pub egress: Option<Cause>,
    /// What the destination's policy said.
    pub ingress: Option<Cause>,
    /// What would have stopped it, were that policy, or the endpoint's policies, not only tried (audit mode).
    pub audited: Option<Denial>,
}

/// Why a flow may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Whose policy denied: the source's (egress) or the destination's (ingress).
    pub direction: Direction,
    /// A deny rule did (Cilium's drop reason 181), rather than no rule allowing it (133).
    pub explicit: bool,
    /// Where to look for the rule.
    pub cause: Cause,
}

/// A flow whose requests are judged: where its HTTP rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAccess {
    pub(crate) epoch: u64,
    pub(crate) egress: Option<Cause>,
    pub(crate) ingress: Option<Cause>,
    pub(crate) inspect_egress: bool,
    pub(crate) inspect_ingress: bool,
    pub(crate) tried: Tried,
    pub(crate) audited: Option<Denial>,
    /// The destination's own identity, beside what its names stand for.
    pub(crate) destination: Identity,
    pub(crate) names: Names,
}

/// In which directions nothing is denied because all policies that would are only tried (audit mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) egress: bool,
    pub(crate) ingress: bool,
}

/// A flow whose DNS queries are judged: where its rules are. Only the source's policy has such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsAccess {
    pub(crate) epoch: u64,
    pub(crate) grounds: Grounds,
    pub(crate) tried: bool,
    /// The destination's own identity, beside what its names stand for.
    pub(crate) destination: Identity,
    pub(crate) names: Names,
}

impl DnsAccess {
    /// Whether no query can be denied, because the policy that judges them is only tried.
    pub fn is_tried(&self) -> bool {
        self.tried
    }
}

/// Whether a DNS query may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsVerdict {
    /// It may.
    Allow(Cause),
    /// It may, because the policy is only tried; no rule allows its name.
    Audit(Cause),
    /// No rule allows its name.
    Deny(Cause),
}

impl HttpAccess {
    /// Why the flow itself may pass.
    pub fn grounds(&self) -> Grounds {
        Grounds { egress: self.egress, ingress: self.ingress, audited: self.audited }
    }

    /// Whether no request can be denied, because every policy that judges them is only tried.
    pub fn is_tried(&self) -> bool {
        (self.tried.egress || !self.inspect_egress) && (self.tried.ingress || !self.inspect_ingress)
    }

    /// Whether requests are judged in this direction.
    pub fn inspects(&self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.inspect_ingress,
            Direction::Egress => self.inspect_egress,
        }
    }
}

/// Why: a place in the table that made the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    pub(crate) side: u32,
    pub(crate) slot: u32,
    pub(crate) peer: Identity,
    pub(crate) kind: CauseKind,
}

impl Hash for Cause {
    /// By two numbers, which is what counting a hit takes: kinds without a place are as one.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let place = match self.kind {
            CauseKind::Http(place) | CauseKind::Name(place) => place,
            _ => 0,
        };
        state.write_u64(u64::from(self.side) << 32 | u64::from(self.slot));
        state.write_u64(u64::from(self.peer.number()) << 32 | u64::from(place));
    }
}

impl Cause {
    /// Whether a rule gave the answer, by allowing or denying; otherwise nothing is enforced, or no rule matched.
    pub fn is_of_a_rule(self) -> bool {
        match self.kind {
            CauseKind::Denied
            | CauseKind::Objected
            | CauseKind::Allowed
            | CauseKind::Inspected
            | CauseKind::Http(_)
            | CauseKind::Resolved
            | CauseKind::Name(_) => true,
            CauseKind::NotEnforced
            | CauseKind::Itself
            | CauseKind::NoRule
            | CauseKind::NoRequest
            | CauseKind::Stale => false,
        }
    }

    /// Whether a request was denied because none of the HTTP rules for it matched.
    pub fn is_no_request(self) -> bool {
        self.kind == CauseKind::NoRequest
    }
}

/// What kind of answer it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CauseKind {
    /// No policy is enforced in the direction.
    NotEnforced,
    /// An endpoint talks to itself.
    Itself,
    /// A deny rule.
    Denied,
    /// A deny rule of a policy in audit mode.
    Objected,
    /// No rule allowed it.
    NoRule,
    /// An allow rule without HTTP.
    Allowed,
    /// An allow rule with HTTP.
    Inspected,
    /// The HTTP rule at this place of the port's list.
    Http(u32),
    /// None of the port's HTTP rules let the request pass.
    NoRequest,
    /// An allow rule with DNS names.
    Resolved,
    /// The name at this place of the port's list.
    Name(u32),
    /// The access is of another table.
    Stale,
}

/// How the deciding rule matched, in the words of Cilium's policy-verdict events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchType {
    /// No rule did.
    None,
    /// By peer and port.
    L3L4,
    /// By port alone.
    L4Only,
    /// By peer and protocol.
    L3Proto,
    /// By protocol alone.
    ProtoOnly,
    /// By peer alone.
    L3Only,
    /// Everything is allowed.
    All,
}

impl fmt::Display for MatchType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "none",
            Self::L3L4 => "L3-L4",
            Self::L4Only => "L4-Only",
            Self::L3Proto => "L3-Proto",
            Self::ProtoOnly => "Proto-Only",
            Self::L3Only => "L3-Only",
            Self::All => "all",
        })
    }
}

/// Something that calls its argument with the name and value of every header field of a request, in order.
pub type HeaderFields<'a> = dyn Fn(&mut dyn FnMut(&str, &[u8])) + 'a;

/// An HTTP request, as much of it as policies look at.
#[derive(Clone, Copy)]
pub struct HttpRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Path and query, normalised as the server will see it.
    pub path: &'a str,
    /// The authority, with its port if the request gave one.
    pub host: &'a str,
    /// The header fields, `Host` included.
    pub headers: &'a HeaderFields<'a>,
}

impl fmt::Debug for HttpRequest<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} (host {})", self.method, self.path, self.host)
    }
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVerdict {
    /// It may.
    Allow {
        /// What the source's policy said, if it inspects.
        egress: Option<Cause>,
        /// What the destination's policy said, if it inspects.
        ingress: Option<Cause>,
        /// A rule that matched wants a header field that is missing or differs reported (`mismatch: LOG`).
        report: bool,
        /// Whose policy would have denied it, were it not only tried, and where to look.
        audited: Option<(Direction, Cause)>,
    },
    /// It may not.
    Deny {
        /// Whose policy denied.
        direction: Direction,
        /// Where to look.
        cause: Cause,
    },
}

impl HttpVerdict {
    /// Whether the request may pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// Whose policy said so, or would have denied it, were it not only tried; and where to look.
    pub fn told(&self) -> Option<(Direction, Cause)> {
        match *self {
            Self::Allow { egress, ingress, audited, .. } => audited
                .or(ingress.map(|cause| (Direction::Ingress, cause)))
                .or(egress.map(|cause| (Direction::Egress, cause))),
            Self::Deny { direction, cause } => Some((direction, cause)),
        }
    }
}
