//! Numbers, texts and sets as bytes, and back.
//!
//! Arrives: values to write, or bytes of unknown origin. Leaves: bytes, or values, or where the bytes make no sense.
//! Invariants: reading never takes more memory than the bytes themselves justify, for a list says its length and each item
//! takes a byte at least; what is written is read back equal.

use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use ipnet::IpNet;
use roaring::RoaringBitmap;

/// The bytes make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense {
    /// What was expected.
    pub(super) wanted: &'static str,
    /// Where.
    pub(super) offset: usize,
}

/// A result of reading.
pub(super) type Read<T> = Result<T, Nonsense>;

/// Bytes being written. Every text is written once and named by its place.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    texts: HashMap<String, u32>,
    order: Vec<String>,
}

impl Writer {
    /// All that was written: the texts, then what refers to them.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut whole = Self::default();
        whole.list(&self.order, |whole, text| whole.raw(text.as_bytes()));
        whole.bytes.extend(self.bytes);
        whole.bytes
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    pub(super) fn number(&mut self, mut value: u32) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.bytes.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.bytes.push(low);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.bytes.extend(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        let next = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        let place = match self.texts.get(text) {
            Some(place) => *place,
            None => {
                self.texts.insert(text.to_owned(), next);
                self.order.push(text.to_owned());
                next
            }
        };
        self.number(place);
    }

    pub(super) fn list<'t, T: 't>(
        &mut self,
        items: impl IntoIterator<Item = &'t T, IntoIter: Clone>,
        mut write: impl FnMut(&mut Self, &'t T),
    ) {
        let items = items.into_iter();
        self.number(u32::try_from(items.clone().count()).unwrap_or(u32::MAX));
        items.for_each(|item| write(self, item));
    }

    pub(super) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.byte(4);
                self.bytes.extend(v4.octets());
            }
            IpAddr::V6(v6) => {
                self.byte(6);
                self.bytes.extend(v6.octets());
            }
        }
    }

    pub(super) fn socket(&mut self, socket: SocketAddr) {
        self.address(socket.ip());
        self.number(socket.port().into());
    }

    pub(super) fn prefix(&mut self, prefix: IpNet) {
        self.address(prefix.addr());
        self.byte(prefix.prefix_len());
    }

    pub(super) fn set(&mut self, set: &RoaringBitmap) {
        let mut bytes = Vec::with_capacity(set.serialized_size());
        // Writing into memory does not fail.
        let _written = set.serialize_into(&mut bytes);
        self.raw(&bytes);
    }
}

/// Bytes being read.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    whole: usize,
    texts: Vec<&'b str>,
}

impl<'b> Reader<'b> {
    /// Reads the texts.
    pub(super) fn new(bytes: &'b [u8]) -> Read<Self> {
        let mut reader = Self { rest: bytes, whole: bytes.len(), texts: Vec::new() };
        reader.texts = reader.list(|reader| {
            let raw = reader.raw("a text")?;
            std::str::from_utf8(raw).map_err(|_not_utf8| reader.nonsense("a text in UTF-8"))
        })?;
        Ok(reader)
    }

    /// Ends the reading: nothing may be left.
    pub(super) fn finish(self) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.nonsense("the end")) }
    }

    pub(super) fn nonsense(&self, wanted: &'static str) -> Nonsense {
        Nonsense { wanted, offset: self.whole.saturating_sub(self.rest.len()) }
    }

    /// Refuses unless `holds`.
    pub(super) fn check(&self, holds: bool, wanted: &'static str) -> Read<()> {
        if holds { Ok(()) } else { Err(self.nonsense(wanted)) }
    }

    pub(super) fn byte(&mut self) -> Read<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(self.nonsense("a byte"))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn truth(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.nonsense("0 or 1")),
        }
    }

    pub(super) fn number(&mut self) -> Read<u32> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            let placed = bits << shift;
            self.check(placed >> shift == bits, "a number of 32 bits")?;
            value |= placed;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.nonsense("a number of 32 bits"))
    }

    /// A number below `end`, or `u32::MAX`, which refers to nothing.
    pub(super) fn place(&mut self, end: usize) -> Read<u32> {
        let number = self.number()?;
        let inside = usize::try_from(number).is_ok_and(|number| number < end);
        self.check(inside || number == u32::MAX, "a reference to what is there")?;
        Ok(number)
    }

    pub(super) fn port(&mut self) -> Read<u16> {
        u16::try_from(self.number()?).map_err(|_too_large| self.nonsense("a port"))
    }

    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(self.nonsense("an address"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn raw(&mut self, wanted: &'static str) -> Read<&'b [u8]> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(self.nonsense(wanted))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Read<&'b str> {
        let place = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.texts.get(place).copied().ok_or(self.nonsense("a reference to a text"))
    }

    pub(super) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.check(length <= self.rest.len(), "as many items as it says")?;
        // An item in memory may be much larger than in bytes: a list that only claims to be long must not take that.
        let mut items = Vec::with_capacity(length.min(4096));
        for _ in 0..length {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        if self.truth()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn address(&mut self) -> Read<IpAddr> {
        match self.byte()? {
            4 => self.fixed::<4>().map(IpAddr::from),
            6 => self.fixed::<16>().map(IpAddr::from),
            _ => Err(self.nonsense("an address family")),
        }
    }

    pub(super) fn socket(&mut self) -> Read<SocketAddr> {
        Ok(SocketAddr::new(self.address()?, self.port()?))
    }

    pub(super) fn prefix(&mut self) -> Read<IpNet> {
        let address = self.address()?;
        let length = self.byte()?;
        let prefix =
            IpNet::new(address, length).map_err(|_too_long| self.nonsense("a prefix length"))?;
        self.check(prefix == prefix.trunc(), "a prefix without host bits")?;
        Ok(prefix)
    }

    pub(super) fn set(&mut self) -> Read<RoaringBitmap> {
        let bytes = self.raw("a set")?;
        let mut rest = bytes;
        let set = RoaringBitmap::deserialize_from(&mut rest)
            .map_err(|_not_one| self.nonsense("a Roaring bitmap"))?;
        self.check(rest.is_empty(), "the end of a set")?;
        Ok(set)
    }
}
