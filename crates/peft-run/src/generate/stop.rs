//! Texts that end a text.

/// Lets text through until one of some texts occurs in it. What may be the beginning of one is held back.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    met: bool,
}

impl StopStrings {
    pub fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.to_vec(),
            held: String::new(),
            met: false,
        }
    }

    /// Whether one of the texts has occurred.
    pub fn met(&self) -> bool {
        self.met
    }

    /// What of the text so far can be shown now: up to the first of the texts, or to the longest end that begins
    /// one.
    pub fn push(&mut self, text: &str) -> String {
        if self.met {
            return String::new();
        }
        self.held.push_str(text);
        let places = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()));
        if let Some(at) = places.min() {
            self.met = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let shown = self.held.len() - self.begun();
        let rest = self.held.split_off(shown);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, where no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of what is held that begin one of the texts.
    fn begun(&self) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|at| self.held.ends_with(&stop[..*at])).max()
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(stops: &[&str], parts: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut all = StopStrings::new(&stops);
        let mut shown: Vec<String> = parts.iter().map(|part| all.push(part)).collect();
        shown.push(all.finish());
        (shown, all.met())
    }

    #[test]
    fn beginnings_are_held_back() {
        let (parts, met) = shown(&["\n\n"], &["a", "\n", "b\n", "\nc"]);
        assert_eq!(parts, ["a", "", "\nb", "", ""]);
        assert!(met);
        let (parts, met) = shown(&["User:", "Us."], &["Hi U", "se", "r", "s"]);
        assert_eq!(parts, ["Hi ", "", "", "Users", ""]);
        assert!(!met);
        let (parts, met) = shown(&["é!"], &["caf", "é", ""]);
        assert_eq!(parts, ["caf", "", "", "é"]);
        assert!(!met);
    }

    proptest! {
        #[test]
        fn text_ends_before_a_stop_and_nowhere_else(
            stops in prop::collection::vec("[abé]{1,3}", 0..3),
            text in "[abéc]{0,20}", cuts in prop::collection::vec(0usize..40, 0..6),
        ) {
            let mut at: Vec<usize> = cuts.into_iter().filter(|at| text.is_char_boundary(*at)).collect();
            at.extend([0, text.len()]);
            at.sort();
            let mut all = StopStrings::new(&stops);
            let mut found = String::new();
            for span in at.windows(2) {
                found += &all.push(&text[span[0]..span[1]]);
            }
            found += &all.finish();
            prop_assert!(text.starts_with(&found));
            prop_assert!(stops.iter().all(|stop| !found.contains(stop.as_str())));
            let rest = &text[found.len()..];
            prop_assert_eq!(all.met(), !rest.is_empty());
            prop_assert!(rest.is_empty() || stops.iter().any(|stop| rest.starts_with(stop)));
        }
    }
}
