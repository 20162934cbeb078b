//! Blocks in which templates mark what the assistant says.

use std::ops::Range;

/// A template without `{% generation %}`, a statement of transformers that Jinja does not know, and
/// the places of what stood between those and `{% endgeneration %}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) source: String,
    pub(super) blocks: Vec<Range<usize>>,
}

/// Makes the blocks conditions that always hold, with the same marks for white space.
pub(super) fn rewrite(source: &str) -> Rewritten {
    let (mut out, mut blocks, mut open) = (String::new(), Vec::new(), None);
    let mut rest = source;
    while let Some(at) = rest.find("{%").into_iter().chain(rest.find("{#")).min() {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if from.starts_with("{#") {
            // What a comment says is no statement.
            let end = from.find("#}").map_or(from.len(), |end| end + 2);
            out.push_str(&from[..end]);
            rest = &from[end..];
            continue;
        }
        let Some((tag, begins)) = tag(from) else {
            out.push_str("{%");
            rest = &from[2..];
            continue;
        };
        let mark = |c: Option<u8>| match c {
            Some(c @ (b'-' | b'+')) => (c as char).to_string(),
            _ => String::new(),
        };
        let bytes = tag.as_bytes();
        let (left, right) = (
            mark(bytes.get(2).copied()),
            mark(
                bytes
                    .len()
                    .checked_sub(3)
                    .and_then(|at| bytes.get(at).copied()),
            ),
        );
        let statement = if begins { "if true" } else { "endif" };
        if !begins && let Some(start) = open.take() {
            blocks.push(start..out.len());
        }
        out.push_str(&format!("{{%{left} {statement} {right}%}}"));
        if begins {
            open = Some(out.len());
        }
        rest = &from[tag.len()..];
    }
    out.push_str(rest);
    Rewritten {
        source: out,
        blocks,
    }
}

/// The statement at the beginning of a text, if it begins or ends a block.
fn tag(from: &str) -> Option<(&str, bool)> {
    let inner = &from[2..];
    let inner = &inner[..inner.find("%}")?];
    let end = inner.len() + 4;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let inner = inner.strip_suffix(['-', '+']).unwrap_or(inner);
    match inner.trim() {
        "generation" => Some((&from[..end], true)),
        "endgeneration" => Some((&from[..end], false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_become_conditions() {
        let source = "{# {% generation %} #}a{%- generation -%}b{% if x %}c{% endif %}\
                      {%endgeneration+%}d{% generation %}";
        let got = rewrite(source);
        let want = "{# {% generation %} #}a{%- if true -%}b{% if x %}c{% endif %}\
                    {% endif +%}d{% if true %}";
        assert_eq!(got.source, want);
        let inner: Vec<_> = got.blocks.iter().map(|b| &got.source[b.clone()]).collect();
        assert_eq!(inner, ["b{% if x %}c{% endif %}"]);
        assert_eq!(rewrite("{%}+}").source, "{%}+}");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(parts in prop::collection::vec(prop::sample::select(vec![
            "{%", "%}", "{#", "#}", "generation", " endgeneration ", "-", "+", "é", "{{", "}"
        ]), 0..30)) {
            let got = rewrite(&parts.concat());
            for block in got.blocks {
                prop_assert!(got.source.get(block).is_some());
            }
        }
    }
}
