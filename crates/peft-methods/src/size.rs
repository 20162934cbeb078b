//! How large the adapters of a method are, by one number for all methods.

use serde_json::{Map, Value};

use crate::Entry;

/// What a setting of size does to the number of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// More of it, more values: a whole number.
    Count,
    /// More of it, more values: a share of a weight's entries.
    Share,
    /// More of it, fewer values: a number.
    Divisor,
    /// More of it, fewer values: a whole number.
    WholeDivisor,
}

/// Settings by which methods are larger or smaller; of several that a method has, the first group counts. Those of one
/// group change together.
const SIZES: [&[(&str, Course)]; 8] = [
    &[("target_r", Course::Count), ("init_r", Course::Count)],
    &[("r", Course::Count)],
    &[("n_frequency", Course::Count)],
    &[("density", Course::Share)],
    &[("reduction_factor", Course::Divisor)],
    &[("block_size", Course::WholeDivisor)],
    &[("num_virtual_tokens", Course::Count)],
    &[
        ("serial_size", Course::Count),
        ("parallel_size", Course::Count),
    ],
];

/// What is divided by the rank, and so keeps its ratio to it.
const BESIDE: [(&str, &str); 2] = [("r", "lora_alpha"), ("init_r", "lora_alpha")];

/// How far a whole number may be from the size that is asked for, as a part of it.
const NEAR: f64 = 0.02;

impl Entry {
    /// The settings that make the method's adapters `factor` times as large as with its
    /// [defaults](Entry::defaults), to be given beside these: rank, number of coefficients, share of entries, width
    /// of the bottleneck. None where the method has no such setting, or no whole number is near enough.
    pub fn sized(&self, factor: f64) -> Option<Map<String, Value>> {
        let defaults = (self.defaults)();
        let default = |key: &str| defaults.get(key).and_then(Value::as_f64);
        let group = SIZES
            .iter()
            .find(|group| group.iter().all(|(key, _)| default(key).is_some()))?;
        let mut sized = Map::new();
        for (key, course) in *group {
            let usual = default(key)?;
            let value = match course {
                Course::Count => whole(usual * factor)?,
                Course::Share => {
                    let share = usual * factor;
                    (share <= 1.0).then(|| Value::from(share))?
                }
                Course::Divisor => Value::from(usual / factor),
                Course::WholeDivisor => whole(usual / factor)?,
            };
            sized.insert((*key).to_owned(), value);
            for (_, beside) in BESIDE.iter().filter(|(one, _)| one == key) {
                if let Some(usual) = default(beside) {
                    sized.insert((*beside).to_owned(), Value::from(usual * factor));
                }
            }
        }
        Some(sized)
    }
}

/// The whole number of 1 or more that is meant; none where all are far from it.
fn whole(number: f64) -> Option<Value> {
    let nearest = number.round();
    let is_near = (nearest - number).abs() <= NEAR * number;
    (is_near && (1.0..1e9).contains(&nearest)).then(|| Value::from(nearest as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::by_name;

    #[test]
    fn sizes_are_those_of_the_methods_own_settings() {
        let sized = |name: &str, factor| by_name(name).unwrap().sized(factor);
        let lora = sized("lora", 0.5).unwrap();
        let usual = (by_name("lora").unwrap().defaults)();
        let half = |key: &str| usual[key].as_f64().unwrap() / 2.0;
        assert_eq!(lora["r"].as_f64().unwrap(), half("r"));
        assert_eq!(lora["lora_alpha"].as_f64().unwrap(), half("lora_alpha"));
        assert_eq!(
            sized("bottleneck", 4.0).unwrap()["reduction_factor"],
            json!(4.0)
        );
        assert!(sized("lora", 1.0 / 64.0).is_none(), "no rank below 1");
        assert!(sized("bitfit", 2.0).is_none());
        assert!(sized("sift", 1e6).is_none(), "no share above 1");
    }
}
