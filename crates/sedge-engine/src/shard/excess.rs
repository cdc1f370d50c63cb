//! How far what waits for a client may be over the limit, as [`slow`](super::slow) judges it.

/// How far an outbox may be over its limit. Packed, for a connection has no byte to spare: see
/// [`slots`](super::slots).
#[derive(Default)]
#[repr(C, packed)]
pub(crate) struct Excess {
    /// What may wait before anything is queued in a later turn: as much again as the limit was exceeded by, so
    /// that the application can go on while the client reads.
    ceiling: u32,
    /// The turn in which the limit was exceeded is not over yet.
    rising: bool,
}

impl Excess {
    /// Whether a frame may have been added. `before` waited without it and `cost` with it, which is over the
    /// limit; it is the `first` of its turn.
    pub(super) fn admits(&mut self, first: bool, before: usize, cost: usize, limit: usize) -> bool {
        if before <= limit {
            *self = Excess { ceiling: 0, rising: true };
        } else if first {
            self.rising = false;
        }
        if self.rising {
            self.ceiling = u32::try_from(2 * cost - limit).unwrap_or(u32::MAX);
        }
        self.rising || !first || before <= self.ceiling as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    /// Adds frames of these costs in one turn, and returns whether the client is still there.
    fn turn(excess: &mut Excess, waits: &mut usize, frames: &[usize]) -> bool {
        for (index, cost) in frames.iter().enumerate() {
            let before = *waits;
            *waits += cost;
            if *waits > LIMIT && !excess.admits(index == 0, before, *waits, LIMIT) {
                return false;
            }
        }
        true
    }

    #[test]
    fn one_turn_is_never_too_much() {
        let (mut excess, mut waits) = (Excess::default(), 0);
        assert!(turn(&mut excess, &mut waits, &[100; 500]));
        // Whoever takes some of it may be sent more, turn after turn.
        for _ in 0..100 {
            waits -= 400;
            assert!(turn(&mut excess, &mut waits, &[100, 100, 100]));
        }
        // Below the limit all is as it was.
        waits = 900;
        assert!(turn(&mut excess, &mut waits, &[50, 50_000, 50]));
        waits -= 1;
        assert!(turn(&mut excess, &mut waits, &[50]));
    }

    #[test]
    fn one_message_may_be_too_long() {
        let (mut excess, mut waits) = (Excess::default(), 0);
        assert!(turn(&mut excess, &mut waits, &[5000]));
        assert!(turn(&mut excess, &mut waits, &[10]));
    }

    #[test]
    fn whoever_takes_nothing_stays_within_bounds() {
        for frames in [&[100][..], &[70, 30], &[1; 100]] {
            let (mut excess, mut waits) = (Excess::default(), 0);
            let turns = (0..100).take_while(|_| turn(&mut excess, &mut waits, frames)).count();
            assert!((10..=13).contains(&turns), "{turns} {frames:?}");
        }
        // A great deal at once, and then nothing is read: about as much again.
        let (mut excess, mut waits) = (Excess::default(), 0);
        assert!(turn(&mut excess, &mut waits, &[10_000]));
        while turn(&mut excess, &mut waits, &[100, 100]) {}
        assert!(waits < 20_000, "{waits}");
    }

    #[test]
    fn slow_is_also_who_falls_behind_while_it_reads() {
        let (mut excess, mut waits) = (Excess::default(), 0_usize);
        let turns = (0..1000).take_while(|_| {
            waits = waits.saturating_sub(90);
            turn(&mut excess, &mut waits, &[100])
        });
        assert!(turns.count() < 200);
    }
}
