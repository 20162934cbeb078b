//! Families of encoders have words of their own for the same settings.

use serde_json::{Map, Value};

use super::Fault;

/// DistilBERT's own words, and those of the other families.
const DISTILBERT: [(&str, &str); 8] = [
    ("dim", "hidden_size"),
    ("n_layers", "num_hidden_layers"),
    ("n_heads", "num_attention_heads"),
    ("hidden_dim", "intermediate_size"),
    ("activation", "hidden_act"),
    ("dropout", "hidden_dropout_prob"),
    ("attention_dropout", "attention_probs_dropout_prob"),
    ("seq_classif_dropout", "classifier_dropout"),
];
const ALBERT: [(&str, &str); 1] = [("classifier_dropout_prob", "classifier_dropout")];
/// Keys of DistilBERT that are other names of the same sizes to Hugging Face, so that two values make
/// no sense. Of the rest its own word counts, and the other is passed over as any unknown key.
const SYNONYMS: usize = 3;

/// The fields in one vocabulary: a family's own words for the common ones. Words of other families say
/// nothing, for files carry them along.
pub fn translated(map: &Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    // A file may hold a null where it means the default.
    let present = map.iter().filter(|(_, value)| !value.is_null());
    let mut fields: Map<_, _> = present.map(|(k, v)| (k.clone(), v.clone())).collect();
    let words = match fields.get("model_type").and_then(Value::as_str) {
        Some("distilbert") => &DISTILBERT[..],
        Some("albert") => &ALBERT[..],
        _ => &[],
    };
    for (number, (own, common)) in words.iter().enumerate() {
        let Some(value) = fields.remove(*own) else {
            continue;
        };
        let other = fields.insert((*common).to_owned(), value.clone());
        let synonyms = words.len() > SYNONYMS && number < SYNONYMS;
        if let Some(other) = other.filter(|other| synonyms && *other != value) {
            return Err((
                format!(
                    "`{own}` is {value}, but `{common}`, which is another name of it, is {other}"
                ),
                "correct one of them, or fetch the file again",
            ));
        }
    }
    Ok(fields)
}
