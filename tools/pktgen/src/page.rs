//! One HTML page: reports arrive as the JSON that was printed, a page leaves that needs no other file and no script.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    load_report::Connections,
    plot::{Axis, Plot},
    report::{Latency, Limitation, Traffic, micros, scaled},
    search_report::{Searches, name},
};

/// A report of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Generated or replayed packets.
    Traffic(Traffic),
    /// Connections and requests.
    Connections(Connections),
    /// Searches for rates.
    Searches(Searches),
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// It is none of those that pktgen prints.
    pub fn read(json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "traffic" => Traffic::deserialize(value).map(Self::Traffic),
            "connections" => Connections::deserialize(value).map(Self::Connections),
            "search" => Searches::deserialize(value).map(Self::Searches),
            _ => return Err("it is no report of pktgen's (`-o json`)".to_owned()),
        }
        .map_err(|error| error.to_string())
    }
}

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:800px;margin:2em auto;padding:0 1em;color:#222}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ccc}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #eee;text-align:right}\
td:first-child,th:first-child{text-align:left}.note{background:#fff6dd;padding:.2em .6em;margin:.3em 0}\
svg{max-width:100%;height:auto}";

/// Makes the page of these reports, each under its name.
///
/// # Errors
/// A drawing fails.
pub fn page(reports: &[(String, Report)]) -> Result<String, String> {
    let mut page = Page::default();
    page.text("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.text(&format!("<title>pktgen</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"));
    page.text("<h1>pktgen</h1>\n");
    page.compare(reports)?;
    for (name, report) in reports {
        page.text(&format!("<h2>{}</h2>\n", escaped(name)));
        match report {
            Report::Traffic(report) => page.traffic(report)?,
            Report::Connections(report) => page.connections(report)?,
            Report::Searches(report) => page.searches(report)?,
        }
    }
    page.text("</body>\n</html>\n");
    Ok(page.html)
}

#[derive(Default)]
struct Page {
    html: String,
}

impl Page {
    fn text(&mut self, text: &str) {
        self.html.push_str(text);
    }

    fn plot(&mut self, plot: &Plot<'_>) -> Result<(), String> {
        if let Some(svg) = plot.svg()? {
            self.text(&svg);
            self.text("\n");
        }
        Ok(())
    }

    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.text("<table>\n<tr>");
        head.iter().for_each(|cell| self.text(&format!("<th>{}</th>", escaped(cell))));
        self.text("</tr>\n");
        for row in rows {
            self.text("<tr>");
            row.iter().for_each(|cell| self.text(&format!("<td>{}</td>", escaped(cell))));
            self.text("</tr>\n");
        }
        self.text("</table>\n");
    }

    fn limits(&mut self, limits: &[Limitation]) {
        for limit in limits {
            self.text(&format!("<p class=\"note\">{}</p>\n", escaped(&limit.text)));
        }
    }

    /// The delays of several reports in one drawing.
    fn compare(&mut self, reports: &[(String, Report)]) -> Result<(), String> {
        let series: Vec<_> = reports
            .iter()
            .filter_map(|(name, report)| match report {
                Report::Traffic(report) => {
                    Some((name.clone(), quantiles(&report.rx.as_ref()?.latency)))
                }
                Report::Connections(report) => {
                    Some((name.clone(), quantiles(&report.client.as_ref()?.response)))
                }
                Report::Searches(_) => None,
            })
            .filter(|(_, points)| !points.is_empty())
            .collect();
        if series.len() < 2 {
            return Ok(());
        }
        self.delays("Delays of all reports", series)
    }

    fn delays(
        &mut self,
        title: &str,
        series: Vec<(String, Vec<(f64, f64)>)>,
    ) -> Result<(), String> {
        self.plot(&Plot {
            title,
            x: ("part of all", Axis::Nines),
            y: ("us at most", Axis::Logarithmic),
            is_joined: true,
            series,
        })
    }

    fn over_time(
        &mut self,
        title: &str,
        what: &str,
        series: Vec<(String, Vec<(f64, f64)>)>,
    ) -> Result<(), String> {
        let (x, y) = (("s", Axis::Linear), (what, Axis::Linear));
        self.plot(&Plot { title, x, y, is_joined: true, series })
    }

    fn traffic(&mut self, report: &Traffic) -> Result<(), String> {
        self.limits(&report.limits);
        let mut rows = Vec::new();
        if let Some(tx) = &report.tx {
            rows.push(vec!["sent on".to_owned(), format!("{} ({})", tx.interface, tx.mode)]);
            rows.push(vec!["rate asked for".to_owned(), tx.rate.clone()]);
            rows.push(vec!["packets sent".to_owned(), tx.completed.to_string()]);
            rows.push(vec!["packets/s sent".to_owned(), scaled(tx.pps)]);
        }
        if let Some(rx) = &report.rx {
            let place = format!("{} ({}, {} XDP)", rx.interface, rx.mode, rx.xdp);
            rows.push(vec!["received on".to_owned(), place]);
            rows.push(vec!["packets received".to_owned(), rx.received.to_string()]);
            rows.push(vec!["packets/s received".to_owned(), scaled(rx.pps)]);
            rows.push(vec!["lost".to_owned(), format!("{} ({:.4} %)", rx.lost, rx.loss * 100.0)]);
            rows.push(vec!["reordered".to_owned(), rx.reordered.to_string()]);
            rows.push(vec!["duplicates".to_owned(), rx.duplicates.to_string()]);
        }
        self.table(&["", ""], &rows);
        let times = |count: fn(&crate::run::Sample) -> u64| {
            rates(report.series.iter().map(|sample| (sample.at, count(sample))))
        };
        let mut series = Vec::new();
        if report.tx.is_some() {
            series.push(("sent".to_owned(), times(|sample| sample.handed)));
        }
        if let Some(rx) = &report.rx {
            series.push(("received".to_owned(), times(|sample| sample.received)));
            self.latencies(&[("all", &rx.latency)]);
            self.delays("Delay", vec![("all".to_owned(), quantiles(&rx.latency))])?;
        }
        self.over_time("Packets", "packets/s", series)?;
        if report.streams.len() > 1 {
            let rows: Vec<Vec<String>> = report
                .streams
                .iter()
                .map(|stream| {
                    let sent = stream.sent.map_or_else(String::new, |sent| sent.to_string());
                    let counts =
                        [stream.received, stream.lost, stream.reordered, stream.duplicates];
                    let name = [stream.name.clone(), sent];
                    name.into_iter()
                        .chain(counts.map(|count| count.to_string()))
                        .chain([micros(stream.latency.p99)])
                        .collect()
                })
                .collect();
            let head = ["stream", "sent", "received", "lost", "reordered", "duplicates", "p99"];
            self.table(&head, &rows);
        }
        Ok(())
    }

    fn latencies(&mut self, latencies: &[(&str, &Latency)]) {
        let rows: Vec<Vec<String>> = latencies
            .iter()
            .filter(|(_, latency)| latency.count > 0)
            .map(|(name, latency)| {
                let Latency { min, p50, p90, p99, p99_9, p99_99, max, .. } = **latency;
                let values = [min, p50, p90, p99, p99_9, p99_99, max];
                std::iter::once((*name).to_owned()).chain(values.map(micros)).collect()
            })
            .collect();
        if !rows.is_empty() {
            self.table(&["delay", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"], &rows);
        }
    }

    fn connections(&mut self, report: &Connections) -> Result<(), String> {
        self.limits(&report.limits);
        let mut rows = Vec::new();
        if let Some(client) = &report.client {
            let place = format!("{} ({}, {} XDP)", client.interface, client.mode, client.xdp);
            rows.push(vec!["client on".to_owned(), place]);
            for (name, value) in [
                ("connections", client.connected.to_string()),
                ("connections/s", scaled(client.connections_per_second)),
                ("at once, at most", client.peak.to_string()),
                ("requests", client.requests.to_string()),
                ("right responses/s", scaled(client.requests_per_second)),
                ("allowed", client.allowed.to_string()),
                ("denied", client.denied.to_string()),
                ("wrong", client.wrong.to_string()),
            ] {
                rows.push(vec![name.to_owned(), value]);
            }
        }
        if let Some(server) = &report.server {
            let place = format!("{} ({}, {} XDP)", server.interface, server.mode, server.xdp);
            rows.push(vec!["server on".to_owned(), place]);
            rows.push(vec!["requests that came".to_owned(), server.requests.to_string()]);
        }
        self.table(&["", ""], &rows);
        if let Some(client) = &report.client {
            self.latencies(&[("handshake", &client.handshake), ("response", &client.response)]);
            let series = vec![
                ("handshake".to_owned(), quantiles(&client.handshake)),
                ("response".to_owned(), quantiles(&client.response)),
            ];
            self.delays("Delay", series)?;
        }
        let times = |count: fn(&crate::load::LoadSample) -> u64| {
            rates(report.series.iter().map(|sample| (sample.at, count(sample))))
        };
        let series = vec![
            ("connections".to_owned(), times(|sample| sample.connected)),
            ("responses".to_owned(), times(|sample| sample.responses)),
        ];
        self.over_time("Connections and responses", "each second", series)?;
        let open = report.series.iter().map(|sample| (sample.at, number(sample.open))).collect();
        self.over_time("Connections at once", "connections", vec![("open".to_owned(), open)])
    }

    fn searches(&mut self, report: &Searches) -> Result<(), String> {
        self.limits(&report.limits);
        let rows: Vec<Vec<String>> = report
            .results
            .iter()
            .map(|result| {
                let spread = &result.pps;
                let within = spread.confidence.map_or_else(String::new, scaled);
                let delay = result.at_best().map_or_else(String::new, |trial| micros(trial.p99));
                let range =
                    format!("{} to {}", scaled(number(spread.min)), scaled(number(spread.max)));
                vec![name(result), scaled(spread.mean), range, within, delay]
            })
            .collect();
        let head = ["goal", "packets/s", "of all searches", "mean within (95 %)", "p99 there"];
        self.table(&head, &rows);
        let points = |y: fn(&crate::search::Trial) -> f64| -> Vec<(String, Vec<(f64, f64)>)> {
            report
                .results
                .iter()
                .map(|result| {
                    let mut points: Vec<(f64, f64)> =
                        result.trials.iter().map(|trial| (number(trial.rate), y(trial))).collect();
                    points.sort_by(|a, b| a.0.total_cmp(&b.0));
                    (name(result), points)
                })
                .collect()
        };
        self.plot(&Plot {
            title: "Loss by rate, each trial",
            x: ("packets/s asked for", Axis::Linear),
            y: ("% lost", Axis::Linear),
            is_joined: false,
            series: points(|trial| trial.loss * 100.0),
        })?;
        self.plot(&Plot {
            title: "Delay by rate, p99 of each trial",
            x: ("packets/s asked for", Axis::Linear),
            y: ("us", Axis::Logarithmic),
            is_joined: false,
            series: points(|trial| number(trial.p99) / 1000.0),
        })
    }
}

/// Growth from sample to sample, each second.
fn rates(counts: impl Iterator<Item = (f64, u64)> + Clone) -> Vec<(f64, f64)> {
    let pairs = counts.clone().zip(counts.skip(1));
    pairs
        .filter(|((before, _), (now, _))| now > before)
        .map(|((before, from), (now, to))| (now, number(to.saturating_sub(from)) / (now - before)))
        .collect()
}

fn quantiles(latency: &Latency) -> Vec<(f64, f64)> {
    latency.quantiles.iter().map(|&(share, nanos)| (share, number(nanos) / 1000.0)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "for a drawing")]
fn number(count: u64) -> f64 {
    count as f64
}

/// Text for HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAFFIC: &str = include_str!("../tests/reports/traffic.json");
    const CONNECTIONS: &str = include_str!("../tests/reports/connections.json");
    const SEARCH: &str = include_str!("../tests/reports/search.json");

    #[test]
    fn every_kind_of_report_becomes_a_part_of_one_page() {
        let reports: Vec<(String, Report)> = [TRAFFIC, CONNECTIONS, SEARCH]
            .into_iter()
            .enumerate()
            .map(|(number, json)| (format!("<run> {number}"), Report::read(json).unwrap()))
            .collect();
        let page = page(&reports).unwrap();
        for title in [
            "Delays of all reports",
            "Packets",
            "Connections at once",
            "Loss by rate",
            "Delay by rate",
        ] {
            assert!(page.contains(title), "{title}");
        }
        assert!(page.contains("&lt;run&gt; 2") && !page.contains("<run>"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("<script") && !page.contains("href="), "it needs nothing else");
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(Report::read("{}").unwrap_err().contains("no report of pktgen's"));
        assert!(Report::read("{\"kind\":\"traffic\"}").unwrap_err().contains("missing field"));
        assert!(Report::read("nonsense").is_err());
    }
}
