//! What traffic to send: a TOML file or the command line's fields arrive, checked streams leave.
//!
//! Every field of a stream is text in one syntax ([`Values`]), wherever it was written, so that there is one reader and one set
//! of errors, each with its stream, its field and, from a file, its line.

use std::{
    cell::Cell,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use dataplane::umem::CAPACITY;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use crate::{
    mac,
    rate::{Rate, RateError},
    tag,
    values::{Values, ValuesError},
};

/// Streams that one run can have: each has its own latency histogram.
pub const MAX_STREAMS: usize = 256;

const ETHERNET_LEN: usize = 14;
const VLAN_LEN: usize = 4;

/// Frame sizes of the simple internet mix: 7 of 60, 4 of 590 and 1 of 1514 bytes (64, 594 and 1518 with the wire's checksum).
const IMIX: (u128, [u128; 11]) = (60, [590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590]);

/// The payload behind the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// This text again and again; one zero byte for an empty one. INVARIANT: not empty.
    Repeated(Vec<u8>),
    /// New random bytes in every packet.
    Random,
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// A TCP segment with SYN and nothing else, as one that opens a connection; its sequence number is random.
    TcpSyn,
}

/// One stream, ready to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name in reports.
    pub name: String,
    /// Its share of the packets, against the other streams' weights.
    pub weight: u32,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The sending stations.
    pub source_mac: Values,
    /// The receiving stations.
    pub destination_mac: Values,
    /// VLAN numbers, for frames with a tag (IEEE 802.1Q).
    pub vlan: Option<Values>,
    /// Whether it is IPv6.
    pub is_ipv6: bool,
    /// The senders' addresses, as numbers.
    pub source: Values,
    /// The receivers' addresses, as numbers.
    pub destination: Values,
    /// The senders' ports.
    pub src_port: Values,
    /// The receivers' ports.
    pub dst_port: Values,
    /// Bytes of a frame, Ethernet header included.
    pub size: Values,
    /// What follows the tag.
    pub payload: Payload,
}

/// A checked mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Where random fields start from.
    pub seed: u64,
    /// How fast, if the mix says so.
    pub rate: Option<Rate>,
    /// Packets back to back, if the mix says so.
    pub burst: Option<u64>,
    /// What is sent. INVARIANT: one to [`MAX_STREAMS`].
    pub streams: Vec<Stream>,
}

/// Why there is no such mix.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, or has a field that no mix has.
    #[error("{path}: {source}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A stream's field is wrong.
    #[error("{place}stream {stream}: {field}: {reason}")]
    Field {
        /// The file and line, if it came from a file.
        place: String,
        /// The stream's name.
        stream: String,
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The mix as a whole is wrong.
    #[error("{0}")]
    Mix(String),
}

/// A value as written: text, a number, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(pub String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> de::Visitor<'de> for Reader {
            type Value = Written;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(Written(text.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Written, E> {
                Ok(Written(number.to_string()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Written, A::Error> {
                let mut parts = Vec::new();
                while let Some(Written(part)) = list.next_element()? {
                    parts.push(part);
                }
                Ok(Written(parts.join(",")))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A field as written, with its line if it came from a file.
type Field = Option<Spanned<Written>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenMix {
    #[serde(default)]
    seed: u64,
    rate: Option<Written>,
    burst: Option<u64>,
    stream: Vec<WrittenStream>,
}

/// A stream as written. Fields that are left out get the values that the command line's help names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrittenStream {
    name: Option<String>,
    weight: Option<u32>,
    protocol: Field,
    source_mac: Field,
    destination_mac: Field,
    vlan: Field,
    source: Field,
    destination: Field,
    src_port: Field,
    dst_port: Field,
    size: Field,
    payload: Field,
}

/// The command line's fields of its only stream.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StreamArgs {
    /// The sending station's MAC address [default: the interface's]
    #[arg(long)]
    source_mac: Option<String>,
    /// The receiving station's MAC address
    #[arg(long)]
    destination_mac: Option<String>,
    /// A VLAN number; untagged without
    #[arg(long)]
    vlan: Option<String>,
    /// The sender's address, IPv4 or IPv6
    #[arg(long)]
    source: Option<String>,
    /// The receiver's address, of the same version
    #[arg(long)]
    destination: Option<String>,
    /// `udp`, or `tcp-syn` for segments that open connections [default: udp]
    #[arg(long)]
    protocol: Option<String>,
    /// The sender's port [default: 40000]
    #[arg(long)]
    src_port: Option<String>,
    /// The receiver's port [default: 9, discard]
    #[arg(long)]
    dst_port: Option<String>,
    /// Bytes of a frame, Ethernet header included, or `imix` [default: 128]
    #[arg(long)]
    size: Option<String>,
    /// `zeros`, `random`, `text:…` or `hex:…`, repeated to the frame's end [default: zeros]
    #[arg(long)]
    payload: Option<String>,
}

impl StreamArgs {
    /// Whether no field is given.
    pub fn is_empty(&self) -> bool {
        let Self { source_mac, destination_mac, vlan, source, destination, .. } = self;
        let Self { protocol, src_port, dst_port, size, payload, .. } = self;
        [source_mac, destination_mac, vlan, source, destination, protocol]
            .into_iter()
            .chain([src_port, dst_port, size, payload])
            .all(Option::is_none)
    }

    /// The mix of this one stream.
    ///
    /// # Errors
    /// A field is wrong or missing.
    pub fn to_mix(&self, seed: u64, own_mac: &str) -> Result<Mix, MixError> {
        let field =
            |text: &Option<String>| text.clone().map(|text| Spanned::new(0..0, Written(text)));
        let written = WrittenStream {
            name: Some("0".to_owned()),
            weight: None,
            protocol: field(&self.protocol),
            source_mac: field(&self.source_mac),
            destination_mac: field(&self.destination_mac),
            vlan: field(&self.vlan),
            source: field(&self.source),
            destination: field(&self.destination),
            src_port: field(&self.src_port),
            dst_port: field(&self.dst_port),
            size: field(&self.size),
            payload: field(&self.payload),
        };
        let streams = vec![Reader { own_mac, file: None }.stream(0, &written)?];
        Ok(Mix { seed, rate: None, burst: None, streams })
    }
}

impl Mix {
    /// Reads a mix file. `own_mac` is the interface's address, for streams that name no sending station.
    ///
    /// # Errors
    /// It cannot be read or a field is wrong.
    pub fn read(path: &Path, own_mac: &str) -> Result<Self, MixError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| MixError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, own_mac)
    }

    /// Reads a mix from `text`; `path` is where it came from.
    ///
    /// # Errors
    /// A field is wrong.
    pub fn parse(text: &str, path: &Path, own_mac: &str) -> Result<Self, MixError> {
        let written: WrittenMix = toml::from_str(text)
            .map_err(|source| MixError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        let refused = |reason: String| MixError::Mix(format!("{}: {reason}", path.display()));
        if written.stream.is_empty() || written.stream.len() > MAX_STREAMS {
            return Err(refused(format!("needs 1 to {MAX_STREAMS} [[stream]] tables")));
        }
        let rate = written
            .rate
            .map(|Written(text)| text.parse())
            .transpose()
            .map_err(|error: RateError| refused(format!("rate: {error}")))?;
        let reader = Reader { own_mac, file: Some((path, text)) };
        let streams = written
            .stream
            .iter()
            .enumerate()
            .map(|(number, stream)| reader.stream(number, stream))
            .collect::<Result<Vec<_>, _>>()?;
        if streams.iter().all(|stream| stream.weight == 0) {
            return Err(refused("all weights are 0, so nothing would be sent".to_owned()));
        }
        Ok(Self { seed: written.seed, rate, burst: written.burst, streams })
    }

    /// The same mix, every frame of `size` bytes: what RFC 2544 asks for.
    ///
    /// # Errors
    /// A stream's headers and tag do not fit, or no chunk holds such a frame.
    pub fn with_size(&self, size: usize) -> Result<Self, MixError> {
        let mut mix = self.clone();
        for stream in &mut mix.streams {
            stream.size = Values::fixed(size as u128);
            stream.check_size().map_err(|reason| MixError::Field {
                place: String::new(),
                stream: stream.name.clone(),
                field: "size",
                reason,
            })?;
        }
        Ok(mix)
    }
}

impl Stream {
    /// Bytes in front of the tag.
    pub fn headers_len(&self) -> usize {
        let vlan = if self.vlan.is_some() { VLAN_LEN } else { 0 };
        let ip = if self.is_ipv6 { 40 } else { 20 };
        let transport = match self.protocol {
            Protocol::Udp => 8,
            Protocol::TcpSyn => 20,
        };
        ETHERNET_LEN + vlan + ip + transport
    }

    fn check_size(&self) -> Result<(), String> {
        let least = self.headers_len() + tag::LEN;
        let (smallest, largest) = self.size.bounds();
        if smallest < least as u128 || largest > CAPACITY as u128 {
            return Err(format!(
                "a frame of {} bytes cannot be sent: choose {least} (headers and tag) to {CAPACITY}",
                if smallest < least as u128 { smallest } else { largest }
            ));
        }
        Ok(())
    }
}

/// Reads streams and says where what is wrong was written.
struct Reader<'a> {
    own_mac: &'a str,
    file: Option<(&'a Path, &'a str)>,
}

impl Reader<'_> {
    fn stream(&self, number: usize, written: &WrittenStream) -> Result<Stream, MixError> {
        let name = written.name.clone().unwrap_or_else(|| number.to_string());
        let field =
            |field: &'static str, written: &Field, default: Option<&str>, read: &ReadOne| {
                self.values(&name, field, written, default, read)
            };
        let mac_number = |text: &str| mac::parse(text).map(mac::to_number).map_err(to_text);
        let port = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|&port| port != 0)
                .map(u128::from)
                .ok_or_else(|| "not a port: write 1 to 65535".to_owned())
        };
        let vlan = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|number| (1..=4094).contains(number))
                .map(u128::from)
                .ok_or_else(|| "not a VLAN: write 1 to 4094".to_owned())
        };
        let (source, source_is_ipv6) = self.addresses(&name, "source", &written.source)?;
        let (destination, is_ipv6) = self.addresses(&name, "destination", &written.destination)?;
        if source_is_ipv6 != is_ipv6 {
            let reason = "source and destination must be of the same IP version".to_owned();
            return Err(self.error(&name, "destination", written.destination.as_ref(), reason));
        }
        let stream = Stream {
            weight: written.weight.unwrap_or(1),
            protocol: self.protocol(&name, &written.protocol)?,
            source_mac: field("source-mac", &written.source_mac, Some(self.own_mac), &mac_number)?,
            destination_mac: field("destination-mac", &written.destination_mac, None, &mac_number)?,
            vlan: match &written.vlan {
                None => None,
                written => Some(field("vlan", written, None, &vlan)?),
            },
            is_ipv6,
            source,
            destination,
            src_port: field("src-port", &written.src_port, Some("40000"), &port)?,
            dst_port: field("dst-port", &written.dst_port, Some("9"), &port)?,
            size: self.size(&name, &written.size)?,
            payload: self.payload(&name, &written.payload)?,
            name,
        };
        stream
            .check_size()
            .map_err(|reason| self.error(&stream.name, "size", written.size.as_ref(), reason))?;
        Ok(stream)
    }

    fn values(
        &self,
        stream: &str,
        name: &'static str,
        written: &Field,
        default: Option<&str>,
        read: &ReadOne,
    ) -> Result<Values, MixError> {
        let text = match (written, default) {
            (Some(written), _) => written.get_ref().0.as_str(),
            (None, Some(default)) => default,
            (None, None) => {
                return Err(self.error(stream, name, None, "is missing".to_owned()));
            }
        };
        Values::parse(text, read).map_err(|error: ValuesError| {
            self.error(stream, name, written.as_ref(), error.to_string())
        })
    }

    fn addresses(
        &self,
        stream: &str,
        name: &'static str,
        written: &Field,
    ) -> Result<(Values, bool), MixError> {
        let Some(text) = written else {
            return Err(self.error(stream, name, None, "is missing".to_owned()));
        };
        addresses(&text.get_ref().0)
            .map_err(|error| self.error(stream, name, written.as_ref(), error.to_string()))
    }

    fn protocol(&self, stream: &str, written: &Field) -> Result<Protocol, MixError> {
        match written.as_ref().map(|written| written.get_ref().0.as_str()) {
            None | Some("udp") => Ok(Protocol::Udp),
            Some("tcp-syn") => Ok(Protocol::TcpSyn),
            Some(other) => {
                let reason = format!("`{other}` is unknown: write udp or tcp-syn");
                Err(self.error(stream, "protocol", written.as_ref(), reason))
            }
        }
    }

    fn size(&self, stream: &str, written: &Field) -> Result<Values, MixError> {
        if written.as_ref().is_some_and(|written| written.get_ref().0 == "imix") {
            let (first, rest) = IMIX;
            return Ok(Values::listed(first, &rest));
        }
        let read = |text: &str| text.parse::<u16>().map(u128::from).map_err(to_text);
        self.values(stream, "size", written, Some("128"), &read)
    }

    fn payload(&self, stream: &str, written: &Field) -> Result<Payload, MixError> {
        let text = written.as_ref().map_or("zeros", |written| written.get_ref().0.as_str());
        let bytes = match text {
            "zeros" => Some(vec![0]),
            "random" => return Ok(Payload::Random),
            _ => match (text.strip_prefix("text:"), text.strip_prefix("hex:")) {
                (Some(text), _) => Some(text.as_bytes().to_vec()),
                (None, Some(digits)) => hexadecimal(digits),
                (None, None) => None,
            },
        };
        bytes.filter(|bytes| !bytes.is_empty()).map(Payload::Repeated).ok_or_else(|| {
            let reason = format!(
                "`{text}` is unknown: write zeros, random, text:… or hex:… with pairs of digits"
            );
            self.error(stream, "payload", written.as_ref(), reason)
        })
    }

    fn error(
        &self,
        stream: &str,
        field: &'static str,
        written: Option<&Spanned<Written>>,
        reason: String,
    ) -> MixError {
        let place = match (self.file, written) {
            (Some((path, text)), Some(written)) => {
                let before = text.get(..written.span().start).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                format!("{}:{line}: ", path.display())
            }
            (Some((path, _)), None) => format!("{}: ", path.display()),
            (None, _) => String::new(),
        };
        MixError::Field { place, stream: stream.to_owned(), field, reason }
    }
}

/// Reads addresses, all of one IP version, as numbers; says whether that is IPv6.
///
/// # Errors
/// One is no address, they are of two versions, or a range runs backwards.
pub fn addresses(text: &str) -> Result<(Values, bool), ValuesError> {
    let family = Cell::new(None);
    let values = Values::parse(text, |text| {
        let address: IpAddr = text.parse().map_err(|_no_address| "not an IP address".to_owned())?;
        let is_ipv6 = address.is_ipv6();
        if family.replace(Some(is_ipv6)).is_some_and(|other| other != is_ipv6) {
            return Err("all addresses of a field must be of one IP version".to_owned());
        }
        Ok(match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        })
    })?;
    Ok((values, family.get().unwrap_or(false)))
}

/// How one value of a field is read.
type ReadOne<'a> = dyn Fn(&str) -> Result<u128, String> + 'a;

fn to_text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs
        .iter()
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            pair.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "02:00:00:00:00:01";

    fn parse(text: &str) -> Result<Mix, String> {
        Mix::parse(text, Path::new("mix.toml"), OWN).map_err(|error| error.to_string())
    }

    const STREAM: &str = r#"
[[stream]]
destination-mac = "02:00:00:00:00:02"
source = "10.0.0.1-10.0.0.4"
destination = "10.0.1.1"
"#;

    #[test]
    fn what_is_left_out_has_its_default() {
        let mix = parse(STREAM).unwrap();
        let stream = &mix.streams[0];
        assert_eq!((mix.seed, mix.rate, mix.burst), (0, None, None));
        assert_eq!((stream.name.as_str(), stream.weight, stream.protocol), ("0", 1, Protocol::Udp));
        assert_eq!(stream.source_mac, Values::fixed(0x0200_0000_0001));
        assert_eq!(stream.src_port, Values::fixed(40_000));
        assert_eq!(stream.dst_port, Values::fixed(9));
        assert_eq!(stream.size, Values::fixed(128));
        assert_eq!(stream.source.bounds(), (0x0a00_0001, 0x0a00_0004));
        assert!(!stream.is_ipv6);
    }

    #[test]
    fn every_field_can_be_written() {
        let mix = parse(
            r#"
seed = 7
rate = "10k..20k"
burst = 4
[[stream]]
name = "six"
weight = 3
protocol = "tcp-syn"
source-mac = ["02:00:00:00:00:03", "02:00:00:00:00:05"]
destination-mac = "02:00:00:00:00:02"
vlan = "100-109"
source = "random:fd00::1-fd00::ffff"
destination = "fd01::1"
src-port = [1000, 2000]
dst-port = 80
size = "imix"
payload = "hex:c0ffee"
"#,
        );
        // IMIX's smallest frame has no room for IPv6, TCP and a tag, so that this mix must be refused.
        let reason = mix.unwrap_err();
        assert!(
            reason.starts_with("mix.toml:16: stream six: size: a frame of 60 bytes"),
            "{reason}"
        );
        assert!(reason.contains("choose 96 (headers and tag)"), "{reason}");
    }

    #[test]
    fn imix_is_seven_four_one() {
        let mix = parse(&format!("{STREAM}size = \"imix\"")).unwrap();
        let sizes: Vec<_> = (0..12).map(|number| mix.streams[0].size.value(number, || 0)).collect();
        let count = |size| sizes.iter().filter(|&&other| other == size).count();
        assert_eq!((count(60), count(590), count(1514)), (7, 4, 1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_what_would_be_right() {
        for (wrong, reason) in [
            ("dst-port = 0", "mix.toml:6: stream 0: dst-port: `0`: not a port: write 1 to 65535"),
            ("src-port = \"9-7\"", "mix.toml:6: stream 0: src-port: the range `9-7` ends before"),
            ("vlan = 4095", "mix.toml:6: stream 0: vlan: `4095`: not a VLAN"),
            (
                "size = 59",
                "mix.toml:6: stream 0: size: a frame of 59 bytes cannot be sent: choose 60",
            ),
            ("size = 4000", "choose 60 (headers and tag) to 3840"),
            ("payload = \"nil\"", "mix.toml:6: stream 0: payload: `nil` is unknown"),
            ("payload = \"hex:123\"", "payload: `hex:123` is unknown"),
            ("protocol = \"sctp\"", "protocol: `sctp` is unknown: write udp or tcp-syn"),
            ("colour = 1", "unknown field `colour`"),
            ("weight = 0", "mix.toml: all weights are 0"),
        ] {
            let error = parse(&format!("{STREAM}{wrong}")).unwrap_err();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
        assert!(parse("rate = \"fast\"\nstream = []").is_err());
        assert!(parse("").is_err());
        let mixed = parse(&STREAM.replace("10.0.1.1", "fd00::1")).unwrap_err();
        assert!(
            mixed.contains("mix.toml:5: stream 0: destination: source and destination"),
            "{mixed}"
        );
        let missing = parse(&STREAM.replace("destination =", "# ")).unwrap_err();
        assert!(missing.contains("stream 0: destination: is missing"), "{missing}");
    }
}
