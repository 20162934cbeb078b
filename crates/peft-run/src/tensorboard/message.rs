//! The protocol buffers of events, as far as scalars need them.

use serde_json::Value;

/// Wire types.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

/// What a step and an evaluation say beside their figures.
const NOT_FIGURES: [&str; 7] = [
    "event",
    "step",
    "steps",
    "epoch",
    "split",
    "kept",
    "kept_step",
];

/// An event that says which form the file has, and nothing else.
pub fn version(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    double(&mut event, 1, wall_time);
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// The figures of a line of the log as an event: `train/loss` of a step, `selection/accuracy` of an evaluation.
pub fn scalars(wall_time: f64, line: &Value) -> Vec<u8> {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = match text("event") {
        "step" => "train",
        "warm-up" => "warm-up",
        "final" => "final",
        _ => text("split"),
    };
    let mut summary = Vec::new();
    for (name, value) in line.as_object().into_iter().flatten() {
        if NOT_FIGURES.contains(&name.as_str()) {
            continue;
        }
        // What is no number in the log, such as NaN, is null there.
        let value = match value {
            Value::Null => f64::NAN,
            value => match value.as_f64() {
                Some(value) => value,
                None => continue,
            },
        };
        let mut one = Vec::new();
        bytes(&mut one, 1, format!("{group}/{name}").as_bytes());
        tag(&mut one, 2, FIXED_32);
        one.extend((value as f32).to_le_bytes());
        bytes(&mut summary, 1, &one);
    }
    let mut event = Vec::new();
    double(&mut event, 1, wall_time);
    tag(&mut event, 2, VARINT);
    varint(
        &mut event,
        line.get("step").and_then(Value::as_u64).unwrap_or(0),
    );
    bytes(&mut event, 5, &summary);
    event
}

fn tag(out: &mut Vec<u8>, field: u8, wire: u8) {
    out.push((field << 3) | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    tag(out, field, FIXED_64);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    tag(out, field, BYTES);
    varint(out, content.len() as u64);
    out.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_has_the_bytes_of_the_schema() {
        let line = json!({ "event": "step", "step": 300, "loss": 0.5 });
        let mut expected = vec![0x09];
        expected.extend(1.0f64.to_le_bytes());
        // Step 300; a summary of one value with the tag `train/loss` and 0.5.
        expected.extend([0x10, 0xac, 0x02, 0x2a, 19, 0x0a, 17, 0x0a, 10]);
        expected.extend(b"train/loss");
        expected.push(0x15);
        expected.extend(0.5f32.to_le_bytes());
        assert_eq!(scalars(1.0, &line), expected);
    }

    #[test]
    fn evaluations_are_grouped_by_their_rows() {
        let line =
            json!({ "event": "eval", "step": 1, "epoch": 1.0, "split": "report", "accuracy": 1.0 });
        let event = scalars(0.0, &line);
        let has = |text: &[u8]| event.windows(text.len()).any(|window| window == text);
        assert!(has(b"report/accuracy") && !has(b"epoch"));
    }
}
