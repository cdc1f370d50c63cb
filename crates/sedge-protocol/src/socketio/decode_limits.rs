//! What bounds a decoder.

/// What a peer may send. All limits are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Attachments of one packet. 10, as in the official parser.
    pub attachments_max: usize,
    /// Bytes of all attachments of one packet together; they are kept until the last one came.
    /// 1,000,000, the official limit of a single message.
    pub attachment_bytes_max: usize,
    /// Bytes in the name of a namespace, without its query. 512: names are repeated in every
    /// packet and kept for every namespace, so nobody needs long ones.
    pub nsp_len_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { attachments_max: 10, attachment_bytes_max: 1_000_000, nsp_len_max: 512 }
    }
}
