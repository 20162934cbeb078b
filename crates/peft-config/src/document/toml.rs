//! TOML, through the `toml` crate, which bounds the depth by itself.

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{DEPTH_LIMIT, Fault, Lines, join};

pub(super) fn read(text: &str) -> Result<(Map<String, Value>, Lines), Fault> {
    let breaks = text.match_indices('\n').map(|(place, _)| place).collect();
    let mut reader = Reader {
        breaks,
        lines: Lines::new(),
    };
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(0, |span| span.start);
        Fault::new(reader.line(place), error.message())
    })?;
    let values = reader.table(table.get_ref(), "", 1)?;
    Ok((values, reader.lines))
}

struct Reader {
    /// Where the lines end.
    breaks: Vec<usize>,
    lines: Lines,
}

impl Reader {
    fn line(&self, place: usize) -> usize {
        1 + self.breaks.partition_point(|end| *end < place)
    }

    fn table(
        &mut self,
        table: &DeTable,
        path: &str,
        depth: usize,
    ) -> Result<Map<String, Value>, Fault> {
        let mut map = Map::new();
        // The crate sorts by name, but of two patterns the one that is written first holds.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref().to_string();
            let path = join(path, &name);
            let line = self.line(key.span().start);
            let value = self.value(value, &path, depth)?;
            self.lines.insert(path, line);
            map.insert(name, value);
        }
        Ok(map)
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue>,
        path: &str,
        depth: usize,
    ) -> Result<Value, Fault> {
        let line = self.line(value.span().start);
        if depth > DEPTH_LIMIT {
            return Err(Fault::too_deep(line));
        }
        Ok(match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(integer) => {
                let (digits, radix) = (integer.as_str(), integer.radix());
                let number = i64::from_str_radix(digits, radix)
                    .map(Number::from)
                    .or_else(|_| u64::from_str_radix(digits, radix).map(Number::from));
                number.map(Value::Number).map_err(|_| {
                    Fault::new(line, format!("the number `{digits}` is beyond 64 bits"))
                })?
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(Number::from_f64);
                number.map(Value::Number).ok_or_else(|| {
                    let text = format!("`{}` is no finite number", float.as_str());
                    Fault::new(line, text)
                })?
            }
            // No setting is a date; whoever writes one means text.
            DeValue::Datetime(date) => Value::String(date.to_string()),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.value(item, path, depth + 1));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Object(self.table(table, path, depth + 1)?),
        })
    }
}
