use std::fmt;
use std::str::FromStr;

/// The name of a model on the hub, `organisation/name`, perhaps with `:file` and `@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId {
    owner: String,
    name: String,
    gguf: Option<String>,
    revision: String,
}

impl RepoId {
    /// all-MiniLM-L6-v2 on its author's page.
    #[cfg(feature = "download")]
    pub(crate) fn minilm() -> Self {
        Self {
            owner: "sentence-transformers".into(),
            name: "all-MiniLM-L6-v2".into(),
            gguf: None,
            revision: "main".into(),
        }
    }

    /// `organisation/name`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Which of its GGUF files is meant, if one is: a name or what the name ends with, such as `Q4_K_M`.
    pub fn gguf(&self) -> Option<&str> {
        self.gguf.as_deref()
    }

    /// A branch, a tag or a commit; `main` unless given.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Its folder in a cache, as Hugging Face's libraries call it.
    pub fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if let Some(gguf) = &self.gguf {
            write!(f, ":{gguf}")?;
        }
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

impl FromStr for RepoId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (id, gguf) = match id.split_once(':') {
            Some((id, gguf)) => (id, Some(gguf)),
            None => (id, None),
        };
        let parts = id.split_once('/').filter(|(owner, name)| {
            let part = |part: &str| plain(part) && !part.contains("--");
            part(owner) && part(name)
        });
        let Some((owner, name)) = parts else {
            return Err(format!(
                "`{text}` is no name of a model, such as `organisation/name`"
            ));
        };
        if let Some(gguf) = gguf.filter(|gguf| !plain(gguf)) {
            return Err(format!(
                "`{gguf}` is no GGUF file of a model, nor the end of its name, such as `Q4_K_M`"
            ));
        }
        if !plain(revision) {
            return Err(format!("`{revision}` is no branch, tag or commit"));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            gguf: gguf.map(str::to_owned),
            revision: revision.to_owned(),
        })
    }
}

/// A name that means nothing to a file system or in an address.
pub(super) fn plain(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=96).contains(&text.len()) && !text.starts_with(['.', '-']) && text.chars().all(known)
}

/// A commit: 40 hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_plain_parts() {
        let id: RepoId = "google-bert/bert-base-uncased".parse().unwrap();
        assert_eq!(id.folder(), "models--google-bert--bert-base-uncased");
        assert_eq!(
            (id.revision(), id.to_string().as_str()),
            ("main", "google-bert/bert-base-uncased")
        );
        let id: RepoId = "a/b@v1.0".parse().unwrap();
        assert_eq!(
            (id.revision(), id.to_string().as_str()),
            ("v1.0", "a/b@v1.0")
        );
        let id: RepoId = "a/b-GGUF:Q4_K_M@v1".parse().unwrap();
        assert_eq!(
            (id.name().as_str(), id.gguf(), id.revision()),
            ("a/b-GGUF", Some("Q4_K_M"), "v1")
        );
        assert_eq!(id.to_string(), "a/b-GGUF:Q4_K_M@v1");
        for bad in [
            "",
            "a/b:",
            "a/b:../c",
            "a/b:c:d",
            "a:c",
            "a",
            "a/b/c",
            "../b",
            "a/..",
            "/a/b",
            "a//b",
            "a/b@",
            "a/b@../c",
            "a/b?x",
            "a/b c",
            "a--b/c",
            "a\\b/c",
            "a/.b",
            "http://a/b",
            "a/b@c@d",
        ] {
            assert!(bad.parse::<RepoId>().is_err(), "{bad}");
        }
    }
}
