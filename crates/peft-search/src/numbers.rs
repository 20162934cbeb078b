//! Numbers in JSON, which has none that are not finite: those are written as words.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Word(String),
}

/// Writes numbers, `"nan"`, `"inf"` and `"-inf"` among them.
pub(crate) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    let number = |value: &f64| match value {
        value if value.is_finite() => Number::Finite(*value),
        value if value.is_nan() => Number::Word("nan".into()),
        value if *value > 0.0 => Number::Word("inf".into()),
        _ => Number::Word("-inf".into()),
    };
    serializer.collect_seq(values.iter().map(number))
}

/// Reads what [`serialize`] writes.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<f64>, D::Error> {
    let value = |number: Number| match number {
        Number::Finite(value) => Ok(value),
        Number::Word(word) => match word.as_str() {
            "nan" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            _ => Err(D::Error::custom(format!(
                "{word:?} is no number: expected a number, \"nan\", \"inf\" or \"-inf\""
            ))),
        },
    };
    Vec::<Number>::deserialize(deserializer)?
        .into_iter()
        .map(value)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::Event;

    #[test]
    fn numbers_come_back_whatever_they_are() {
        let measured = vec![
            0.1 + 0.2,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            5e-324,
        ];
        let event = Event::Reported {
            trial: 1,
            resource: 2,
            measured: measured.clone(),
        };
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.contains(r#""nan","inf","-inf""#), "{line}");
        let Event::Reported { measured: read, .. } = serde_json::from_str(&line).unwrap() else {
            panic!("{line}")
        };
        let same = read.iter().zip(&measured);
        assert!(
            same.into_iter()
                .all(|(a, b)| a == b || a.is_nan() && b.is_nan())
        );
        assert!(serde_json::from_str::<Event>(&line.replace("nan", "NaN")).is_err());
    }
}
