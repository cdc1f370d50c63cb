//! Panics in what an application gave to the engine: they cost the call in which they happen, not the thread.
//!
//! What is left to panic is the engine's own, and a thread of which a part has panicked cannot be trusted to
//! serve: that ends the engine ([`ShardFailure`](crate::ShardFailure)).

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Calls somebody else's code. If it panics, the error is the words of the panic.
///
/// What it panicked with is the other's too, and may panic once more when it is dropped.
pub fn catch<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let words = words(&*panic);
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            // This could go on for ever.
            std::mem::forget(another);
        }
        words
    })
}

/// Polls a future of somebody else. If it panics, it has come to its end, with the words of the panic.
pub fn poll<F: Future + ?Sized>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, String>> {
    match catch(|| future.poll(cx)) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(words) => Poll::Ready(Err(words)),
    }
}

/// Runs a future of somebody else to its end, or to its panic.
pub async fn run<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Result<F::Output, String> {
    poll_fn(|cx| poll(future.as_mut(), cx)).await
}

/// The words of a panic, if it has some.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_words() {
        assert_eq!(catch(|| 1), Ok(1));
        assert_eq!(catch(|| -> u8 { panic!("in {}", "words") }), Err("in words".to_owned()));
        assert_eq!(catch(|| -> u8 { std::panic::panic_any(7) }), Err("?".to_owned()));
    }

    #[test]
    fn what_panics_when_it_is_dropped_is_left_alone() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::panic_any(Bomb);
            }
        }
        assert_eq!(catch(|| -> u8 { std::panic::panic_any(Bomb) }), Err("?".to_owned()));
    }
}
