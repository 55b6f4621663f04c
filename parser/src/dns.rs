//! DNS messages. Read RFC 1035 §4 first.
//!
//! A message arrives, in one datagram; what leaves of a query is its one question, of an answer the addresses it gives the
//! name that was asked for. Strict where two readers could differ: one question, no bytes behind a query, a name in plain
//! labels of letters, digits, `-` and `_`; pointers only in answers, only backwards, and only so many. Nothing behind the
//! answer section is read, for it says nothing about the question.

use std::net::IpAddr;

use crate::bytes;

/// Bytes of the header.
const HEADER_LEN: usize = 12;

/// Longest name on the wire (RFC 1035 §2.3.4), lengths and root included.
const MOST_NAME_BYTES: usize = 255;

/// Most pointers that one name may follow.
const MOST_POINTERS: usize = 16;

/// Most records of an answer that are looked at; what comes later teaches nothing.
const MOST_RECORDS: u16 = 256;

/// Bytes of the longest question with its header: what a refusal may need.
pub const REFUSAL_LEN: usize = HEADER_LEN + MOST_NAME_BYTES + 4;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_OPT: u16 = 41;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// Why a message is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsError {
    /// The message ends inside a field.
    Truncated,
    /// A query where an answer belongs, or the other way round.
    Direction,
    /// Another operation than a standard query (RFC 1035 §4.1.1).
    Opcode,
    /// Not exactly one question: servers differ in what they do then.
    Questions,
    /// A query with records other than one OPT (RFC 6891).
    Records,
    /// A name longer than 255 bytes.
    NameTooLong,
    /// A label's length of an unknown kind, or a pointer where none may be.
    NameMalformed,
    /// Bytes in a name that no rule can speak of.
    NameLetters,
    /// Bytes behind a query.
    TrailingBytes,
}

/// A name in the one form that policies ask about: lower case, each label ended by a dot. The root is `.`.
#[derive(Clone, Copy)]
pub struct Name {
    /// INVARIANT: the first `len` bytes are ASCII letters, digits, `-`, `_` and dots.
    text: [u8; MOST_NAME_BYTES],
    len: u8,
}

impl Name {
    const EMPTY: Self = Self { text: [0; MOST_NAME_BYTES], len: 0 };

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) -> Result<(), DnsError> {
        // On the wire there is one byte more, the root's length.
        let place = usize::from(self.len);
        if place.saturating_add(1) >= MOST_NAME_BYTES {
            return Err(DnsError::NameTooLong);
        }
        *self.text.get_mut(place).ok_or(DnsError::NameTooLong)? = byte;
        self.len = self.len.saturating_add(1);
        Ok(())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The message's number, which its answer repeats.
    pub id: u16,
    /// The name.
    pub name: Name,
    /// The type of the records asked for.
    pub record_type: u16,
    /// Their class.
    pub class: u16,
}

/// An answer: its question, and where its records begin.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The question it repeats.
    pub question: Question,
    /// The response code; 0 for success.
    pub code: u8,
    /// Whether it says that it was cut (TC).
    pub cut: bool,
    message: &'a [u8],
    records: u16,
    first: usize,
}

/// Reads a query.
///
/// # Errors
/// It is not one standard query with one question and at most an OPT record.
pub fn read_query(message: &[u8]) -> Result<Question, DnsError> {
    let header = Header::read(message)?;
    if header.is_answer {
        return Err(DnsError::Direction);
    }
    let (question, mut end) = header.question(message, Pointers::Refused)?;
    match (header.answers, header.authorities, header.additional) {
        (0, 0, 0) => {}
        (0, 0, 1) => {
            let record = Record::read(message, end)?;
            if record.kind != TYPE_OPT || bytes::byte(message, end) != Some(0) {
                return Err(DnsError::Records);
            }
            end = record.end;
        }
        _ => return Err(DnsError::Records),
    }
    if end != message.len() {
        return Err(DnsError::TrailingBytes);
    }
    Ok(question)
}

/// Reads an answer as far as its question.
///
/// # Errors
/// It is not an answer to one standard query.
pub fn read_answer(message: &[u8]) -> Result<Answer<'_>, DnsError> {
    let header = Header::read(message)?;
    if !header.is_answer {
        return Err(DnsError::Direction);
    }
    let (question, first) = header.question(message, Pointers::Refused)?;
    let records = header.answers.min(MOST_RECORDS);
    Ok(Answer { question, code: header.code, cut: header.cut, message, records, first })
}

impl Answer<'_> {
    /// Calls `each` with every address that the answer gives the name, and how many seconds it may be used. An alias (CNAME)
    /// counts where its target is spoken of behind it, which is the order resolvers send and clients expect; records of
    /// other names count for nothing.
    ///
    /// # Errors
    /// The answer section is malformed; `each` may have been called before.
    pub fn addresses(&self, each: &mut dyn FnMut(IpAddr, u32)) -> Result<(), DnsError> {
        let mut at = self.first;
        let mut wanted = self.question.name;
        let mut alias_ttl = u32::MAX;
        for _ in 0..self.records {
            let record = Record::read(self.message, at)?;
            let owner = name_at(self.message, at, Pointers::Followed)?.0;
            at = record.end;
            if owner != Some(wanted) || record.class != CLASS_IN {
                continue;
            }
            let data = bytes::range(self.message, record.data, record.data_len)
                .ok_or(DnsError::Truncated)?;
            let ttl = record.ttl.min(alias_ttl);
            match record.kind {
                TYPE_A => {
                    let octets: [u8; 4] = data.try_into().map_err(|_length| DnsError::Truncated)?;
                    each(IpAddr::from(octets), ttl);
                }
                TYPE_AAAA => {
                    let octets: [u8; 16] =
                        data.try_into().map_err(|_length| DnsError::Truncated)?;
                    each(IpAddr::from(octets), ttl);
                }
                TYPE_CNAME => {
                    let (target, end) = name_at(self.message, record.data, Pointers::Followed)?;
                    if end != record.end {
                        return Err(DnsError::NameMalformed);
                    }
                    // A target that no rule can name has no addresses for us.
                    let Some(target) = target else { return Ok(()) };
                    wanted = target;
                    alias_ttl = ttl;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes the answer "refused" (RFC 1035 §4.1.1, code 5) to the query `message` into `out`; its length. The question is
/// repeated as it came, so that the asker knows it again.
#[must_use]
pub fn refuse(message: &[u8], out: &mut [u8]) -> Option<usize> {
    const REFUSED: u8 = 5;
    let header: [u8; HEADER_LEN] = bytes::array(message, 0)?;
    let [id0, id1, flags, ..] = header;
    let (_, name_end) = name_at(message, HEADER_LEN, Pointers::Refused).ok()?;
    let question =
        bytes::range(message, HEADER_LEN, name_end.checked_add(4)?.checked_sub(HEADER_LEN)?)?;
    // An answer, with the query's opcode and its wish for recursion.
    let answered = [id0, id1, 0x80 | flags & 0x79, REFUSED, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes::put(out, 0, &answered)?;
    bytes::put(out, HEADER_LEN, question)?;
    HEADER_LEN.checked_add(question.len())
}

/// What the first twelve bytes say.
struct Header {
    id: u16,
    is_answer: bool,
    cut: bool,
    code: u8,
    answers: u16,
    authorities: u16,
    additional: u16,
}

impl Header {
    fn read(message: &[u8]) -> Result<Self, DnsError> {
        let header: [u8; HEADER_LEN] = bytes::array(message, 0).ok_or(DnsError::Truncated)?;
        let [i0, i1, flags, more, q0, q1, a0, a1, n0, n1, r0, r1] = header;
        if flags & 0x78 != 0 {
            return Err(DnsError::Opcode);
        }
        if u16::from_be_bytes([q0, q1]) != 1 {
            return Err(DnsError::Questions);
        }
        Ok(Self {
            id: u16::from_be_bytes([i0, i1]),
            is_answer: flags & 0x80 != 0,
            cut: flags & 0x02 != 0,
            code: more & 0x0f,
            answers: u16::from_be_bytes([a0, a1]),
            authorities: u16::from_be_bytes([n0, n1]),
            additional: u16::from_be_bytes([r0, r1]),
        })
    }

    /// The question and where it ends.
    fn question(&self, message: &[u8], pointers: Pointers) -> Result<(Question, usize), DnsError> {
        let (name, end) = name_at(message, HEADER_LEN, pointers)?;
        let name = name.ok_or(DnsError::NameLetters)?;
        let record_type = bytes::be16(message, end).ok_or(DnsError::Truncated)?;
        let class = bytes::be16(message, end.saturating_add(2)).ok_or(DnsError::Truncated)?;
        Ok((Question { id: self.id, name, record_type, class }, end.saturating_add(4)))
    }
}

/// The fixed part of a record.
struct Record {
    kind: u16,
    class: u16,
    ttl: u32,
    data: usize,
    data_len: usize,
    end: usize,
}

impl Record {
    fn read(message: &[u8], at: usize) -> Result<Self, DnsError> {
        let (_, fixed) = name_at(message, at, Pointers::Followed)?;
        let parts: [u8; 10] = bytes::array(message, fixed).ok_or(DnsError::Truncated)?;
        let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = parts;
        let ttl = u32::from_be_bytes([t0, t1, t2, t3]);
        let data = fixed.saturating_add(parts.len());
        let data_len = usize::from(u16::from_be_bytes([l0, l1]));
        let end = data.saturating_add(data_len);
        if end > message.len() {
            return Err(DnsError::Truncated);
        }
        Ok(Self {
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            // A time with the highest bit set is to be read as zero (RFC 2181 §8).
            ttl: if ttl > u32::MAX >> 1 { 0 } else { ttl },
            data,
            data_len,
            end,
        })
    }
}

/// Whether a name may point elsewhere in its message (RFC 1035 §4.1.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointers {
    Refused,
    Followed,
}

/// The name at `at` and where it ends there; no name if it has bytes that no rule can speak of.
fn name_at(
    message: &[u8],
    at: usize,
    pointers: Pointers,
) -> Result<(Option<Name>, usize), DnsError> {
    let mut name = Name::EMPTY;
    let mut plain = true;
    let mut place = at;
    let mut end = None;
    let mut followed = 0_usize;
    loop {
        let length = bytes::byte(message, place).ok_or(DnsError::Truncated)?;
        let behind = place.saturating_add(1);
        match length >> 6 {
            0 if length == 0 => {
                let end = end.unwrap_or(behind);
                if name.len == 0 {
                    name.push(b'.')?;
                }
                return Ok((plain.then_some(name), end));
            }
            0 => {
                let label = bytes::range(message, behind, usize::from(length))
                    .ok_or(DnsError::Truncated)?;
                for byte in label {
                    plain &= byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                    name.push(byte.to_ascii_lowercase())?;
                }
                name.push(b'.')?;
                place = behind.saturating_add(label.len());
            }
            3 if pointers == Pointers::Followed && followed < MOST_POINTERS => {
                let to =
                    usize::from(bytes::be16(message, place).ok_or(DnsError::Truncated)? & 0x3fff);
                // Only backwards, so that it ends; never into the header.
                if to >= place || to < HEADER_LEN {
                    return Err(DnsError::NameMalformed);
                }
                end.get_or_insert(behind.saturating_add(1));
                followed = followed.saturating_add(1);
                place = to;
            }
            _ => return Err(DnsError::NameMalformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message of header counts and what follows.
    fn message(flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        rest.iter().for_each(|part| bytes.extend(*part));
        bytes
    }

    fn labels(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes
    }

    fn question(name: &str, kind: u16) -> Vec<u8> {
        [labels(name), kind.to_be_bytes().to_vec(), vec![0, 1]].concat()
    }

    fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
    }

    fn addresses(message: &[u8]) -> Result<Vec<(String, u32)>, DnsError> {
        let mut found = Vec::new();
        read_answer(message)?
            .addresses(&mut |address, ttl| found.push((address.to_string(), ttl)))?;
        Ok(found)
    }

    const QNAME: &[u8] = &[0xc0, 12];
    const OPT: &[u8] = &[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_query_gives_its_name_in_lower_case_with_its_last_dot() {
        for (name, text) in
            [("API.Example.com", "api.example.com."), ("", "."), ("_a._tcp.b-c", "_a._tcp.b-c.")]
        {
            for (additional, rest) in [(0, &[][..]), (1, OPT)] {
                let bytes = message(0x0100, [1, 0, 0, additional], &[&question(name, 28), rest]);
                let read = read_query(&bytes).unwrap();
                assert_eq!((read.name.as_str(), read.id, read.record_type), (text, 0x1234, 28));
            }
        }
    }

    #[test]
    fn a_query_that_two_servers_could_read_in_two_ways_is_refused() {
        let plain = question("a.b", 1);
        let rows: [(&str, Vec<u8>, DnsError); 12] = [
            ("no question", message(0, [0, 0, 0, 0], &[]), DnsError::Questions),
            ("two questions", message(0, [2, 0, 0, 0], &[&plain, &plain]), DnsError::Questions),
            ("an answer", message(0x8000, [1, 0, 0, 0], &[&plain]), DnsError::Direction),
            ("an update", message(0x2800, [1, 0, 0, 0], &[&plain]), DnsError::Opcode),
            (
                "with records",
                message(0, [1, 1, 0, 0], &[&plain, &record(QNAME, 1, 1, &[1, 2, 3, 4])]),
                DnsError::Records,
            ),
            ("signed", message(0, [1, 0, 0, 2], &[&plain, OPT, OPT]), DnsError::Records),
            (
                "not an OPT",
                message(0, [1, 0, 0, 1], &[&plain, &record(&[0], 1, 1, &[1, 2, 3, 4])]),
                DnsError::Records,
            ),
            ("trailing", message(0, [1, 0, 0, 0], &[&plain, &[0]]), DnsError::TrailingBytes),
            (
                "a pointer",
                message(0, [1, 0, 0, 0], &[&[1, b'a', 0xc0, 12], &[0, 1, 0, 1]]),
                DnsError::NameMalformed,
            ),
            (
                "an extended label",
                message(0, [1, 0, 0, 0], &[&[0x41, 1, 0], &[0, 1, 0, 1]]),
                DnsError::NameMalformed,
            ),
            (
                "a dot in a label",
                message(0, [1, 0, 0, 0], &[&[3, b'a', b'.', b'b', 0], &[0, 1, 0, 1]]),
                DnsError::NameLetters,
            ),
            (
                "a zero byte",
                message(0, [1, 0, 0, 0], &[&[1, 0, 0], &[0, 1, 0, 1]]),
                DnsError::NameLetters,
            ),
        ];
        for (what, bytes, error) in rows {
            assert_eq!(read_query(&bytes), Err(error), "{what}");
        }
        let long = "a".repeat(63);
        let longest = [long.as_str(), &long, &long, &"a".repeat(61)].join(".");
        let query = |name: &str| message(0, [1, 0, 0, 0], &[&question(name, 1)]);
        assert_eq!(read_query(&query(&longest)).unwrap().name.as_str().len(), 254);
        assert_eq!(read_query(&query(&format!("{longest}a"))), Err(DnsError::NameTooLong));
    }

    #[test]
    fn every_cut_of_a_query_is_refused() {
        let bytes = message(0, [1, 0, 0, 1], &[&question("api.example.com", 1), OPT]);
        for cut in 0..bytes.len() {
            assert!(read_query(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn an_answer_gives_the_addresses_of_its_name_and_of_its_aliases() {
        let alias = record(QNAME, TYPE_CNAME, 30, &labels("edge.example.net"));
        let edge = labels("edge.example.net");
        let bytes = message(
            0x8180,
            [1, 5, 0, 0],
            &[
                &question("www.Example.com", 1),
                &alias,
                &record(&edge, TYPE_A, 60, &[192, 0, 2, 1]),
                &record(&edge, TYPE_A, 10, &[192, 0, 2, 2]),
                &record(&labels("evil.com"), TYPE_A, 60, &[192, 0, 2, 3]),
                &record(QNAME, TYPE_A, 60, &[192, 0, 2, 4]),
            ],
        );
        let wanted = [("192.0.2.1".to_owned(), 30), ("192.0.2.2".to_owned(), 10)];
        assert_eq!(addresses(&bytes).unwrap(), wanted, "the name itself is an alias now");
        let both = message(
            0x8180,
            [1, 2, 0, 0],
            &[
                &question("a.b", 28),
                &record(
                    QNAME,
                    TYPE_AAAA,
                    5,
                    &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                ),
                &record(QNAME, TYPE_A, 1 << 31, &[192, 0, 2, 1]),
            ],
        );
        let wanted = [("2001:db8::1".to_owned(), 5), ("192.0.2.1".to_owned(), 0)];
        assert_eq!(addresses(&both).unwrap(), wanted);
    }

    #[test]
    fn what_an_answer_says_of_others_teaches_nothing() {
        for (what, rest) in [
            ("another class", [QNAME, &[0, 1, 0, 3, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]].concat()),
            ("an alias that closes a circle", record(QNAME, TYPE_CNAME, 9, &labels("a.b"))),
            ("an alias to nowhere", record(QNAME, TYPE_CNAME, 9, &[2, b'.', b'.', 0])),
            ("a record behind the answers", record(&labels("x"), TYPE_A, 9, &[1, 2, 3, 4])),
        ] {
            let bytes = message(
                0x8180,
                [1, 1, 0, 1],
                &[&question("a.b", 1), &rest, &record(QNAME, TYPE_CNAME, 9, &labels("c"))],
            );
            assert_eq!(addresses(&bytes), Ok(vec![]), "{what}");
        }
    }

    #[test]
    fn a_malformed_answer_is_refused() {
        for (what, rest) in [
            ("a short address", record(QNAME, TYPE_A, 9, &[1, 2, 3])),
            ("a long address", record(QNAME, TYPE_AAAA, 9, &[0; 17])),
            ("an alias with bytes behind it", record(QNAME, TYPE_CNAME, 9, &[1, b'x', 0, 0])),
            ("a pointer to itself", record(&[0xc0, 21], TYPE_A, 9, &[1, 2, 3, 4])),
            ("a pointer ahead", record(&[0xc0, 40], TYPE_A, 9, &[1, 2, 3, 4])),
            ("a pointer into the header", record(&[0xc0, 2], TYPE_A, 9, &[1, 2, 3, 4])),
        ] {
            let bytes = message(0x8180, [1, 1, 0, 0], &[&question("a.b", 1), &rest]);
            assert!(addresses(&bytes).is_err(), "{what}");
        }
        let absent = message(0x8180, [1, 1, 0, 0], &[&question("a.b", 1)]);
        assert_eq!(addresses(&absent), Err(DnsError::Truncated));
    }

    #[test]
    fn a_name_follows_only_so_many_pointers() {
        let chain = |length: u16| {
            let mut bytes = message(0x8180, [1, length, 0, 0], &[&question("a.b", 1)]);
            // Each owner points at the owner before it.
            let mut last = 12_u16;
            for _ in 0..length {
                let here = u16::try_from(bytes.len()).unwrap();
                bytes.extend(record(&(0xc000 | last).to_be_bytes(), TYPE_A, 9, &[1, 2, 3, 4]));
                last = here;
            }
            addresses(&bytes).map(|found| found.len())
        };
        assert_eq!(chain(16), Ok(16));
        assert_eq!(chain(17), Err(DnsError::NameMalformed));
    }

    #[test]
    fn a_refusal_repeats_number_question_and_the_wish_for_recursion() {
        let bytes = message(0x0100, [1, 0, 0, 1], &[&question("Evil.com", 1), OPT]);
        let mut out = [0; REFUSAL_LEN];
        let length = refuse(&bytes, &mut out).unwrap();
        assert_eq!(out[..length], message(0x8105, [1, 0, 0, 0], &[&question("Evil.com", 1)]));
        let answer = read_answer(&out[..length]).unwrap();
        assert_eq!((answer.code, answer.question), (5, read_query(&bytes).unwrap()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            check(&bytes);
        }

        #[test]
        fn a_changed_answer_is_read_or_refused(
            at in 0_usize..120,
            byte in any::<u8>(),
            ttl in any::<u32>(),
        ) {
            let mut bytes = message(0x8180, [1, 3, 0, 0], &[
                &question("www.example.com", 1),
                &record(QNAME, TYPE_CNAME, ttl, &[4, b'e', b'd', b'g', b'e', 0xc0, 16]),
                &record(&[0xc0, 45], TYPE_A, ttl, &[192, 0, 2, 1]),
                &record(&[0xc0, 45], TYPE_A, ttl, &[192, 0, 2, 2]),
            ]);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            check(&bytes);
        }

        #[test]
        fn what_is_written_is_read(labels in prop::collection::vec("[a-z0-9_-]{1,20}", 0..8), kind in any::<u16>()) {
            let name = labels.join(".");
            let read = read_query(&message(0, [1, 0, 0, 0], &[&question(&name, kind)])).unwrap();
            let dotted = format!("{name}.");
            prop_assert_eq!(read.name.as_str(), dotted.as_str());
            prop_assert_eq!(read.record_type, kind);
        }
    }

    /// What must hold of any bytes.
    fn check(bytes: &[u8]) {
        let mut out = [0; REFUSAL_LEN];
        if let Ok(question) = read_query(bytes) {
            let length = refuse(bytes, &mut out).expect("a query can be refused");
            assert_eq!(
                read_answer(&out[..length]).expect("a refusal is an answer").question,
                question
            );
        }
        if let Ok(answer) = read_answer(bytes) {
            let mut count = 0;
            let _ = answer.addresses(&mut |_, _| count += 1);
            assert!(count <= usize::from(MOST_RECORDS));
        }
    }
}
