//! What the application attaches to a socket in this process.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::type_map::TypeMap;

/// Values attached to a socket, one per type, for this process only.
///
/// ```
/// # struct User { name: String }
/// # fn f(socket: sedge::Socket) {
/// socket.extensions().insert(User { name: "Ada".into() });
/// let user = socket.extensions().get::<User>();
/// # }
/// ```
#[derive(Default)]
pub struct Extensions(Mutex<TypeMap>);

impl Extensions {
    /// Attaches a value, and returns the one of the same type that was there.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(value)
    }

    /// The value of a type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get()
    }

    /// Takes the value of a type out.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").finish_non_exhaustive()
    }
}
