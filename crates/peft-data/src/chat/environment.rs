//! The Jinja that chat templates are written for: that of transformers' `apply_chat_template`.

use super::clock::Clock;
use super::json::{Style, dumps};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat;

/// What one rendering may cost: this many instructions, or 64 bytes each of text and lists. It
/// bounds time and memory of a hostile template; a conversation of a million characters takes a
/// fiftieth of it.
const FUEL: u64 = 4_000_000;

/// An environment without templates.
pub(super) fn environment(clock: Clock) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    env.set_syntax(syntax.build()?);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_unknown_method_callback(pycompat::unknown_method_callback);
    env.set_fuel(Some(FUEL));
    env.add_filter("tojson", tojson);
    // In Jinja nothing can be gone through in none; templates rely on it to see whether there are
    // tools.
    env.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    env.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    env.add_function("strftime_now", move |format: String| {
        let text = clock.now().format(&format);
        text.ok_or_else(|| {
            let problem = format!("strftime_now does not know the format {format:?}");
            Error::new(ErrorKind::InvalidOperation, problem)
        })
    });
    Ok(env)
}

/// `json.dumps` with `ensure_ascii=False`, without the escapes for HTML of Jinja's own filter.
fn tojson(value: &Value, positional: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "tojson was given a value that does not exist",
        ));
    }
    let json = serde_json::to_value(value).map_err(|e| {
        Error::new(ErrorKind::BadSerialization, "a value is no JSON").with_source(e)
    })?;
    // In transformers' filter the first positional argument is `ensure_ascii`, then `indent`.
    let ascii: Option<bool> = kwargs.get("ensure_ascii")?;
    let ascii = ascii.unwrap_or_else(|| positional.first().is_some_and(Value::is_true));
    let indent: Option<Value> = kwargs.get("indent")?;
    let indent = indent.or_else(|| positional.get(1).cloned());
    let indent = indent.filter(|v| !v.is_none()).map(|v| match v.as_usize() {
        Some(width) => " ".repeat(width.min(16)),
        None => v.to_string(),
    });
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let item = if indent.is_some() { "," } else { ", " };
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ => (item.to_owned(), ": ".to_owned()),
    };
    let sort_keys: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    let style = Style {
        indent,
        item,
        key,
        sort_keys: sort_keys.unwrap_or(false),
        ascii,
    };
    Ok(dumps(&json, &style))
}
