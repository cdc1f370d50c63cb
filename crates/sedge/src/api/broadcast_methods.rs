//! The methods that a namespace and the server have in common with an operator.

/// The methods of everything that stands for many sockets: it is given the operator to begin with.
macro_rules! broadcast_methods {
    (|$this:ident: &$Type:ty| $operator:expr) => {
        fn operator(&self) -> crate::api::operator::BroadcastOperator {
            let $this: &$Type = self;
            $operator
        }

        /// The members of these rooms: one name or a list of names. A socket's id is a room too.
        pub fn to(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::api::operator::BroadcastOperator {
            self.operator().to(rooms)
        }

        /// The same as [`to`](Self::to).
        pub fn in_(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::api::operator::BroadcastOperator {
            self.operator().to(rooms)
        }

        /// Everybody but the members of these rooms.
        pub fn except(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::api::operator::BroadcastOperator {
            self.operator().except(rooms)
        }

        /// Only sockets of this process.
        pub fn local(&self) -> crate::api::operator::BroadcastOperator {
            self.operator().local()
        }

        /// What is emitted may be dropped for a socket whose transport cannot take it at once.
        pub fn volatile(&self) -> crate::api::operator::BroadcastOperator {
            self.operator().volatile()
        }

        /// Whether what is emitted may be compressed, where compression is enabled.
        pub fn compress(&self, compress: bool) -> crate::api::operator::BroadcastOperator {
            self.operator().compress(compress)
        }

        /// How long acknowledgements and answers are waited for.
        pub fn timeout(
            &self,
            after: std::time::Duration,
        ) -> crate::api::operator::BroadcastOperator {
            self.operator().timeout(after)
        }

        /// Sends an event to everybody; see [`BroadcastOperator::emit`](crate::BroadcastOperator::emit).
        pub fn emit<T: serde::Serialize + ?Sized>(
            &self,
            event: &str,
            args: &T,
        ) -> Result<(), crate::error::EmitError> {
            self.operator().emit(event, args)
        }

        /// Sends the event `message` to everybody.
        pub fn send<T: serde::Serialize + ?Sized>(
            &self,
            args: &T,
        ) -> Result<(), crate::error::EmitError> {
            self.operator().emit("message", args)
        }

        /// Sends an event to everybody and waits for the acknowledgements; see
        /// [`BroadcastOperator::emit_with_ack`](crate::BroadcastOperator::emit_with_ack).
        pub fn emit_with_ack<R: serde::de::DeserializeOwned>(
            &self,
            event: &str,
            args: &(impl serde::Serialize + ?Sized),
        ) -> crate::api::broadcast_ack::BroadcastAck<R> {
            self.operator().emit_with_ack(event, args)
        }

        /// All sockets; see [`BroadcastOperator::fetch_sockets`](crate::BroadcastOperator::fetch_sockets).
        pub fn fetch_sockets(&self) -> crate::api::remote::FetchSockets {
            self.operator().fetch_sockets()
        }

        /// Makes all sockets join rooms.
        pub fn sockets_join(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::api::operator::Applied {
            self.operator().sockets_join(rooms)
        }

        /// Makes all sockets leave rooms.
        pub fn sockets_leave(
            &self,
            rooms: impl sedge_adapter::IntoRooms,
        ) -> crate::api::operator::Applied {
            self.operator().sockets_leave(rooms)
        }

        /// Disconnects all sockets; with `close` their connections end too.
        pub fn disconnect_sockets(&self, close: bool) -> crate::api::operator::Applied {
            self.operator().disconnect_sockets(close)
        }
    };
}
pub(crate) use broadcast_methods;
