//! Close codes (RFC 6455 §7.4).

/// A status code that may stand in a close frame.
///
/// Values that only describe an ending locally (1005, 1006, 1015), the reserved 1004, and ranges
/// that nobody has defined cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The endpoint goes away: a server stops, a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data arrived that the endpoint cannot take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The payload contradicts its type: text that is not UTF-8, data that does not inflate.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The message breaks a policy that has no code of its own.
    pub const POLICY: Self = Self(1008);
    /// The message is too big to be processed.
    pub const TOO_BIG: Self = Self(1009);
    /// The client expected an extension that the server did not choose.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// The server met something that keeps it from going on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The server restarts; the client may connect again after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The server is overloaded; the client should try another address or wait.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got an invalid answer from behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code, if it may stand in a close frame: 1000 to 1003, 1007 to 1014 (RFC 6455 §7.4.1 and
    /// the IANA registry), 3000 to 4999 (libraries and private use, §7.4.2).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number as it stands on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_exist() {
        for code in [1000, 1001, 1002, 1003, 1007, 1010, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, u16::MAX] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
    }
}
