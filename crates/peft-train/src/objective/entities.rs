//! Entities that labels of words mark, as seqeval reads them.

/// Words that belong together, such as a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity<'a> {
    /// What it is: what its labels have behind the first dash, such as `PER`.
    pub kind: &'a str,
    /// Its first word.
    pub start: usize,
    /// The word behind its last.
    pub end: usize,
}

/// Place of a word in its entity, by the label's first letter, and the entity's kind.
fn split(label: &str) -> (char, &str) {
    let mut letters = label.chars();
    let place = letters.next().unwrap_or('O');
    let rest = letters.as_str();
    match rest.split_once('-').map_or(rest, |(_, kind)| kind) {
        "" => (place, "_"),
        kind => (place, kind),
    }
}

/// Whether labels are those of chunks: `O`, and a place (`B`, `I`, `E`, `S`), a dash and a kind.
pub(super) fn is_scheme(labels: &[String]) -> bool {
    let marked = |label: &&String| {
        let places = ["B-", "I-", "E-", "S-"];
        places.iter().any(|place| label.starts_with(place))
    };
    let others = || labels.iter().filter(|label| *label != "O");
    others().all(|label| marked(&label)) && others().next().is_some()
}

/// The entities of a sequence of labels, in their order, by the rules of `conlleval` and of seqeval's default mode: one begins
/// at `B` or `S`, where the kind changes, and at an `I` or `E` that continues nothing; so `I-PER` alone is one, too.
pub fn entities<'a>(labels: &[&'a str]) -> Vec<Entity<'a>> {
    let mut found = Vec::new();
    let mut open: Option<usize> = None;
    let mut before = ('O', "");
    for (word, label) in labels.iter().copied().chain(["O"]).enumerate() {
        let (place, kind) = split(label);
        let (last, last_kind) = before;
        let changes = last_kind != kind;
        let ends = matches!((last, place), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O'))
            || last != 'O' && changes;
        let starts = matches!((last, place), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I'))
            || place != 'O' && changes;
        if let Some(start) = open.filter(|_| ends) {
            found.push(Entity {
                kind: last_kind,
                start,
                end: word,
            });
            open = None;
        }
        if starts {
            open = Some(word);
        }
        before = (place, kind);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &str) -> Vec<(String, usize, usize)> {
        let labels: Vec<&str> = labels.split_whitespace().collect();
        let found = entities(&labels).into_iter();
        found
            .map(|entity| (entity.kind.to_owned(), entity.start, entity.end))
            .collect()
    }

    /// What `seqeval.metrics.sequence_labeling.get_entities` gives; its ends are the last words.
    #[test]
    fn entities_are_those_of_seqeval() {
        let one = |kind: &str, start, end| (kind.to_owned(), start, end);
        for (labels, expected) in [
            (
                "B-PER I-PER O B-LOC",
                vec![one("PER", 0, 2), one("LOC", 3, 4)],
            ),
            ("O O B-MISC I-MISC I-MISC I-MISC O", vec![one("MISC", 2, 6)]),
            ("I-PER I-PER O", vec![one("PER", 0, 2)]),
            ("B-PER B-PER", vec![one("PER", 0, 1), one("PER", 1, 2)]),
            ("B-PER I-LOC", vec![one("PER", 0, 1), one("LOC", 1, 2)]),
            (
                "B-PER I-PER E-PER S-LOC",
                vec![one("PER", 0, 3), one("LOC", 3, 4)],
            ),
            ("E-PER E-PER", vec![one("PER", 0, 1), one("PER", 1, 2)]),
            ("B-first-name I-first-name", vec![one("first-name", 0, 2)]),
            ("O O", vec![]),
            ("", vec![]),
            ("I-A B-A I-A", vec![one("A", 0, 1), one("A", 1, 3)]),
        ] {
            assert_eq!(of(labels), expected, "{labels}");
        }
    }

    #[test]
    fn schemes_are_told_from_other_labels() {
        let is = |labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            is_scheme(&labels)
        };
        assert!(is(&["O", "B-PER", "I-PER"]) && is(&["I-X"]));
        assert!(!is(&["NOUN", "VERB"]) && !is(&["O"]) && !is(&["O", "B-PER", "NOUN"]));
    }
}
