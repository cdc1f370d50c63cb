//! Putting the metrics of several processes into one text, in Prometheus' text format.
//!
//! Every sample of a worker gets the label `worker`. The format wants all samples of a family together,
//! under one head, so texts are taken apart by family and put together again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The media type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families with their samples, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Families {
    order: Vec<Family>,
    places: BTreeMap<String, usize>,
}

#[derive(Debug, Default)]
struct Family {
    /// The lines for help and type.
    head: String,
    samples: String,
}

impl Families {
    /// Adds what a worker has said.
    pub(crate) fn add(&mut self, text: &str, worker: u8) {
        // Whose samples follow, and whether its head is already known from another worker.
        let mut current: Option<(usize, bool)> = None;
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.split_ascii_whitespace();
                let (Some("HELP" | "TYPE"), Some(name)) = (words.next(), words.next()) else {
                    continue;
                };
                let same = current.filter(|(at, _)| self.places.get(name) == Some(at));
                let (at, known) = same.unwrap_or_else(|| self.place(name));
                current = Some((at, known));
                if !known {
                    let _ = writeln!(self.order[at].head, "{line}");
                }
                continue;
            }
            let Some(name) = sample_name(line) else { continue };
            // `_sum`, `_count` and `_bucket` stand under the head of their family.
            let of_current = current.filter(|(at, _)| self.is_of(*at, name));
            let (at, known) = of_current.unwrap_or_else(|| self.place(name));
            current = Some((at, known));
            append_labelled(&mut self.order[at].samples, line, name, worker);
        }
    }

    fn is_of(&self, at: usize, name: &str) -> bool {
        ["", "_sum", "_count", "_bucket"].iter().any(|suffix| {
            name.strip_suffix(suffix).is_some_and(|family| self.places.get(family) == Some(&at))
        })
    }

    /// The place of a family, and whether it was there already.
    fn place(&mut self, name: &str) -> (usize, bool) {
        if let Some(at) = self.places.get(name) {
            return (*at, true);
        }
        let at = self.order.len();
        self.order.push(Family::default());
        self.places.insert(name.to_owned(), at);
        (at, false)
    }

    /// One text of all.
    pub(crate) fn text(&self) -> String {
        self.order.iter().flat_map(|family| [family.head.as_str(), &family.samples]).collect()
    }
}

/// The name in front of the labels or the value of a sample; `None` for what is no sample.
fn sample_name(line: &str) -> Option<&str> {
    let end = line.find(|c: char| c != '_' && c != ':' && !c.is_ascii_alphanumeric())?;
    let behind = line.as_bytes().get(end)?;
    (end > 0 && matches!(behind, b'{' | b' ')).then_some(&line[..end])
}

fn append_labelled(out: &mut String, line: &str, name: &str, worker: u8) {
    let rest = &line[name.len()..];
    let _ = match rest.strip_prefix('{') {
        Some(labels) if labels.starts_with('}') => {
            writeln!(out, "{name}{{worker=\"{worker}\"{labels}")
        }
        Some(labels) => writeln!(out, "{name}{{worker=\"{worker}\",{labels}"),
        None => writeln!(out, "{name}{{worker=\"{worker}\"}}{rest}"),
    };
}

/// A text of families that this process counts itself.
#[derive(Debug, Default)]
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// The head of a family.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A family with one sample.
    pub(crate) fn single(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl std::fmt::Display,
    ) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// A sample with labels, such as `worker="1"`.
    pub(crate) fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_several_workers_stand_together() {
        let text = "# HELP a_total Some.\n# TYPE a_total counter\na_total{shard=\"0\"} 1\n\
                    # HELP b Others.\n# TYPE b gauge\nb 7\n";
        let mut families = Families::default();
        families.add(text, 0);
        families.add(&text.replace('7', "8"), 1);
        assert_eq!(
            families.text(),
            "# HELP a_total Some.\n# TYPE a_total counter\n\
             a_total{worker=\"0\",shard=\"0\"} 1\na_total{worker=\"1\",shard=\"0\"} 1\n\
             # HELP b Others.\n# TYPE b gauge\nb{worker=\"0\"} 7\nb{worker=\"1\"} 8\n"
        );
    }

    #[test]
    fn histograms_stay_whole() {
        let text = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\nother 1\n";
        let mut families = Families::default();
        families.add(text, 3);
        families.add(text, 4);
        let whole = "# TYPE h histogram\nh_bucket{worker=\"3\",le=\"+Inf\"} 3\n\
                     h_sum{worker=\"3\"} 4.5\nh_count{worker=\"3\"} 3\n\
                     h_bucket{worker=\"4\",le=\"+Inf\"} 3\n";
        assert!(families.text().starts_with(whole), "{}", families.text());
        assert!(families.text().ends_with("other{worker=\"3\"} 1\nother{worker=\"4\"} 1\n"));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let mut families = Families::default();
        families.add("\n# a comment\nnonsense\n{} 3\n\u{fc} 1\nok{} 2\nend", 0);
        assert_eq!(families.text(), "ok{worker=\"0\"} 2\n");
    }
}
