//! The name of a room, as clients send it.

use std::borrow::Cow;
use std::fmt;

use sedge_adapter::{IntoRooms, RoomList};
use sedge_protocol::socketio::Value;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

/// The name of a room as a client sends it: text, or a number, which is taken as the text that JavaScript
/// prints. Clients join room `42` and room `"42"` and mean the same.
///
/// ```
/// # use sedge::{Server, Socket, extract::{Data, RoomName}};
/// # fn f(io: Server) {
/// io.on("join", async |socket: Socket, Data(room): Data<RoomName>| socket.join(room));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RoomName(String);

impl RoomName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(RoomName(name)),
            Value::Number(number) => Ok(RoomName(number.to_js_string())),
            other => {
                let found = match other {
                    Value::Null => Unexpected::Unit,
                    Value::Bool(value) => Unexpected::Bool(value),
                    Value::Array(_) => Unexpected::Seq,
                    Value::Object(_) => Unexpected::Map,
                    _ => Unexpected::Other("binary data"),
                };
                Err(D::Error::invalid_type(found, &"the name of a room"))
            }
        }
    }
}

impl AsRef<str> for RoomName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IntoRooms for RoomName {
    fn append_to(self, list: &mut RoomList) {
        self.0.append_to(list);
    }
}

impl IntoRooms for &RoomName {
    fn append_to(self, list: &mut RoomList) {
        Cow::Borrowed(self.as_str()).append_to(list);
    }
}
