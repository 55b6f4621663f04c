//! The engine's judge: the table of this epoch. Verdicts are counted and told here.

use std::sync::atomic::Ordering;

use parser::{
    flow_key::FlowTuple,
    http::{HttpRefusal, RequestHead},
    tcp::TcpFlags,
};
use policy_table::{Access, HttpRequest, HttpScratch, HttpVerdict, Table};

use crate::{
    connection::Judgement,
    counters::{Counters, RequestCounters},
    flow::{FlowEvent, Happening, RequestText},
    hits::Hits,
    inspect::{Judge, Ruling},
    worker::{Reporting, clock::Tick},
};

/// The engine's judge: the table of this epoch.
pub(super) struct PolicyJudge<'a> {
    table: &'a Table,
    judgement: &'a Judgement,
    scratch: &'a mut HttpScratch,
    reporting: &'a Reporting,
    hits: &'a mut Hits,
    flow: &'a FlowTuple,
    now: Tick,
    requests: RequestCounters,
    events_lost: u64,
}

impl<'a> PolicyJudge<'a> {
    pub(super) fn new(
        table: &'a Table,
        (judgement, flow): (&'a Judgement, &'a FlowTuple),
        scratch: &'a mut HttpScratch,
        (reporting, hits): (&'a Reporting, &'a mut Hits),
        now: Tick,
    ) -> Self {
        Self {
            table,
            judgement,
            scratch,
            reporting,
            hits,
            flow,
            now,
            requests: RequestCounters::default(),
            events_lost: 0,
        }
    }
}

impl PolicyJudge<'_> {
    /// Adds what it did to the worker's counters.
    pub(super) fn report(&self, counters: &mut Counters) {
        counters.count_requests(&self.requests);
        counters.events_lost += self.events_lost;
    }

    fn verdict(&mut self, head: &RequestHead<'_>) -> HttpVerdict {
        let fields = |visit: &mut dyn FnMut(&str, &[u8])| {
            for field in head.fields() {
                visit(std::str::from_utf8(field.name).unwrap_or_default(), field.value);
            }
        };
        let request = HttpRequest {
            method: head.method,
            path: head.path_and_query,
            host: head.host,
            headers: &fields,
        };
        match &self.judgement.access {
            Access::Inspect(http) => self.table.judge_http(http, &request, self.scratch),
            // The port is about DNS now, which no request is.
            Access::Resolve(dns) => self.table.no_request(dns),
            // The HTTP rules are gone; the stream stays, because its numbers are translated.
            Access::Allow(grounds) => HttpVerdict::Allow {
                egress: grounds.egress,
                ingress: grounds.ingress,
                report: false,
                audited: None,
            },
            Access::Deny(denial) => {
                HttpVerdict::Deny { direction: denial.direction, cause: denial.cause }
            }
        }
    }
}

impl Judge for PolicyJudge<'_> {
    fn judge(&mut self, head: &RequestHead<'_>) -> Ruling {
        let verdict = self.verdict(head);
        let (allowed, audited) = match &verdict {
            HttpVerdict::Allow { audited: Some(_), .. } => (true, true),
            HttpVerdict::Allow { egress, ingress, .. } => {
                self.hits.request(egress.iter().chain(ingress));
                (true, false)
            }
            HttpVerdict::Deny { cause, .. } => {
                self.hits.denied(*cause);
                (false, false)
            }
        };
        self.requests.allowed += u64::from(allowed);
        self.requests.denied += u64::from(!allowed);
        self.requests.audited += u64::from(audited);
        // Allowed requests are told only to those who listen: at line rate they would be all that we do.
        if !allowed || audited || self.reporting.observers.following.load(Ordering::Relaxed) {
            let text = RequestText::new(head.method, head.host, head.path_and_query);
            let (direction, cause) = verdict.told().unzip();
            self.tell(Happening::Request { allowed, audited, text, direction, cause });
        }
        if allowed { Ruling::Allow } else { Ruling::Deny }
    }

    fn refused(&mut self, refusal: HttpRefusal) {
        self.requests.refused += 1;
        self.tell(Happening::Refused(refusal));
    }
}

impl PolicyJudge<'_> {
    fn tell(&mut self, happening: Happening) {
        let event = FlowEvent {
            tick: self.now,
            epoch: self.table.epoch(),
            tuple: *self.flow,
            source: self.judgement.source.identity,
            destination: self.judgement.destination.identity,
            flags: TcpFlags::NONE,
            icmp_type: None,
            happening,
        };
        if self.reporting.events.push(event).is_err() {
            self.events_lost += 1;
        }
    }
}
