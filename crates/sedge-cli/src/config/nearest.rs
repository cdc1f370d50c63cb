//! What somebody may have meant by a name that does not exist.

/// The candidate that is nearest to a name, unless none is near. Case and the kind of dash make no
/// difference.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let distances = candidates.into_iter().map(|candidate| (distance(&name, candidate), candidate));
    let (distance, candidate) = distances.min()?;
    // A third of the letters wrong is still a typing error, more is another word.
    (distance <= name.len().max(3) / 3).then_some(candidate)
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("path", "path", 0),
            ("pth", "path", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["listen", "path", "ping-interval", "ping-timeout"];
        for (typed, meant) in [
            ("ping_interval", Some("ping-interval")),
            ("pingInterval", Some("ping-interval")),
            ("PATH", Some("path")),
            ("lisen", Some("listen")),
            ("database", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }
}
