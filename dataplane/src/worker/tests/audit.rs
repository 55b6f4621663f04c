//! Audit mode: what a policy would stop passes as it came, is counted, and is told.

use super::*;

const PUT: &[u8] = b"PUT /v1/exhaust-port HTTP/1.1\r\nHost: deathstar\r\n\r\n";

impl Rig {
    fn audited(policy: &str) -> Self {
        let mut rig = Self::new(policy);
        rig.audit = true;
        rig.apply(policy);
        rig
    }

    fn told_audits(&self) -> usize {
        let events = std::iter::from_fn(|| self.worker.reporting.events.pop());
        events
            .filter(|event| {
                matches!(
                    event.happening,
                    Happening::PolicyVerdict { denied: Some(_), audited: true, .. }
                        | Happening::Request { allowed: true, audited: true, .. }
                )
            })
            .count()
    }
}

#[test]
fn a_connection_that_no_rule_allows_passes_and_is_told() {
    let mut rig = Rig::audited(L4);
    let out = rig.send(XWING, &bytes(&syn(envelope(XWING, "10.0.0.3", "10.0.0.2"), 40000, 80)));
    assert_eq!(out.len(), 1);
    assert_eq!((rig.worker.counters.audited, rig.told_audits()), (1, 1));
    rig.open(TIEFIGHTER, tiefighter_syn());
    assert_eq!((rig.worker.counters.audited, rig.told_audits()), (1, 0), "a rule allows it");
}

#[test]
fn a_request_that_no_rule_allows_passes_unchanged_and_is_told() {
    let mut rig = Rig::audited(L7);
    rig.shake_hands();
    assert_eq!(rig.told_audits(), 0);
    let out = rig.send(TIEFIGHTER, &bytes(&request(1001, 5001, PUT)));
    let [(DEATHSTAR, packet)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(headers(packet).payload(packet), Some(PUT));
    assert_eq!((rig.worker.counters.requests.audited, rig.told_audits()), (1, 1));
    // What the engine cannot even read is nobody's business in audit mode.
    let next = 1001 + u32::try_from(PUT.len()).unwrap();
    let out = rig.send(TIEFIGHTER, &bytes(&request(next, 5001, b"\x16\x03\x01 no HTTP")));
    assert_eq!(out.len(), 1);
    assert_eq!(rig.worker.counters.dropped_in_all(), 0);
}

/// The annotation is on the policy, not on the daemon.
#[test]
fn a_policy_in_audit_mode_stops_nothing_and_is_told() {
    let annotations = "metadata:\n  annotations: {blastdoor.io/policy-audit-mode: enabled}\n";
    let tried = L7.replacen("metadata:\n", annotations, 1);
    assert_ne!(tried, L7);
    let mut rig = Rig::new(&tried);
    let out = rig.send(XWING, &bytes(&syn(envelope(XWING, "10.0.0.3", "10.0.0.2"), 40000, 80)));
    assert_eq!(out.len(), 1, "no rule allows it");
    assert_eq!((rig.worker.counters.audited, rig.told_audits()), (1, 1));
    rig.shake_hands();
    let out = rig.send(TIEFIGHTER, &bytes(&request(1001, 5001, PUT)));
    let [(DEATHSTAR, packet)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(headers(packet).payload(packet), Some(PUT));
    assert_eq!((rig.worker.counters.requests.audited, rig.told_audits()), (1, 1));
    // Enforced by the next epoch, the same connection is held to it.
    rig.apply(L7);
    let next = 1001 + u32::try_from(PUT.len()).unwrap();
    rig.send(TIEFIGHTER, &bytes(&request(next, 5001, PUT)));
    assert_eq!(rig.worker.counters.requests.denied, 1);
}
