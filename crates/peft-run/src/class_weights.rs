//! Weights of classes in a loss.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use peft_data::{Dataset, Labels};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{RunError, sidecar::object};

/// What the name of the choice is that needs no file.
const BALANCED: &str = "balanced";

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ClassWeights {
    /// `rows / (classes · rows of the class)`, as scikit-learn's `balanced`: every class counts alike.
    Balanced,
    /// A JSON object of labels and weights.
    File(PathBuf),
}

impl From<String> for ClassWeights {
    fn from(text: String) -> Self {
        match text.as_str() {
            BALANCED => Self::Balanced,
            _ => Self::File(text.into()),
        }
    }
}

impl From<ClassWeights> for String {
    fn from(weights: ClassWeights) -> Self {
        weights.to_string()
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balanced => f.write_str(BALANCED),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl ClassWeights {
    /// A weight for each label. `rows` are those to learn from.
    ///
    /// # Errors
    /// If the file is none, names a label that there is not, or a weight is not a number above 0.
    pub(crate) fn of(&self, labels: &[String], rows: &Dataset) -> Result<Vec<f64>, RunError> {
        match self {
            Self::Balanced => Ok(balanced(labels.len(), &rows.labels())),
            Self::File(path) => read(path, labels),
        }
    }
}

/// Classes without a row are in no loss, and count for nothing.
fn balanced(classes: usize, rows: &Labels) -> Vec<f64> {
    let mut counts = vec![0.0; classes];
    if let Labels::Classes(rows) = rows {
        rows.iter().for_each(|class| counts[*class as usize] += 1.0);
    }
    let all: f64 = counts.iter().sum();
    let present = counts.iter().filter(|count| **count > 0.0).count() as f64;
    let of = |count: &f64| match *count {
        0.0 => 1.0,
        count => all / (present * count),
    };
    counts.iter().map(of).collect()
}

fn read(path: &Path, labels: &[String]) -> Result<Vec<f64>, RunError> {
    let fault = |problem: String, fix: &str| RunError::File {
        path: path.to_owned(),
        problem,
        fix: fix.to_owned(),
    };
    const FORM: &str = "write a JSON object of labels and weights, such as {\"spam\": 5}";
    let object = object(path)?.ok_or_else(|| fault("there is no such file".into(), FORM))?;
    let mut weights = vec![1.0; labels.len()];
    for (label, value) in &object {
        let Some(class) = labels.iter().position(|known| known == label) else {
            let label = peft_format::shorten(label);
            let known: Vec<String> = labels.iter().take(10).map(|l| format!("`{l}`")).collect();
            let problem = format!("the data has no label `{label}`, only {}", known.join(", "));
            return Err(fault(problem, "correct the label, or leave it out"));
        };
        let weight = value.as_f64().filter(|w| w.is_finite() && *w > 0.0);
        weights[class] = weight.ok_or_else(|| {
            let value = peft_format::shorten(&Value::to_string(value));
            let problem = format!("the weight of `{}` is {value}", peft_format::shorten(label));
            fault(problem, "give a number above 0")
        })?;
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2]).
        let found = balanced(3, &Labels::Classes(vec![0, 0, 0, 1, 2, 2]));
        assert_eq!(found, [6.0 / 9.0, 2.0, 1.0]);
        // A class that no row has is none of them.
        let found = balanced(3, &Labels::Classes(vec![0, 0, 0, 2]));
        assert_eq!(found, [4.0 / 6.0, 1.0, 2.0]);
    }

    #[test]
    fn a_file_names_labels_and_weights_above_zero() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.json");
        let labels = ["ham", "spam"].map(str::to_owned);
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            super::read(&path, &labels)
        };
        assert_eq!(read(r#"{"spam": 5}"#).unwrap(), [1.0, 5.0]);
        for (text, word) in [
            (r#"{"spma": 5}"#, "spma"),
            (r#"{"spam": 0}"#, "above 0"),
            (r#"{"spam": "much"}"#, "much"),
            ("[1, 2]", "weights.json"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(super::read(&folder.path().join("none"), &labels).is_err());
    }
}
