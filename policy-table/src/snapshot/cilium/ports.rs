//! `toPorts` and `icmps`.
//!
//! Arrives: the lists of one item. Leaves: [`Ports`], each with its HTTP rules.

use super::{Reading, not_empty};
use crate::rule::{Direction, Effect, L7, PortProtocol, PortRule, PortSpec, Ports, Protocol};
use crate::snapshot::reader::{Field, Read};

/// Most ports of a `toPorts` item, and most fields of an `icmps` item (Cilium's limits).
const MOST: usize = 40;

impl Reading<'_> {
    pub(super) fn ports(
        &mut self,
        direction: Direction,
        effect: Effect,
        list: &Field<'_>,
    ) -> Read<Ports> {
        let mut rules = Vec::new();
        for item in list.list()? {
            let mut record = item.record()?;
            for (name, reason) in [
                ("terminatingTLS", "TLS is not terminated here"),
                ("originatingTLS", "TLS is not originated here"),
                ("serverNames", "TLS server names are not matched here"),
                ("listener", "there is no proxy to hand the connection to"),
            ] {
                if let Some(field) = record.take(name) {
                    return Err(field.refuse(reason, "allow the port without it, or by CIDR"));
                }
            }
            let ports = record.take("ports");
            let l7 = match record.take("rules") {
                Some(rules) if effect == Effect::Deny => {
                    return Err(rules.refuse("deny rules take ports only, no L7 rules", ""));
                }
                Some(rules) => self.l7(direction, rules)?,
                None => L7::Anything,
            };
            record.finish()?;
            let Some(ports) = not_empty(ports)? else {
                if l7.dns().is_some() {
                    let advice = "name the port of the DNS servers";
                    return Err(list.refuse("port 53 must be specified for DNS rules", advice));
                }
                continue;
            };
            let entries = ports.list()?;
            if entries.len() > MOST {
                return Err(
                    ports.refuse(format!("too many ports, the max is {MOST}"), "write two items")
                );
            }
            for entry in entries {
                let (protocol, port) = port_protocol(entry.clone())?;
                check_l7(&entry, &l7, protocol, &port)?;
                rules.push(PortRule { protocol, port, l7: l7.clone() });
            }
        }
        Ok(if rules.is_empty() { Ports::Nothing } else { Ports::AnyOf(rules) })
    }
}

/// Whether requests can be judged on a port.
fn check_l7(entry: &Field<'_>, l7: &L7, protocol: PortProtocol, port: &PortSpec) -> Read<()> {
    let name = match protocol {
        PortProtocol::Any => "ANY".to_owned(),
        PortProtocol::Is(protocol) => protocol.to_string(),
    };
    match l7 {
        L7::Anything => return Ok(()),
        L7::Http(_) if protocol != PortProtocol::Is(Protocol::TCP) => {
            let reason =
                format!("L7 rules can only apply to TCP (not {name}) except for DNS rules");
            return Err(entry.refuse(reason, "write `protocol: TCP`"));
        }
        L7::Dns(_) if protocol == PortProtocol::Is(Protocol::SCTP) => {
            let reason = format!("DNS rules can only apply to UDP and TCP (not {name})");
            return Err(entry.refuse(reason, "write `protocol: UDP`"));
        }
        L7::Dns(_) if matches!(port, PortSpec::Range(first, last) if first < last) => {
            return Err(entry.refuse("DNS rules do not support port ranges", "name each port"));
        }
        L7::Http(_) | L7::Dns(_) => {}
    }
    if *port == PortSpec::Every {
        return Err(entry.refuse("L7 rules can not be used when a port is 0", "name the ports"));
    }
    Ok(())
}

/// One entry of `ports`.
fn port_protocol(field: Field<'_>) -> Read<(PortProtocol, PortSpec)> {
    let mut record = field.record()?;
    let protocol = match record.take("protocol") {
        None => PortProtocol::Any,
        Some(protocol) => match protocol.string()? {
            "" | "ANY" => PortProtocol::Any,
            "TCP" => PortProtocol::Is(Protocol::TCP),
            "UDP" => PortProtocol::Is(Protocol::UDP),
            "SCTP" => PortProtocol::Is(Protocol::SCTP),
            other => {
                let reason =
                    format!("invalid protocol {other:?}, must be {{ tcp | udp | sctp | any }}");
                let advice = if other.starts_with("ICMP") { "use icmps" } else { "" };
                return Err(protocol.refuse(reason, advice));
            }
        },
    };
    let port = record.need("port")?;
    let text = port.string()?;
    if text.is_empty() {
        return Err(port.refuse("port must be specified", ""));
    }
    let end = record.take("endPort").map(|end| Read::Ok((end.number()?, end))).transpose()?;
    record.finish()?;
    let spec = match text.parse::<u32>() {
        Ok(number) => {
            let Ok(first) = u16::try_from(number) else {
                return Err(port.refuse(format!("Port: {text} is not a port"), "write 0 to 65535"));
            };
            match end {
                // Zero is how Go writes "not given".
                None | Some((0, _)) if first == 0 => PortSpec::Every,
                None | Some((0, _)) => PortSpec::Range(first, first),
                Some((last, at)) => {
                    let last = u16::try_from(last).ok().filter(|last| *last >= first && first > 0);
                    let advice = "endPort must not lie before port, and port must not be 0";
                    PortSpec::Range(
                        first,
                        last.ok_or_else(|| at.refuse("invalid endPort", advice))?,
                    )
                }
            }
        }
        Err(_) => PortSpec::Named(service_name(&port, text)?),
    };
    Ok((protocol, spec))
}

/// A port's name as IANA takes it, in lower case.
pub(in crate::snapshot) fn service_name(field: &Field<'_>, text: &str) -> Read<String> {
    let name = text.to_ascii_lowercase();
    let fits = name.len() <= 15
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fits {
        Ok(name)
    } else {
        Err(field.refuse(format!("{text:?} is neither a port nor the name of one"), ""))
    }
}

pub(super) fn icmp_types(list: &Field<'_>) -> Read<Ports> {
    let mut rules = Vec::new();
    for item in list.list()? {
        let mut record = item.record()?;
        let fields = record.take("fields");
        record.finish()?;
        let Some(fields) = fields else { continue };
        let entries = fields.list()?;
        if entries.len() > MOST {
            return Err(
                fields.refuse(format!("too many types, the max is {MOST}"), "write two items")
            );
        }
        for entry in entries {
            let mut entry = entry.record()?;
            let protocol = match entry
                .take("family")
                .map(|family| Read::Ok((family.string()?, family)))
                .transpose()?
            {
                None | Some(("IPv4" | "", _)) => Protocol::ICMP,
                Some(("IPv6", _)) => Protocol::ICMPV6,
                Some((other, at)) => {
                    return Err(
                        at.refuse(format!("unknown family {other:?}"), "write IPv4 or IPv6")
                    );
                }
            };
            let kind = entry.need("type")?;
            entry.finish()?;
            let number = match kind.number_or_string()? {
                Ok(number) => u8::try_from(number).ok(),
                Err(text) => text.parse::<u8>().ok().or_else(|| icmp_type(protocol, text)),
            };
            let Some(number) = number else {
                return Err(kind.refuse("unknown ICMP type", "write its number, 0 to 255"));
            };
            let number = u16::from(number);
            let port = PortSpec::Range(number, number);
            rules.push(PortRule { protocol: PortProtocol::Is(protocol), port, l7: L7::Anything });
        }
    }
    Ok(if rules.is_empty() { Ports::Nothing } else { Ports::AnyOf(rules) })
}

/// The ICMP types that have names in Cilium's policies (IANA's names in camel case).
fn icmp_type(protocol: Protocol, name: &str) -> Option<u8> {
    const V4: [(&str, u8); 14] = [
        ("EchoReply", 0),
        ("DestinationUnreachable", 3),
        ("Redirect", 5),
        ("Echo", 8),
        ("EchoRequest", 8),
        ("RouterAdvertisement", 9),
        ("RouterSelection", 10),
        ("TimeExceeded", 11),
        ("ParameterProblem", 12),
        ("Timestamp", 13),
        ("TimestampReply", 14),
        ("Photuris", 40),
        ("ExtendedEcho Request", 42),
        ("ExtendedEcho Reply", 43),
    ];
    const V6: [(&str, u8); 20] = [
        ("DestinationUnreachable", 1),
        ("PacketTooBig", 2),
        ("TimeExceeded", 3),
        ("ParameterProblem", 4),
        ("EchoRequest", 128),
        ("EchoReply", 129),
        ("MulticastListenerQuery", 130),
        ("MulticastListenerReport", 131),
        ("MulticastListenerDone", 132),
        ("RouterSolicitation", 133),
        ("RouterAdvertisement", 134),
        ("NeighborSolicitation", 135),
        ("NeighborAdvertisement", 136),
        ("RedirectMessage", 137),
        ("RouterRenumbering", 138),
        ("ICMPNodeInformationQuery", 139),
        ("ICMPNodeInformationResponse", 140),
        ("InverseNeighborDiscoverySolicitation", 141),
        ("InverseNeighborDiscoveryAdvertisement", 142),
        ("DuplicateAddressRequest", 157),
    ];
    let known: &[(&str, u8)] = if protocol == Protocol::ICMP { &V4 } else { &V6 };
    known.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
