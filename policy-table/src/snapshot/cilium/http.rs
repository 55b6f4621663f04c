//! `rules`: `http` and `dns`.
//!
//! Arrives: the `rules` of a `toPorts` item. Leaves: [`L7`]; a bad HTTP pattern stays in its rule and is noticed.

use std::sync::Arc;

use super::peers::name_pattern;
use super::{Reading, not_empty};
use crate::rule::pattern::Pattern;
use crate::rule::{Direction, HeaderRule, HttpRule, L7};
use crate::snapshot::reader::{Field, Read};
use crate::snapshot::refusal::{Notice, Severity};

impl Reading<'_> {
    pub(super) fn l7(&mut self, direction: Direction, field: Field<'_>) -> Read<L7> {
        let mut record = field.record()?;
        for name in ["kafka", "l7proto", "l7"] {
            if let Some(field) = record.take(name) {
                let reason =
                    format!("{name} rules were removed in Cilium 1.20 and are not enforced here");
                return Err(field.refuse(
                    reason,
                    "take the rules section out to allow the port without inspection",
                ));
            }
        }
        let dns = not_empty(record.take("dns"))?;
        let http = not_empty(record.take("http"))?;
        record.finish()?;
        match (http, dns) {
            (None, None) => Ok(L7::Anything),
            (Some(_), Some(dns)) => {
                let reason = "multiple L7 protocol rule types specified in single rule";
                Err(dns.refuse(reason, "write two items"))
            }
            (None, Some(dns)) if direction == Direction::Ingress => {
                let advice = "say on the clients' egress which names they may ask for";
                Err(dns.refuse("DNS rules are not allowed on ingress", advice))
            }
            (None, Some(dns)) => {
                let names = dns.list()?.into_iter().map(name_pattern).collect::<Read<Vec<_>>>()?;
                Ok(L7::Dns(Arc::new(names)))
            }
            (Some(list), None) => {
                let rules = list.list()?.into_iter().map(|item| self.http_rule(item));
                Ok(L7::Http(Arc::new(rules.collect::<Read<Vec<_>>>()?)))
            }
        }
    }

    fn http_rule(&mut self, field: Field<'_>) -> Read<HttpRule> {
        let mut record = field.record()?;
        let mut patterns = [None, None, None];
        for (pattern, name) in patterns.iter_mut().zip(["path", "method", "host"]) {
            let Some(field) = record.take(name) else { continue };
            let text = field.string()?;
            if text.is_empty() {
                continue;
            }
            let read = Pattern::new(text);
            if let Some(problem) = read.problem() {
                let about =
                    field.refuse(problem, "this HTTP rule allows nothing until it is mended");
                self.notices.push(Notice { severity: Severity::Error, about: *about });
            }
            *pattern = Some(read);
        }
        let [path, method, host] = patterns;
        let mut headers = Vec::new();
        if let Some(list) = record.take("headers") {
            for entry in list.list()? {
                let text = entry.string()?;
                if text.is_empty() {
                    return Err(entry.refuse("Header name missing", ""));
                }
                headers.push(HeaderRule::parse(text));
            }
        }
        let mut logged = Vec::new();
        if let Some(list) = record.take("headerMatches") {
            for entry in list.list()? {
                let mut entry = entry.record()?;
                let name = entry.need("name")?;
                if name.string()?.is_empty() {
                    return Err(name.refuse("Header name missing", ""));
                }
                if let Some(secret) = entry.take("secret") {
                    return Err(
                        secret.refuse("secrets are not part of a snapshot", "write the value")
                    );
                }
                let value = entry
                    .take("value")
                    .map(|value| value.string().map(str::to_owned))
                    .transpose()?;
                let rule = HeaderRule {
                    name: name.string()?.to_owned(),
                    value: value.filter(|value| !value.is_empty()),
                };
                match entry.take("mismatch") {
                    None => headers.push(rule),
                    Some(mismatch) => match mismatch.string()? {
                        "" | "FAIL" => headers.push(rule),
                        "LOG" => logged.push(rule),
                        action @ ("ADD" | "DELETE" | "REPLACE") => {
                            let reason = format!(
                                "the action {action} would rewrite the request, which is not done here"
                            );
                            return Err(
                                mismatch.refuse(reason, "leave mismatch out to deny, or write LOG")
                            );
                        }
                        other => {
                            return Err(
                                mismatch.refuse(format!("Invalid header action: {other}"), "")
                            );
                        }
                    },
                }
                entry.finish()?;
            }
        }
        record.finish()?;
        Ok(HttpRule { path, method, host, headers, logged })
    }
}
