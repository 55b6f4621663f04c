//! Plays a script over the model network and compares both ends with the oracle.

use dataplane::inspect::{Limits, Side};

use crate::{
    endpoint::{Endpoint, Settings, State},
    network::{Network, Weather},
    random::Random,
    script::Script,
};

pub(crate) const FINE: Weather = Weather { loss: 0, duplication: 0, reorder: 0, delay: 1 };

pub(crate) fn settings(isn: u32) -> Settings {
    Settings {
        isn,
        mss: 1460,
        timestamps: None,
        sack: false,
        shift: None,
        receive_buffer: 60_000,
        reads_per_ms: 1_000_000,
        send_window: 14_600,
        delayed_ack: false,
    }
}

pub(crate) fn random_settings(random: &mut Random) -> Settings {
    let near_wrap = random.per_mille(300);
    let isn = if near_wrap { u32::MAX - random.below(60_000) as u32 } else { random.next() as u32 };
    Settings {
        isn,
        mss: random.one(&[100, 536, 1_000, 1_460, 1_460, 1_460, 8_960]),
        timestamps: random.per_mille(600).then(|| random.next() as u32),
        sack: random.per_mille(600),
        shift: random.per_mille(600).then(|| random.below(9) as u8),
        receive_buffer: random.one(&[3_000, 10_000, 40_000, 65_000, 65_000, 200_000]),
        reads_per_ms: random.one(&[300, 5_000, 1_000_000, 1_000_000, 1_000_000]),
        send_window: random.one(&[4_000, 14_600, 14_600, 60_000]),
        delayed_ack: random.per_mille(500),
    }
}

pub(crate) fn random_weather(random: &mut Random) -> Weather {
    match random.below(4) {
        0 => FINE,
        1 => Weather { loss: 10, duplication: 5, reorder: 20, delay: 1 },
        2 => Weather { loss: 50, duplication: 30, reorder: 150, delay: 2 },
        _ => Weather { loss: 0, duplication: 0, reorder: 300, delay: 1 },
    }
}

/// Plays `script`; `Err` tells what differs from the oracle.
pub(crate) fn play(script: &Script, mut network: Network) -> Result<Network, (String, Network)> {
    let (mut written, mut answered) = (0, 0);
    let start = network.now;
    network.client.connect(start);
    network.collect();
    for _ in 0..2_000_000u32 {
        if !network.step() {
            break;
        }
        let now = network.now;
        while let Some(write) =
            script.client.get(written).filter(|write| network.client.received.len() >= write.after)
        {
            if network.client.state != State::Established {
                break;
            }
            network.client.write(&write.bytes);
            written += 1;
        }
        let all_written = written == script.client.len();
        let all_read = network.client.received.len() >= script.at_client.len();
        if (all_written && (all_read || script.half_close)) || network.client.peer_finished {
            network.client.fin_queued = network.client.state == State::Established;
        }
        while let Some(write) =
            script.server.get(answered).filter(|write| network.server.received.len() >= write.after)
        {
            network.server.write(&write.bytes);
            answered += 1;
        }
        let all_answered = answered == script.server.len();
        if network.server.peer_finished
            || (script.server_closes && all_answered && network.server.state == State::Established)
        {
            network.server.fin_queued = true;
        }
        network.client.push(now);
        network.server.push(now);
        network.collect();
        if !script.at_server.starts_with(&network.server.received) {
            let what = differs("the server", &script.at_server, &network.server.received);
            return Err((what, network));
        }
        if !script.at_client.starts_with(&network.client.received) {
            let what = differs("the client", &script.at_client, &network.client.received);
            return Err((what, network));
        }
        if network.is_quiet() {
            break;
        }
        if now > start + 300_000 {
            return Err(("not finished in five minutes".into(), network));
        }
    }
    let mut wrong = Vec::new();
    for side in [&network.client, &network.server] {
        if !side.complaints.is_empty() {
            wrong.push(format!(
                "{:?} complains: {:?}",
                side.side,
                &side.complaints[..side.complaints.len().min(3)]
            ));
        }
    }
    if network.server.received != script.at_server {
        wrong.push(format!(
            "server received {} of {}",
            network.server.received.len(),
            script.at_server.len()
        ));
    }
    if network.client.received != script.at_client {
        wrong.push(format!(
            "client received {} of {}",
            network.client.received.len(),
            script.at_client.len()
        ));
    }
    if network.client.state == State::Reset {
        wrong.push("client was reset".into());
    }
    if network.server.state == State::Reset && !script.closes {
        wrong.push("server was reset".into());
    }
    if network.judge.judged != script.judged {
        wrong.push(format!("judged {:?}, not {:?}", network.judge.judged, script.judged));
    }
    if wrong.is_empty() { Ok(network) } else { Err((wrong.join("; "), network)) }
}

pub(crate) fn network(
    client: Settings,
    server: Settings,
    weather: Weather,
    random: Random,
) -> Network {
    Network::new(
        Endpoint::new(Side::Client, client),
        Endpoint::new(Side::Server, server),
        Limits::default(),
        weather,
        random,
    )
}

fn differs(who: &str, expected: &[u8], received: &[u8]) -> String {
    let at = expected.iter().zip(received).take_while(|(a, b)| a == b).count();
    let excerpt = |bytes: &[u8]| {
        let from = at.saturating_sub(10).min(bytes.len());
        String::from_utf8_lossy(&bytes[from..(at + 30).min(bytes.len())]).into_owned()
    };
    format!(
        "{who} received what it must not at {at}: {:?}, not {:?}",
        excerpt(received),
        excerpt(expected)
    )
}
