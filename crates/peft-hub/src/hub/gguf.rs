//! Which of the GGUF files of a model is meant.

/// Whether a name is that of a GGUF file with a model: `mmproj` files hold the eyes of one.
fn is_model(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".gguf") && !name.starts_with("mmproj")
}

/// The GGUF file that is meant: with `which` the one of that name, or the one whose name ends so before `.gguf`, whatever
/// the case; without it the only one.
pub fn choose<'a>(
    names: impl Iterator<Item = &'a str>,
    which: Option<&str>,
) -> Result<&'a str, String> {
    let mut all: Vec<&str> = names.filter(|name| is_model(name)).collect();
    all.sort_unstable();
    let meant = |name: &&&str| {
        let Some(which) = which else { return true };
        let (name, which) = (name.to_ascii_lowercase(), which.to_ascii_lowercase());
        let rest = name.trim_end_matches(".gguf").strip_suffix(&which);
        name == which || rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(['-', '.', '_']))
    };
    let chosen: Vec<&str> = all.iter().filter(meant).copied().collect();
    match (chosen.as_slice(), which) {
        ([one], _) if split(one) => Err(format!(
            "{one} is a part of a model in several GGUF files, which are not read; take another, or join them by \
             llama.cpp's `llama-gguf-split --merge`"
        )),
        ([one], _) => Ok(one),
        ([], None) => Err("the model has no GGUF file".into()),
        ([], Some(which)) => Err(format!(
            "no GGUF file of the model is called {which} or ends so; it has {}",
            list(&all)
        )),
        (several, _) => Err(format!(
            "the model has several GGUF files, {}; say which, by a colon and the end of its name, such as \
             `organisation/name:Q4_K_M`",
            list(several)
        )),
    }
}

/// Whether a name ends in `-00001-of-00003`.
fn split(name: &str) -> bool {
    let mut parts = name.trim_end_matches(".gguf").rsplit('-');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    number(parts.next()) && parts.next() == Some("of") && number(parts.next())
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "none".into(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_meant_or_the_message_lists_them() {
        let names = [
            "README.md",
            "m-Q4_K.gguf",
            "m-Q4_K_M.gguf",
            "mmproj-m-Q8_0.gguf",
            "m.IQ2-00001-of-00002.gguf",
        ];
        let chosen = |which| choose(names.into_iter(), which);
        assert_eq!(chosen(Some("q4_k_m")), Ok("m-Q4_K_M.gguf"));
        assert_eq!(chosen(Some("Q4_K")), Ok("m-Q4_K.gguf"));
        assert_eq!(chosen(Some("m-Q4_K.gguf")), Ok("m-Q4_K.gguf"));
        let several = chosen(None).unwrap_err();
        assert!(several.contains("m-Q4_K.gguf, m-Q4_K_M.gguf"), "{several}");
        assert!(!several.contains("mmproj"), "{several}");
        let none = chosen(Some("Q5_K_M")).unwrap_err();
        assert!(none.contains("m-Q4_K_M.gguf"), "{none}");
        assert!(chosen(Some("Q8_0")).is_err());
        let split = chosen(Some("00001-of-00002")).unwrap_err();
        assert!(split.contains("gguf-split"), "{split}");
        assert_eq!(choose(["a.gguf"].into_iter(), None), Ok("a.gguf"));
        assert!(choose(["a.bin"].into_iter(), None).is_err());
    }
}
