//! The requests that the server has and has not answered, oldest first.

use parser::http::ResponseTo;

/// A queue of at most [`Outstanding::MAX`] requests, of which only what their answers' framing needs is known: two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outstanding {
    kinds: u32,
    len: u8,
}

impl Outstanding {
    /// What fits.
    pub(super) const MAX: u8 = 16;

    /// How many wait for an answer.
    pub(super) fn len(self) -> u8 {
        self.len
    }

    /// Whether every request is answered.
    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Adds the newest request; the caller has looked that there is room.
    pub(super) fn push(&mut self, to: ResponseTo) {
        if self.len < Self::MAX {
            let kind = match to {
                ResponseTo::Other => 0,
                ResponseTo::Head => 1,
                ResponseTo::Connect => 2,
                ResponseTo::WebSocket => 3,
            };
            self.kinds |= kind << (2 * self.len);
            self.len += 1;
        }
    }

    /// The request that the next response answers.
    pub(super) fn first(self) -> Option<ResponseTo> {
        let to = match self.kinds & 3 {
            0 => ResponseTo::Other,
            1 => ResponseTo::Head,
            2 => ResponseTo::Connect,
            _ => ResponseTo::WebSocket,
        };
        (self.len > 0).then_some(to)
    }

    /// The oldest request has its final response.
    pub(super) fn pop(&mut self) {
        self.kinds >>= 2;
        self.len = self.len.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_in_the_order_in_which_they_came() {
        let kinds =
            [ResponseTo::Head, ResponseTo::Other, ResponseTo::WebSocket, ResponseTo::Connect];
        let mut outstanding = Outstanding::default();
        for kind in kinds {
            outstanding.push(kind);
        }
        for _ in 4..100 {
            outstanding.push(ResponseTo::Other);
        }
        assert_eq!(outstanding.len(), Outstanding::MAX);
        for kind in kinds {
            assert_eq!(outstanding.first(), Some(kind));
            outstanding.pop();
        }
        assert_eq!(outstanding.len(), Outstanding::MAX - 4);
        for _ in 0..20 {
            outstanding.pop();
        }
        assert_eq!(outstanding.first(), None);
    }
}
