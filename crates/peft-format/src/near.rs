//! Near-miss suggestions for module names, tensor names and configuration keys.

/// How alike two names are, from 0 to 1: the mean of edit similarity and shared-prefix similarity.
///
/// Jaro-Winkler alone rates `query` and `dense` too high and edit distance alone rates `q_proj` and
/// `query` at nearly nothing, so the mean of both decides.
pub fn similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    if a == b {
        return 1.0;
    }
    0.5 * (strsim::normalized_damerau_levenshtein(&a, &b) + strsim::jaro_winkler(&a, &b))
}

/// The `limit` candidates most like `name`, best first; only those worth suggesting.
///
/// Names beyond 256 bytes are not compared: edit distance is quadratic and the names may come from
/// a hostile file.
pub fn nearest<'a, I>(name: &str, candidates: I, limit: usize) -> Vec<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    const LONGEST: usize = 256;
    const WORTH: f64 = 0.6;
    if name.len() > LONGEST {
        return Vec::new();
    }
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .filter(|c| c.len() <= LONGEST)
        .map(|c| (similarity(name, c), c))
        .filter(|(score, _)| *score >= WORTH)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(limit).map(|(_, c)| c).collect()
}

/// A clause such as `` (did you mean `value` or `query`?)``, empty without suggestions.
pub fn did_you_mean(suggestions: &[&str]) -> String {
    if suggestions.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = suggestions
        .iter()
        .map(|s| format!("`{}`", crate::error::shorten(s)))
        .collect();
    format!(" (did you mean {}?)", quoted.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typing_errors_and_rejects_strangers() {
        let names = ["query", "key", "value", "dense"];
        assert_eq!(nearest("qurey", names, 3)[0], "query");
        assert_eq!(nearest("Value", names, 1), ["value"]);
        assert!(nearest("lm_head", names, 3).is_empty());
    }

    #[test]
    fn clause_is_empty_or_quoted() {
        assert_eq!(did_you_mean(&[]), "");
        assert_eq!(did_you_mean(&["a", "b"]), " (did you mean `a` or `b`?)");
    }

    #[test]
    fn long_names_are_skipped() {
        let long = "x".repeat(10_000);
        assert!(nearest(&long, ["x"], 3).is_empty());
        assert!(nearest("x", [long.as_str()], 3).is_empty());
    }
}
