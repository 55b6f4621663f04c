//! Judging: what workers ask a table about flows, DNS queries and HTTP requests.
//!
//! Arrives: who talks to whom on which port, and what is said there. Leaves: verdicts, each with its [`Cause`]. Both ends'
//! policies are asked, and both must let it. Nothing here allocates or locks.

use roaring::RoaringBitmap;

use super::{OwnSide, Table};
use crate::http::{HttpScratch, holds};
use crate::identity::Identity;
use crate::names::Names;
use crate::rule::Direction;
use crate::side::{IdentitySet, Side, Slot};
use crate::verdict::{
    Access, Cause, CauseKind, Denial, DnsAccess, DnsVerdict, EndpointIndex, Flow, Grounds,
    HttpAccess, HttpRequest, HttpVerdict, Peer, Tried,
};

/// What one direction says, and why.
struct Answer {
    says: Says,
    cause: Cause,
    /// Whether a deny rule of a policy in audit mode would have stopped what passes.
    objected: bool,
}

/// What one direction says.
enum Says {
    Allow,
    /// No rule allows it, but only policies in audit mode deny. The cause is their objection.
    Spare,
    Deny,
    Inspect,
    Resolve,
}

impl Table {
    /// Whether a flow may pass: the source's egress and the destination's ingress must both let it.
    ///
    /// A side without an endpoint is not asked: its policy is another node's business, or nobody's.
    pub fn judge(&self, flow: &Flow) -> Access {
        self.judge_named(flow, &Names::NONE)
    }

    /// The same, for a destination outside the cluster that the source knows by these names ([`Table::names_of`]).
    pub fn judge_named(&self, flow: &Flow, names: &Names) -> Access {
        let named = flow.destination.endpoint.is_none() && flow.destination.identity.is_outside();
        let names = if named { names } else { &Names::NONE };
        let sides_of =
            |peer: Peer| peer.endpoint.and_then(|index| self.sides_of.get(index.position()));
        let (source, destination) = (sides_of(flow.source), sides_of(flow.destination));
        if source.is_some() && flow.source.endpoint == flow.destination.endpoint {
            let cause =
                Cause { side: 0, slot: 0, peer: flow.source.identity, kind: CauseKind::Itself };
            let (egress, ingress) = (Some(cause), Some(cause));
            return Access::Allow(Grounds { egress, ingress, audited: None });
        }
        let (mut egress, mut ingress) = (None, None);
        let (mut inspect_egress, mut inspect_ingress) = (false, false);
        let (mut resolve, mut audited) = (None::<Cause>, None);
        let (source, destination) =
            (source.map(|sides| &sides.egress), destination.map(|sides| &sides.ingress));
        if let Some(own) = source {
            let peer = flow.destination.identity;
            let Answer { says, cause, objected } = self.answer(own, peer, names, flow);
            if objected {
                audited = Some(objection(Direction::Egress, cause, peer));
            }
            match says {
                Says::Allow => egress = Some(cause),
                Says::Spare => audited = Some(denial(Direction::Egress, cause)),
                Says::Inspect => (egress, inspect_egress) = (Some(cause), true),
                Says::Resolve => (egress, resolve) = (Some(cause), Some(cause)),
                Says::Deny if self.tries(own) => audited = Some(denial(Direction::Egress, cause)),
                Says::Deny => return Access::Deny(denial(Direction::Egress, cause)),
            }
        }
        if let Some(own) = destination {
            let peer = flow.source.identity;
            let Answer { says, cause, objected } = self.answer(own, peer, &Names::NONE, flow);
            if objected {
                audited = audited.or(Some(objection(Direction::Ingress, cause, peer)));
            }
            let deny = denial(Direction::Ingress, cause);
            match says {
                Says::Allow => ingress = Some(cause),
                Says::Spare => audited = audited.or(Some(deny)),
                Says::Inspect => (ingress, inspect_ingress) = (Some(cause), true),
                // Rules about names are read on egress only.
                Says::Resolve => return Access::Deny(unclear(Direction::Ingress, cause)),
                Says::Deny if self.tries(own) => audited = audited.or(Some(deny)),
                Says::Deny => return Access::Deny(deny),
            }
        }
        if !inspect_egress && !inspect_ingress && resolve.is_none() {
            return Access::Allow(Grounds { egress, ingress, audited });
        }
        let (epoch, identity) = (self.epoch, flow.destination.identity);
        let only_tried = |own: Option<&OwnSide>| {
            own.is_some_and(|own| {
                own.side.as_ref().is_some_and(|side| side.tried) || self.tries(own)
            })
        };
        match resolve {
            Some(cause) if inspect_ingress && !source.is_some_and(|own| self.tries(own)) => {
                return Access::Deny(unclear(Direction::Egress, cause));
            }
            Some(cause) if inspect_ingress => audited = Some(unclear(Direction::Egress, cause)),
            Some(_) => {
                let grounds = Grounds { egress, ingress, audited };
                let tried = only_tried(source);
                let (destination, names) = (identity, *names);
                return Access::Resolve(DnsAccess { epoch, grounds, tried, destination, names });
            }
            None => {}
        }
        Access::Inspect(HttpAccess {
            epoch,
            egress,
            ingress,
            inspect_egress,
            inspect_ingress,
            tried: Tried { egress: only_tried(source), ingress: only_tried(destination) },
            audited,
            destination: identity,
            names: *names,
        })
    }

    /// Whether the policy of the endpoint that has a side is only tried (audit mode).
    #[inline]
    fn tries(&self, own: &OwnSide) -> bool {
        self.tries_all || own.audited
    }

    /// What a side says.
    #[inline(always)]
    fn answer(&self, own: &OwnSide, peer: Identity, names: &Names, flow: &Flow) -> Answer {
        let by = |says, slot, kind, peer| {
            let cause = Cause { side: own.number, slot, peer, kind };
            Answer { says, cause, objected: false }
        };
        if !own.enforced {
            return by(Says::Allow, 0, CauseKind::NotEnforced, peer);
        }
        let Some((policy, number, slot)) = own.slot(flow) else {
            return by(Says::Deny, 0, CauseKind::NoRule, peer);
        };
        if self.holds(slot.denied, peer) {
            return by(Says::Deny, number, CauseKind::Denied, peer);
        }
        let objected = self.holds(slot.objected, peer);
        let resolved = self.find(slot.resolved, peer, names);
        let answer = if let Some(found) = self.find(slot.inspected, peer, names) {
            // The same bytes cannot be read as HTTP and as DNS (Cilium: cannot merge conflicting L7 parsers).
            if resolved.is_some() {
                return by(Says::Deny, number, CauseKind::NoRule, peer);
            }
            by(Says::Inspect, number, CauseKind::Inspected, found)
        } else if let Some(peer) = resolved {
            by(Says::Resolve, number, CauseKind::Resolved, peer)
        } else if let Some(peer) = self.find(slot.allowed, peer, names) {
            by(Says::Allow, number, CauseKind::Allowed, peer)
        } else if policy.tried {
            let kind = if objected { CauseKind::Objected } else { CauseKind::NoRule };
            return by(Says::Spare, number, kind, peer);
        } else {
            return by(Says::Deny, number, CauseKind::NoRule, peer);
        };
        Answer { objected, ..answer }
    }

    /// The verdict on an HTTP request of a stream that began before the policy said that the port speaks DNS.
    pub fn no_request(&self, access: &DnsAccess) -> HttpVerdict {
        let unknown = Cause { side: 0, slot: 0, peer: access.destination, kind: CauseKind::NoRule };
        let cause =
            access.grounds.egress.map_or(unknown, |at| Cause { kind: CauseKind::NoRule, ..at });
        HttpVerdict::Deny { direction: Direction::Egress, cause }
    }

    /// What `name` stands for in the policy of an endpoint: the `toFQDNs` patterns of its rules that it meets. The name is in
    /// lower case, with its last dot.
    pub fn names_of(&self, endpoint: EndpointIndex, name: &str) -> Names {
        let mut names = Names::NONE;
        let Some(side) = self.egress_of(endpoint) else { return names };
        self.names.find(name, &mut |place| {
            let identity =
                usize::try_from(place).ok().and_then(|place| self.name_identities.get(place));
            if let Some(identity) = identity.filter(|identity| self.holds(side.names, **identity)) {
                names.add(*identity);
            }
        });
        names
    }

    /// Whether the requests of a flow would be judged under some name that its destination may have had: what is not known
    /// any more must not be waved through.
    pub fn may_be_inspected(&self, flow: &Flow) -> bool {
        let sides = flow.source.endpoint.and_then(|index| self.sides_of.get(index.position()));
        let Some(own) = sides.map(|sides| &sides.egress) else { return false };
        let Some((side, _, slot)) = own.slot(flow) else { return false };
        let by_name = || match slot.inspected {
            IdentitySet::None => false,
            IdentitySet::All => true,
            set @ IdentitySet::These(_) => {
                let last = self.bitmap(set).and_then(RoaringBitmap::max);
                last.is_some_and(|last| Identity::from_number(last).is_name())
            }
        };
        flow.destination.identity.is_outside() && !side.tried && !self.tries(own) && by_name()
    }

    /// Whether DNS is looked into for an endpoint, so that there is something to remember.
    ///
    /// This looks through all of its ports.
    pub fn reads_dns(&self, endpoint: EndpointIndex) -> bool {
        self.egress_of(endpoint)
            .is_some_and(|side| side.slots.iter().any(|slot| slot.dns.is_some()))
    }

    /// Whether no name can be refused on a flow that [`Table::judge`] said to resolve: a rule without names allows it too.
    pub fn allows_every_query(&self, access: &DnsAccess) -> bool {
        let slot = access.grounds.egress.and_then(|at| self.slot(at.side, at.slot));
        let allows = |slot: &Slot| self.find(slot.allowed, access.destination, &access.names);
        access.epoch == self.epoch && slot.and_then(allows).is_some()
    }

    fn egress_of(&self, endpoint: EndpointIndex) -> Option<&Side> {
        self.sides_of.get(endpoint.position())?.egress.side.as_deref()
    }

    /// Whether a DNS query for `name` (in lower case, with its last dot) may pass on a flow that [`Table::judge`] said to
    /// resolve. An access of another epoch is denied: judge the flow again first.
    pub fn judge_dns(&self, access: &DnsAccess, name: &str) -> DnsVerdict {
        let stale = Cause { side: 0, slot: 0, peer: Identity::UNKNOWN, kind: CauseKind::Stale };
        let Some(at) = access.grounds.egress.filter(|_| access.epoch == self.epoch) else {
            return DnsVerdict::Deny(stale);
        };
        let Some(slot) = self.slot(at.side, at.slot) else { return DnsVerdict::Deny(stale) };
        let mut found: Option<(u32, Identity)> = None;
        if let Some(dns) = &slot.dns {
            dns.names.find(name, &mut |place| {
                let group = usize::try_from(place).ok().and_then(|place| dns.groups.get(place));
                let peer = group
                    .and_then(|group| self.find(group.peers, access.destination, &access.names));
                if let Some(peer) = peer.filter(|_| found.is_none_or(|(first, _)| place < first)) {
                    found = Some((place, peer));
                }
            });
        }
        if let Some((place, peer)) = found {
            return DnsVerdict::Allow(Cause { kind: CauseKind::Name(place), peer, ..at });
        }
        // A rule without names for this peer allows every query on the port.
        match self.find(slot.allowed, access.destination, &access.names) {
            Some(peer) => DnsVerdict::Allow(Cause { kind: CauseKind::Allowed, peer, ..at }),
            None if access.tried => DnsVerdict::Audit(Cause { kind: CauseKind::NoRule, ..at }),
            None => DnsVerdict::Deny(Cause { kind: CauseKind::NoRule, ..at }),
        }
    }

    /// Whether a request may pass on a flow that [`Table::judge`] said to inspect. Both directions that inspect must let it.
    ///
    /// An access of another epoch is denied: judge the flow again first.
    pub fn judge_http(
        &self,
        access: &HttpAccess,
        request: &HttpRequest<'_>,
        scratch: &mut HttpScratch,
    ) -> HttpVerdict {
        scratch.for_epoch(self.epoch);
        let (mut report, mut audited) = (false, None);
        let (mut egress, mut ingress) = (None, None);
        for direction in [Direction::Egress, Direction::Ingress] {
            if !access.inspects(direction) {
                continue;
            }
            let (at, tried, grant) = match direction {
                Direction::Egress => (&access.egress, access.tried.egress, &mut egress),
                Direction::Ingress => (&access.ingress, access.tried.ingress, &mut ingress),
            };
            let Some(at) = at.as_ref().filter(|_| access.epoch == self.epoch) else {
                let cause =
                    Cause { side: 0, slot: 0, peer: Identity::UNKNOWN, kind: CauseKind::Stale };
                return HttpVerdict::Deny { direction, cause };
            };
            // The cause holds whichever of the destination's identities an inspecting rule was for; all of them count.
            let (peer, names) = match direction {
                Direction::Egress => (access.destination, &access.names),
                Direction::Ingress => (at.peer, &Names::NONE),
            };
            if let Some((kind, peer, wants_report)) =
                self.request(at, peer, names, request, scratch)
            {
                *grant = Some(Cause { kind, peer, ..*at });
                report |= wants_report;
                continue;
            }
            let cause = Cause { kind: CauseKind::NoRequest, ..*at };
            if !tried {
                return HttpVerdict::Deny { direction, cause };
            }
            audited = audited.or(Some((direction, cause)));
        }
        HttpVerdict::Allow { egress, ingress, report, audited }
    }

    /// Why one direction lets a request pass, for whom, and whether a rule wants something reported; `None` if it does not.
    fn request(
        &self,
        at: &Cause,
        peer: Identity,
        names: &Names,
        request: &HttpRequest<'_>,
        scratch: &mut HttpScratch,
    ) -> Option<(CauseKind, Identity, bool)> {
        let slot = self.slot(at.side, at.slot)?;
        let mut found: Option<(u32, Identity)> = None;
        let mut report = false;
        if let Some(http) = &slot.http {
            http.rules.find(scratch, request, &mut |place, logged| {
                let group = usize::try_from(place).ok().and_then(|place| http.groups.get(place));
                let Some(peer) = group.and_then(|group| self.find(group.peers, peer, names)) else {
                    return;
                };
                if found.is_none_or(|(first, _)| place < first) {
                    found = Some((place, peer));
                }
                report |= logged.iter().any(|header| !holds(header, request));
            });
        }
        if let Some((place, peer)) = found {
            return Some((CauseKind::Http(place), peer, report));
        }
        // A rule without HTTP for this peer allows every request on the port.
        let peer = self.find(slot.allowed, peer, names)?;
        Some((CauseKind::Allowed, peer, false))
    }

    /// Whoever is in a set of a peer's identity and those of its names.
    #[inline(always)]
    fn find(&self, set: IdentitySet, peer: Identity, names: &Names) -> Option<Identity> {
        if self.holds(set, peer) {
            Some(peer)
        } else if names.is_empty() {
            None
        } else {
            self.find_named(set, names)
        }
    }

    /// Apart, because most peers have no names.
    #[cold]
    fn find_named(&self, set: IdentitySet, names: &Names) -> Option<Identity> {
        names.iter().find(|name| self.holds(set, *name))
    }
}

/// The denial that is said by this cause.
fn denial(direction: Direction, cause: Cause) -> Denial {
    let explicit = matches!(cause.kind, CauseKind::Denied | CauseKind::Objected);
    Denial { direction, explicit, cause }
}

/// What a deny rule in audit mode says against what passes by another cause.
fn objection(direction: Direction, cause: Cause, peer: Identity) -> Denial {
    denial(direction, Cause { kind: CauseKind::Objected, peer, ..cause })
}

/// What cannot be read in one way is denied.
fn unclear(direction: Direction, cause: Cause) -> Denial {
    Denial { direction, explicit: false, cause: Cause { kind: CauseKind::NoRule, ..cause } }
}
