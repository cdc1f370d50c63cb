//! A map with one value per type: the server's state and a socket's extensions.

use std::any::{Any, TypeId};
use std::sync::Arc;

use sedge_engine::panics;

/// One value per type. The maps are small, so a list searched from the front serves.
#[derive(Default)]
pub(crate) struct TypeMap(Vec<(TypeId, Arc<dyn Any + Send + Sync>)>);

impl TypeMap {
    /// Puts a value in, and returns the one of the same type that was there.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let value: Arc<dyn Any + Send + Sync> = Arc::new(value);
        if let Some((_, slot)) = self.0.iter_mut().find(|(known, _)| *known == id) {
            return std::mem::replace(slot, value).downcast().ok();
        }
        self.0.push((id, value));
        None
    }

    /// The value of a type.
    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let (_, value) = self.0.iter().find(|(known, _)| *known == id)?;
        Arc::clone(value).downcast().ok()
    }

    /// Takes the value of a type out.
    pub(crate) fn remove<T: Send + Sync + 'static>(&mut self) -> Option<Arc<T>> {
        let id = TypeId::of::<T>();
        let at = self.0.iter().position(|(known, _)| *known == id)?;
        self.0.swap_remove(at).1.downcast().ok()
    }
}

/// The values are the user's. One that panics when it is dropped must not take along what happens to
/// let go of the last reference to the map: the other values, or a whole shard.
impl Drop for TypeMap {
    fn drop(&mut self) {
        for (_, value) in self.0.drain(..) {
            if let Err(words) = panics::catch(|| drop(value)) {
                sedge_log::error_rarely!(
                    words,
                    "a value attached to a socket or server panicked in Drop"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_per_type() {
        let mut map = TypeMap::default();
        assert!(map.insert(1_u8).is_none());
        assert!(map.insert("a").is_none());
        assert_eq!(map.insert(2_u8).as_deref(), Some(&1));
        assert_eq!(map.get::<u8>().as_deref(), Some(&2));
        assert_eq!(map.remove::<&str>().as_deref(), Some(&"a"));
        assert!(map.get::<&str>().is_none());
    }
}
