//! Rendezvous hashing (highest random weight): each target draws a number for an address, and the
//! highest wins. When a target goes, only its own addresses move, evenly to all others; when one
//! comes, it takes its share evenly from all.
//!
//! The draw is SipHash-1-3 of the address, keyed by the target's seed. For different weights the
//! one with the smallest `-log2(draw) / weight` wins, which gives shares exactly by weight; the
//! logarithm is computed in integers, so that it is the same on every machine.

use std::hash::Hasher as _;
use std::net::IpAddr;

use siphasher::sip::{SipHasher13, SipHasher24};

/// What stands for a target's name.
pub fn seed(name: &str) -> u64 {
    SipHasher24::new().hash(name.as_bytes())
}

/// A target's draw for an address.
pub fn draw(seed: u64, address: IpAddr) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, !seed);
    match address.to_canonical() {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.finish()
}

/// The target with the best draw of those given as (seed, weight, anything).
pub fn best<T>(address: IpAddr, targets: impl IntoIterator<Item = (u64, u32, T)>) -> Option<T> {
    let drawn = targets
        .into_iter()
        .map(|(seed, weight, target)| (draw(seed, address), weight, target))
        .reduce(
            |best, other| if wins((other.0, other.1), (best.0, best.1)) { other } else { best },
        );
    drawn.map(|(_, _, target)| target)
}

/// Whether the first draw beats the second, each with its weight.
fn wins(a: (u64, u32), b: (u64, u32)) -> bool {
    if a.1 == b.1 {
        return a.0 > b.0;
    }
    // Fractions compared by cross products.
    let cost = |draw: u64, weight: u32| u128::from(minus_log2(draw)) * u128::from(weight);
    (cost(a.0, b.1), b.0) < (cost(b.0, a.1), a.0)
}

/// `-log2(draw / 2^64)` with 32 binary places behind the point.
fn minus_log2(draw: u64) -> u64 {
    const PLACES: u32 = 32;

    let draw = draw.max(1);
    let zeros = draw.leading_zeros();
    // From 1 to below 2, with 63 places.
    let mut mantissa = draw << zeros;
    let mut fraction: u64 = 0;
    for _ in 0..PLACES {
        // Squaring doubles the logarithm; its whole part is the next place.
        let square = u128::from(mantissa) * u128::from(mantissa);
        let place = (square >> 127) as u64;
        mantissa = (square >> (63 + place)) as u64;
        fraction = fraction << 1 | place;
    }
    (u64::from(zeros + 1) << PLACES) - fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn addresses() -> impl Iterator<Item = IpAddr> {
        (0..40_000_u32).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
    }

    #[test]
    fn logarithms() {
        let one = 1 << 32;
        assert_eq!(minus_log2(0), 64 * one);
        assert_eq!(minus_log2(1), 64 * one);
        assert_eq!(minus_log2(1 << 63), one);
        assert_eq!(minus_log2(1 << 62), 2 * one);
        for draw in [3, 1000, 0x1234_5678_9abc_def0, u64::MAX / 3, u64::MAX] {
            let exact = -((draw as f64 / 2_f64.powi(64)).log2()) * one as f64;
            assert!((minus_log2(draw) as f64 - exact).abs() < 2.0, "{draw}");
        }
    }

    #[test]
    fn shares_are_by_weight() {
        let targets = [("a", 1), ("b", 2), ("c", 5)];
        let mut counts = [0_u32; 3];
        for address in addresses() {
            let drawn = targets.iter().enumerate().map(|(at, (n, w))| (seed(n), *w, at));
            counts[best(address, drawn).unwrap()] += 1;
        }
        for (count, (name, weight)) in counts.iter().zip(targets) {
            let share = f64::from(*count) / 5000.0;
            assert!((share / f64::from(weight) - 1.0).abs() < 0.05, "{name}: {share}");
        }
    }

    #[test]
    fn a_target_that_comes_takes_only_what_is_its_own() {
        let seeds = ["a", "b", "c", "d", "e"].map(seed);
        let place = |address, count: usize| {
            best(address, seeds.iter().take(count).enumerate().map(|(at, s)| (*s, 1, at)))
        };
        let mut moved = 0;
        for address in addresses() {
            let (before, after) = (place(address, 4), place(address, 5));
            if before != after {
                assert_eq!(after, Some(4));
                moved += 1;
            }
        }
        assert!((7_500..8_500).contains(&moved), "{moved} of 40,000, should be a fifth");
        let none: [(u64, u32, ()); 0] = [];
        assert_eq!(best(IpAddr::V4(Ipv4Addr::LOCALHOST), none), None);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let address: Ipv4Addr = "192.0.2.1".parse().unwrap();
        assert_eq!(draw(7, IpAddr::V4(address)), draw(7, IpAddr::V6(address.to_ipv6_mapped())));
    }
}
