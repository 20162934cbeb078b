//! Burn paths and Hugging Face names of the same modules.

/// A two-way map between the paths of a Burn model and the names in its checkpoint.
///
/// A rule rewrites the beginning of a path, component by component; `{}` stands for one component
/// (a layer's number) and is carried over. The first rule that fits wins; a path that no rule fits
/// is left as it is.
///
/// ```
/// use peft_core::NameMap;
/// let names = NameMap::new([("layers.{}.query", "encoder.layer.{}.attention.self.query")]);
/// assert_eq!(names.to_hf("layers.3.query.weight"), "encoder.layer.3.attention.self.query.weight");
/// assert_eq!(names.to_burn("encoder.layer.3.attention.self.query"), "layers.3.query");
/// ```
#[derive(Debug, Clone, Default)]
pub struct NameMap {
    rules: Vec<(Vec<String>, Vec<String>)>,
    /// Parameters by the checkpoint's names, and second names of theirs.
    copies: Vec<(String, String)>,
}

impl NameMap {
    /// A map of `(burn, hugging_face)` rules.
    ///
    /// # Panics
    /// If the two sides of a rule have different numbers of `{}`.
    pub fn new<B: AsRef<str>, H: AsRef<str>>(rules: impl IntoIterator<Item = (B, H)>) -> Self {
        let split = |side: &str| -> Vec<String> {
            side.split('.')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let rules: Vec<_> = rules
            .into_iter()
            .map(|(burn, hf)| (split(burn.as_ref()), split(hf.as_ref())))
            .collect();
        for (burn, hf) in &rules {
            let holes = |side: &[String]| side.iter().filter(|part| *part == "{}").count();
            assert_eq!(
                holes(burn),
                holes(hf),
                "`{}` on one side only",
                burn.join(".")
            );
        }
        Self {
            rules,
            copies: Vec::new(),
        }
    }

    /// The same where a parameter has a second name in files: a table of tokens that is a head, too. Saved in
    /// full, it is written under both.
    #[must_use]
    pub fn with_copy(mut self, name: &str, copy: &str) -> Self {
        self.copies.push((name.to_owned(), copy.to_owned()));
        self
    }

    /// The second name of a parameter, both the checkpoint's.
    pub fn copy_of(&self, name: &str) -> Option<&str> {
        let copies = self.copies.iter();
        copies
            .filter(|(own, _)| own == name)
            .map(|(_, copy)| copy.as_str())
            .next()
    }

    /// The parameter that a name is the second of, both the checkpoint's.
    pub fn original_of(&self, copy: &str) -> Option<&str> {
        let copies = self.copies.iter();
        copies
            .filter(|(_, second)| second == copy)
            .map(|(own, _)| own.as_str())
            .next()
    }

    /// The same names on both sides.
    pub fn identity() -> Self {
        Self::default()
    }

    /// The checkpoint's name of a Burn path.
    pub fn to_hf(&self, path: &str) -> String {
        rewrite(path, self.rules.iter().map(|(burn, hf)| (burn, hf)))
    }

    /// The Burn path of a checkpoint's name.
    pub fn to_burn(&self, name: &str) -> String {
        rewrite(name, self.rules.iter().map(|(burn, hf)| (hf, burn)))
    }
}

fn rewrite<'a>(
    path: &str,
    rules: impl Iterator<Item = (&'a Vec<String>, &'a Vec<String>)>,
) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    for (from, to) in rules {
        if parts.len() < from.len() {
            continue;
        }
        let fits = from
            .iter()
            .zip(&parts)
            .all(|(rule, part)| rule == "{}" || rule == part);
        if !fits {
            continue;
        }
        let mut holes = from
            .iter()
            .zip(&parts)
            .filter(|(rule, _)| *rule == "{}")
            .map(|(_, p)| *p);
        let head = to.iter().map(|part| match part.as_str() {
            "{}" => holes.next().unwrap_or("{}"),
            other => other,
        });
        return head
            .chain(parts[from.len()..].iter().copied())
            .collect::<Vec<_>>()
            .join(".");
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_both_ways_and_leaves_the_rest() {
        let names = NameMap::new([
            (
                "layers.{}.query",
                "bert.encoder.layer.{}.attention.self.query",
            ),
            ("head.dense", "classifier"),
        ]);
        for (burn, hf) in [
            (
                "layers.11.query.weight",
                "bert.encoder.layer.11.attention.self.query.weight",
            ),
            ("head.dense.bias", "classifier.bias"),
            ("other.thing", "other.thing"),
        ] {
            assert_eq!(names.to_hf(burn), hf);
            assert_eq!(names.to_burn(hf), burn);
        }
    }

    #[test]
    fn a_parameter_may_have_a_second_name() {
        let names = NameMap::identity().with_copy("embed.weight", "head.weight");
        assert_eq!(names.copy_of("embed.weight"), Some("head.weight"));
        assert_eq!(names.original_of("head.weight"), Some("embed.weight"));
        assert_eq!(names.copy_of("head.weight"), None);
    }

    #[test]
    #[should_panic(expected = "on one side only")]
    fn refuses_a_hole_on_one_side() {
        NameMap::new([("layers.{}", "layer")]);
    }
}
