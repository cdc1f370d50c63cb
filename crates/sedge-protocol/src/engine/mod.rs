//! Engine.IO, protocol versions 3 and 4: the layer that carries messages over polling and
//! WebSocket.
//!
//! [`packet`] knows one packet, [`payload`] many packets in one polling body, [`jsonp`] the dress
//! such a body wears for clients that can only load scripts and post forms.

pub mod jsonp;
pub mod packet;
pub mod payload;
mod payload_v3;
mod payload_v4;
pub mod session;

pub use packet::{Data, Open, Packet, PacketError, PacketType, Version, WirePacket};
pub use payload::{Payload, PayloadEncoder, PayloadError};
