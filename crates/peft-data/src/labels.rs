//! Classes: names and their ids.

use crate::error::{DataError, list, shorten};
use std::collections::HashMap;

/// Most classes accepted.
pub const MAX_LABELS: usize = 10_000;

/// Class names, whose positions are the class ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl LabelMap {
    /// A map from names in the order of their ids, such as a checkpoint's `id2label`.
    ///
    /// # Errors
    /// [`DataError::LabelNames`] for no names, a name twice, or more than [`MAX_LABELS`].
    pub fn from_names<S: Into<String>>(
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, DataError> {
        let error = |problem: String| Err(DataError::LabelNames { problem });
        let (mut list, mut ids) = (Vec::new(), HashMap::new());
        for name in names {
            let name: String = name.into();
            if list.len() == MAX_LABELS {
                return error(format!("more than {MAX_LABELS} names"));
            }
            if ids.insert(name.clone(), list.len() as u32).is_some() {
                return error(format!("`{}` is there twice", shorten(&name)));
            }
            list.push(name);
        }
        match list.is_empty() {
            true => error("no names".to_owned()),
            false => Ok(Self { names: list, ids }),
        }
    }

    /// The map of the distinct labels of a data set: in numeric order if all are integers, else in
    /// lexicographic (byte) order.
    ///
    /// # Errors
    /// As [`LabelMap::from_names`], except that a label may come any number of times.
    pub fn from_labels<S: AsRef<str>>(
        labels: impl IntoIterator<Item = S>,
    ) -> Result<Self, DataError> {
        let mut names: Vec<_> = labels
            .into_iter()
            .map(|l| canonical(l.as_ref()).to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        let numbers: Option<Vec<i64>> = names.iter().map(|n| n.parse().ok()).collect();
        if numbers.is_some() {
            names.sort_by_key(|n| n.parse::<i64>().unwrap_or(i64::MAX));
        }
        Self::from_names(names)
    }

    /// Names in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a class.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize).map(String::as_str)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never true: a map has at least one class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The id of a label as data files write it: a name, a class id, or `LABEL_3`.
    ///
    /// Names come first: where the names are numbers (`1` to `5`), a number is a name. Where a
    /// name is `LABEL_3`, `3` and `3.0` mean it too.
    pub fn id(&self, label: &str) -> Option<u32> {
        let label = canonical(label);
        if let Some(&id) = self.ids.get(label) {
            return Some(id);
        }
        // Numbers that are names must not be read as ids as well: 0 is unknown among 1 to 5.
        if self.names.iter().all(|n| n.parse::<i64>().is_ok()) {
            return None;
        }
        let id = match label {
            "false" | "False" => 0,
            "true" | "True" => 1,
            other => other.strip_prefix("LABEL_").unwrap_or(other).parse().ok()?,
        };
        ((id as usize) < self.len()).then_some(id)
    }

    /// Whether [`LabelMap::id`] takes a label for the number of a name, and not for a name.
    pub(crate) fn is_number(&self, label: &str) -> bool {
        let label = canonical(label);
        !self.ids.contains_key(label) && label.parse::<u32>().is_ok_and(|_| self.id(label).is_some())
            // Names that are the numbers written out say nothing else.
            && !self.names.iter().enumerate().all(|(id, name)| *name == format!("LABEL_{id}"))
    }

    /// The names for an error message.
    pub(crate) fn listed(&self) -> String {
        list(&self.names)
    }
}

/// A label without what varies between writers: surrounding blanks, and the `.0` that pandas adds
/// to integers.
pub(crate) fn canonical(label: &str) -> &str {
    let label = label.trim();
    match label.split_once('.') {
        Some((whole, zeros))
            if !zeros.is_empty()
                && zeros.bytes().all(|b| b == b'0')
                && whole.parse::<i64>().is_ok() =>
        {
            whole
        }
        _ => label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_sort_by_value_and_the_rest_by_bytes() {
        let map = LabelMap::from_labels(["10", "2.0", "2", " 1 "]).unwrap();
        assert_eq!(map.names(), ["1", "2", "10"]);
        let map = LabelMap::from_labels(["10", "2", "b"]).unwrap();
        assert_eq!(map.names(), ["10", "2", "b"]);
        assert_eq!(map.name(2), Some("b"));
    }

    #[test]
    fn labels_may_be_names_ids_or_hf_defaults() {
        let map = LabelMap::from_names(["negative", "positive"]).unwrap();
        for one in ["positive", "1", "1.0", " positive", "LABEL_1", "true"] {
            assert_eq!(map.id(one), Some(1), "{one}");
        }
        for unknown in ["2", "-1", "", "Positive", "LABEL_2", "LABEL_"] {
            assert_eq!(map.id(unknown), None, "{unknown}");
        }
        let stars = LabelMap::from_names(["1", "2", "3"]).unwrap();
        assert_eq!(
            (stars.id("1"), stars.id("3"), stars.id("0")),
            (Some(0), Some(2), None)
        );
        let hf = LabelMap::from_names(["LABEL_0", "LABEL_1"]).unwrap();
        assert_eq!(hf.id("1"), Some(1));
    }

    #[test]
    fn bad_names_are_refused() {
        assert!(LabelMap::from_names(["a", "a"]).is_err());
        assert!(LabelMap::from_names(Vec::<String>::new()).is_err());
        assert!(LabelMap::from_names((0..=MAX_LABELS).map(|i| i.to_string())).is_err());
    }
}
