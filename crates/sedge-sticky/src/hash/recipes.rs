//! The hashes of the old recipes for Node's `cluster`, to compare with. Do not route by them: they
//! take the hash modulo the number of workers, so that nearly everybody moves when that changes,
//! and all but the last go wrong for IPv6.
//!
//! The facts are those of `benchmark.js` of the package `node-cluster-socket.io` (elad), whose
//! published figures `sedge hash-bench` shows. They compute with JavaScript's numbers, and so does
//! this: `None` is where they get `NaN` and thus no worker at all.

/// The hash of `sticky-session`: the numbers between the dots through Jenkins' one-at-a-time,
/// modulo 2^31. A text without dots is one number, whatever digits it begins with.
pub fn int31(text: &str, seed: u32) -> u32 {
    const MODULUS: i64 = 1 << 31;

    // Bitwise operators of JavaScript work on the last 32 bits, as a signed number.
    let shifted = |value: i64, by: u32| i64::from((value as i32) << by);
    let folded = |value: i64, by: u32| i64::from(value as i32 ^ (value as i32 >> by));
    let mut hash = i64::from(seed);
    for part in text.split('.') {
        // Adding NaN makes everything NaN, which the exclusive or turns into zero.
        let Some(number) = leading_number(part) else {
            hash = 0;
            continue;
        };
        hash = (hash + number) % MODULUS;
        hash = (hash + shifted(hash, 10)) % MODULUS;
        hash = folded(hash, 6);
    }
    hash = (hash + shifted(hash, 3)) % MODULUS;
    hash = folded(hash, 11);
    hash = (hash + shifted(hash, 15)) % MODULUS;
    // `>>> 0`: the last 32 bits, without a sign.
    (hash as i32).cast_unsigned()
}

/// JavaScript's `parseInt(text, 10)` for what has no sign and no white space: the digits that it
/// begins with.
fn leading_number(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..digits)?.parse().ok()
}

/// The address as one number: `((a * 256 + b) * 256 + c) * 256 + d`.
pub fn numeric_real(text: &str) -> Option<f64> {
    let mut parts = text.split('.').map(number);
    let mut next = || parts.next().flatten();
    let (a, b, c, d) = (next()?, next()?, next()?, next()?);
    Some(((a * 256.0 + b) * 256.0 + c) * 256.0 + d)
}

/// The address without its dots as a decimal number.
pub fn simple_regex(text: &str) -> Option<f64> {
    decimal(text.bytes().filter(|byte| *byte != b'.'))
}

/// The digits of the address as a decimal number; everything else is left out.
pub fn simple_loop(text: &str) -> f64 {
    decimal(text.bytes().filter(u8::is_ascii_digit)).unwrap_or_default()
}

/// Google's `FarmHash`, the stable 32-bit form, of the text.
pub fn farmhash(text: &str) -> u32 {
    farmhash::fingerprint32(text.as_bytes())
}

/// JavaScript's `Number(text)` for unsigned decimal digits; nothing is zero.
fn number(text: &str) -> Option<f64> {
    decimal(text.bytes())
}

fn decimal(digits: impl Iterator<Item = u8>) -> Option<f64> {
    /// An IPv6 address has no more characters; longer texts are no addresses.
    const LONGEST: usize = 48;

    let mut text = [0; LONGEST];
    let mut len = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        *text.get_mut(len)? = digit;
        len += 1;
    }
    // The nearest number there is: digits beyond 2^53 are lost, as in JavaScript.
    let text = std::str::from_utf8(text.get(..len)?).ok()?;
    if text.is_empty() { Some(0.0) } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values = (u32, u32, Option<f64>, Option<f64>, f64, u32);

    /// Computed by Node.js 20 and `farmhash` 5 from the published functions; int31 has the seeds 0 and
    /// 123,456,789.
    #[rustfmt::skip]
    const NODE: &[(&str, Values)] = &[
        ("1.2.3.4", (1_010_056_299, 1_261_398_623, Some(16_909_060.0), Some(1_234.0), 1_234.0, 2_251_840_163)),
        ("192.0.2.1", (384_395_352, 1_435_141_664, Some(3_221_225_985.0), Some(192_021.0), 192_021.0, 793_570_084)),
        ("255.255.255.255", (383_932_092, 1_790_399_994, Some(4_294_967_295.0), Some(255_255_255_255.0), 255_255_255_255.0, 4_222_040_204)),
        ("0.0.0.0", (0, 2_994_776_639, Some(0.0), Some(0.0), 0.0, 2_275_655_953)),
        ("9.87.65.43", (747_349_871, 815_466_287, Some(156_713_259.0), Some(9_876_543.0), 9_876_543.0, 1_347_495_199)),
        ("2001:db8::1", (1_746_030_067, 1_390_231_414, None, None, 200_181.0, 2_711_655_491)),
        ("fe80::1", (0, 0, None, None, 801.0, 3_833_633_512)),
        ("9999:8888:7777:6666:5555:4444:3333:2222", (288_724_815, 1_130_899_944, None, None, 9.999_888_877_776_667e31, 2_323_185_699)),
        ("1234:5678:9abc:def0:1234:5678:9abc:def0", (2_205_189_515, 2_033_486_796, None, None, 12_345_678_901_234_567_000.0, 2_963_472_233)),
        ("::1", (0, 0, None, None, 1.0, 3_686_423_519)),
        ("::", (0, 0, None, None, 0.0, 3_154_168_827)),
        ("12345::", (734_251_491, 2_091_950_988, None, None, 12_345.0, 195_085_738)),
    ];

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers, and equal to the last bit")]
    fn values_of_the_originals() {
        for (text, values) in NODE {
            let (int31_0, int31_7, real, regex, digits, farm) = values;
            assert_eq!(int31(text, 0), *int31_0, "{text}");
            assert_eq!(int31(text, 123_456_789), *int31_7, "{text}");
            assert_eq!(numeric_real(text), *real, "{text}");
            assert_eq!(simple_regex(text), *regex, "{text}");
            assert_eq!(simple_loop(text), *digits, "{text}");
            assert_eq!(farmhash(text), *farm, "{text}");
        }
    }
}
