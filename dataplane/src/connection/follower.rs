//! Who follows the packets of a connection beyond its cached verdict. Never two at a time: a stream or a shadow must see every
//! segment, and under a grant another worker forwards some of them by itself.

use std::sync::Arc;

use super::grant::Granted;
use crate::inspect::{Shadow, Stream};

/// Who follows a connection.
#[derive(Debug, Default)]
pub enum Follower {
    /// Nobody: the cached verdict is all there is to know.
    #[default]
    Nobody,
    /// The inspected stream, as an HTTP rule decides.
    Stream(Box<Stream>),
    /// While no HTTP rule decides: what a stream would know.
    Shadow(Shadow),
    /// Another worker: it forwards packets by itself, under a grant that holds as long as this is kept.
    Grantee(Arc<Granted>),
}

impl Follower {
    /// The inspected stream.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Nobody | Self::Shadow(_) | Self::Grantee(_) => None,
        }
    }

    /// The inspected stream, to be shown something.
    pub fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Nobody | Self::Shadow(_) | Self::Grantee(_) => None,
        }
    }

    /// Whether an HTTP rule decides.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Whether a shadow watches.
    pub fn is_shadow(&self) -> bool {
        matches!(self, Self::Shadow(_))
    }

    /// Ends what was granted.
    pub fn revoke(&mut self) {
        if let Self::Grantee(_) = self {
            *self = Self::Nobody;
        }
    }
}
