//! Predictions as JSON lines or as csv.

use std::{
    borrow::Cow,
    io::{self, Write},
    path::Path,
};

use clap::ValueEnum;
use peft_run::{Prediction, data::Value as Cell, entities};
use serde_json::{Map, Value, json};

/// How predictions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One JSON object a row.
    Jsonl,
    /// Comma-separated values under a header.
    Csv,
}

impl OutputFormat {
    /// The format that was asked for, else the one of a file's ending, else JSON lines.
    pub fn of(asked: Option<Self>, path: Option<&Path>) -> Self {
        let ending = path.and_then(Path::extension).and_then(|end| end.to_str());
        let by_ending = match ending {
            Some(end) if end.eq_ignore_ascii_case("csv") => Self::Csv,
            _ => Self::Jsonl,
        };
        asked.unwrap_or(by_ending)
    }
}

/// Writes predictions, row after row.
pub struct Predictions<'a> {
    pub format: OutputFormat,
    pub labels: &'a [String],
    /// How many labels of a row are told, the most probable first; `None` for all, in the order of the labels.
    pub top: Option<usize>,
    /// Whether labels of words mark entities.
    pub in_chunks: bool,
    /// Rows written so far.
    pub rows: usize,
}

impl Predictions<'_> {
    /// Write a part. `kept` has each row's value of the id column, or nothing.
    pub fn write(
        &mut self,
        out: &mut dyn Write,
        kept: &[Cell],
        predictions: &[Prediction],
    ) -> io::Result<()> {
        for (row, prediction) in predictions.iter().enumerate() {
            let id = kept.get(row);
            match self.format {
                OutputFormat::Jsonl => writeln!(out, "{}", self.object(id, prediction))?,
                OutputFormat::Csv => {
                    if self.rows == 0 {
                        line(out, &self.header(id.is_some(), prediction))?;
                    }
                    line(out, &self.cells(id, prediction))?;
                }
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// Labels with their probabilities, as many as are told.
    fn told<'b>(&'b self, probabilities: &[f32]) -> Vec<(&'b str, f32)> {
        let labels = self.labels.iter().map(String::as_str);
        let mut pairs: Vec<(&str, f32)> = labels.zip(probabilities.iter().copied()).collect();
        if let Some(top) = self.top {
            // Stable: of equals the first label stays the first.
            pairs.sort_by(|a, b| b.1.total_cmp(&a.1));
            pairs.truncate(top);
        }
        pairs
    }

    /// Of several labels, those that a row has.
    fn chosen(&self, probabilities: &[f32]) -> Vec<&str> {
        let pairs = self.labels.iter().zip(probabilities);
        pairs
            .filter(|(_, p)| **p >= 0.5)
            .map(|(label, _)| label.as_str())
            .collect()
    }

    fn label(&self, prediction: &Prediction) -> Option<&str> {
        let class = prediction.class()?;
        self.labels.get(class as usize).map(String::as_str)
    }

    /// The label of each word of a row; none for words that no token begins with. Words beyond the longest sequence have no
    /// place here.
    fn tags(&self, prediction: &Prediction) -> Vec<Option<&str>> {
        let (Prediction::Words { words, .. }, Some(classes)) = (prediction, prediction.classes())
        else {
            return Vec::new();
        };
        let mut tags = vec![None; words.iter().max().map_or(0, |last| *last as usize + 1)];
        for (word, class) in words.iter().zip(classes) {
            tags[*word as usize] = self.labels.get(class as usize).map(String::as_str);
        }
        tags
    }

    fn object(&self, id: Option<&Cell>, prediction: &Prediction) -> Value {
        let mut object = Map::new();
        object.insert("index".into(), self.rows.into());
        if let Some(id) = id {
            object.insert("id".into(), json_of(id));
        }
        let named = |probabilities: &[f32]| -> Map<String, Value> {
            let told = self.told(probabilities).into_iter();
            told.map(|(label, p)| (label.to_owned(), json!(p)))
                .collect()
        };
        match prediction {
            Prediction::Tokens(costs) => {
                object.insert("tokens".into(), costs.len().into());
                object.insert("loss".into(), json!(mean(costs)));
            }
            Prediction::Words { .. } => {
                let tags = self.tags(prediction);
                if self.in_chunks {
                    object.insert("entities".into(), entities_of(&tags));
                }
                object.insert("tags".into(), json!(tags));
            }
            Prediction::Number(value) => drop(object.insert("value".into(), json!(value))),
            Prediction::Labels { probabilities, .. } => {
                object.insert("labels".into(), json!(self.chosen(probabilities)));
                object.insert("probabilities".into(), named(probabilities).into());
            }
            Prediction::Class { probabilities, .. } => {
                object.insert("label".into(), json!(self.label(prediction)));
                object.insert("probabilities".into(), named(probabilities).into());
            }
        }
        Value::Object(object)
    }

    fn header(&self, id: bool, prediction: &Prediction) -> Vec<Cow<'_, str>> {
        let mut heads: Vec<Cow<str>> = vec!["index".into()];
        heads.extend(id.then_some("id".into()));
        let several = match prediction {
            Prediction::Tokens(_) => {
                heads.extend(["tokens".into(), "loss".into()]);
                return heads;
            }
            Prediction::Words { .. } => {
                heads.push("tags".into());
                return heads;
            }
            Prediction::Number(_) => {
                heads.push("value".into());
                return heads;
            }
            Prediction::Labels { .. } => true,
            Prediction::Class { .. } => false,
        };
        heads.push(if several { "labels" } else { "label" }.into());
        match self.top {
            None => heads.extend(
                self.labels
                    .iter()
                    .map(|label| format!("probability_{label}").into()),
            ),
            Some(top) => heads.extend((1..=top.min(self.labels.len())).flat_map(|place| {
                [
                    format!("top{place}").into(),
                    format!("probability{place}").into(),
                ]
            })),
        }
        heads
    }

    fn cells(&self, id: Option<&Cell>, prediction: &Prediction) -> Vec<Cow<'_, str>> {
        let mut cells: Vec<Cow<str>> = vec![self.rows.to_string().into()];
        cells.extend(id.map(|id| id.as_text().unwrap_or_default().to_owned().into()));
        let probabilities = match prediction {
            Prediction::Tokens(costs) => {
                cells.push(costs.len().to_string().into());
                cells.push(
                    mean(costs)
                        .map_or(String::new(), |loss| loss.to_string())
                        .into(),
                );
                return cells;
            }
            Prediction::Words { .. } => {
                let tags = self.tags(prediction).into_iter();
                let tags: Vec<&str> = tags.map(|tag| tag.unwrap_or_default()).collect();
                cells.push(tags.join(" ").into());
                return cells;
            }
            Prediction::Number(value) => {
                cells.push(value.to_string().into());
                return cells;
            }
            Prediction::Labels { probabilities, .. } => {
                cells.push(self.chosen(probabilities).join(",").into());
                probabilities
            }
            Prediction::Class { probabilities, .. } => {
                cells.push(self.label(prediction).unwrap_or_default().into());
                probabilities
            }
        };
        for (label, p) in self.told(probabilities) {
            cells.extend(self.top.map(|_| label.into()));
            cells.push(p.to_string().into());
        }
        cells
    }
}

/// Entities by their kind, first word, and the word behind the last, counted from 0.
fn entities_of(tags: &[Option<&str>]) -> Value {
    let tags: Vec<&str> = tags.iter().map(|tag| tag.unwrap_or("O")).collect();
    let found = entities(&tags).into_iter();
    found
        .map(|entity| json!({"type": entity.kind, "start": entity.start, "end": entity.end}))
        .collect()
}

/// Mean of the costs of tokens, if there are any.
pub(super) fn mean(costs: &[f64]) -> Option<f64> {
    let sum: f64 = costs.iter().sum();
    (!costs.is_empty()).then(|| sum / costs.len() as f64)
}

/// A value of the data as it was there.
fn json_of(cell: &Cell) -> Value {
    let parsed = match cell {
        Cell::Number(text) | Cell::Json(text) => serde_json::from_str(text).ok(),
        Cell::Bool(value) => Some(json!(value)),
        _ => None,
    };
    parsed.unwrap_or_else(|| json!(cell.as_text()))
}

/// A line of csv, quoted where it has to be.
fn line(out: &mut dyn Write, cells: &[Cow<str>]) -> io::Result<()> {
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        match cell.contains([',', '"', '\n', '\r']) || cell.trim() != cell {
            true => write!(out, "\"{}\"", cell.replace('"', "\"\""))?,
            false => out.write_all(cell.as_bytes())?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        format: OutputFormat,
        top: Option<usize>,
        prediction: Prediction,
        id: &[Cell],
    ) -> String {
        let labels = ["a", "b, c", "\"d\""].map(String::from);
        let mut all = Predictions {
            format,
            labels: &labels,
            top,
            in_chunks: true,
            rows: 0,
        };
        let mut out = Vec::new();
        all.write(&mut out, id, &[prediction]).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn class() -> Prediction {
        Prediction::Class {
            scores: vec![0.0, 1.0, 0.5],
            probabilities: vec![0.25, 0.5, 0.25],
        }
    }

    #[test]
    fn csv_is_quoted_and_has_one_cell_a_column() {
        assert_eq!(
            written(
                OutputFormat::Csv,
                None,
                class(),
                &[Cell::Text("x\ny".into())]
            ),
            "index,id,label,probability_a,\"probability_b, c\",\"probability_\"\"d\"\"\"\n\
             0,\"x\ny\",\"b, c\",0.25,0.5,0.25\n"
        );
        assert_eq!(
            written(OutputFormat::Csv, Some(2), class(), &[]),
            "index,label,top1,probability1,top2,probability2\n0,\"b, c\",\"b, c\",0.5,a,0.25\n"
        );
        assert_eq!(
            written(OutputFormat::Csv, None, Prediction::Number(1.5), &[]),
            "index,value\n0,1.5\n"
        );
    }

    #[test]
    fn words_have_tags_and_entities() {
        let labels = ["O", "B-PER", "I-PER"].map(String::from);
        let mut all = Predictions {
            format: OutputFormat::Jsonl,
            labels: &labels,
            top: None,
            in_chunks: true,
            rows: 0,
        };
        let score = |class: usize| (0..3).map(|i| f32::from(u8::from(i == class))).collect();
        let words = Prediction::Words {
            words: vec![0, 2, 3],
            scores: vec![score(0), score(1), score(2)],
        };
        let mut out = Vec::new();
        all.write(&mut out, &[], &[words]).unwrap();
        let object: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(object["tags"], json!(["O", null, "B-PER", "I-PER"]));
        let entities = json!([{"type": "PER", "start": 2, "end": 4}]);
        assert_eq!(object["entities"], entities);
    }

    #[test]
    fn json_keeps_ids_as_they_are_and_the_most_probable_first() {
        let id = [Cell::Number("7".into())];
        let object: Value =
            serde_json::from_str(&written(OutputFormat::Jsonl, Some(2), class(), &id)).unwrap();
        assert_eq!(
            (&object["id"], &object["label"]),
            (&json!(7), &json!("b, c"))
        );
        let told: Vec<&String> = object["probabilities"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert_eq!(told, ["b, c", "a"]);
        let ending = OutputFormat::of(None, Some(Path::new("x.CSV")));
        assert_eq!(ending, OutputFormat::Csv);
    }
}
