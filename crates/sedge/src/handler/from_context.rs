//! What every extractor implements.

use crate::core::stage::{Context, Stage};
use crate::error::ExtractError;

/// What can be an argument of a handler on the occasion `S`.
///
/// ```
/// use sedge::extract::{Auth, FromContext};
/// use sedge::stage::{Context, SocketStage};
/// use sedge::{ExtractError, Value};
///
/// /// The name the client gave itself.
/// struct Name(String);
///
/// impl<S: SocketStage> FromContext<S> for Name {
///     fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
///         let Auth(auth) = Auth::<Value>::from_context(context)?;
///         let name = auth["name"].as_str().ok_or(ExtractError::Other("no name".into()))?;
///         Ok(Name(name.to_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor on this occasion",
    label = "not an extractor of the stage `{S}`",
    note = "event arguments are taken as `Data(value): Data<T>`, the auth payload as `Auth(value): Auth<T>`; \
            `Data`, `Args`, `Event` and `Ack` exist for events only, `DisconnectReason` for `on_disconnect` only, and \
            in `on_server_side` there is no socket",
    note = "the table in `sedge::extract` lists all extractors"
)]
pub trait FromContext<S: Stage>: Sized {
    /// Makes the argument. Runs before the handler does, on the thread of the socket's shard.
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError>;
}
