//! A file of settings to start from.

use std::fmt::Write;

use peft_config::{Setting, value_text};

use crate::{RunConfig, RunError};

impl RunConfig {
    /// A TOML file with every setting, what it is, and its default; settings without a default are
    /// comments.
    ///
    /// # Errors
    /// If there is no such method.
    pub fn template(method: &str) -> Result<String, RunError> {
        let entry = peft_methods::by_name(method)?;
        let mut out =
            "# Settings for `peft train --config FILE`. Relative paths mean the folder from \
                       which peft is started.\n"
                .to_owned();
        let mut heading = None;
        for setting in Self::settings().iter().filter(|one| one.flag.is_some()) {
            if setting.heading != heading {
                heading = setting.heading.clone();
                let _ = writeln!(
                    out,
                    "\n# --- {} ---",
                    heading.as_deref().unwrap_or_default()
                );
            }
            if setting.key == "method" {
                let _ = writeln!(out, "\n# {}: {}", entry.name, entry.summary);
                let _ = writeln!(out, "method = {}", value_text(&entry.name.into()));
            } else {
                lines(&mut out, setting);
            }
        }
        let _ = writeln!(
            out,
            "\n# --- Settings of {} ---\n\n[method_config]",
            entry.name
        );
        for setting in &entry.settings() {
            lines(&mut out, setting);
        }
        Ok(out)
    }
}

fn lines(out: &mut String, setting: &Setting) {
    let key = &setting.key;
    let _ = match &setting.default {
        Some(default) => {
            let help = setting.help.trim_end_matches('.');
            writeln!(out, "\n# {help}.\n{key} = {}", value_text(default))
        }
        None => writeln!(out, "\n# {}.\n# {key} =", setting.described()),
    };
}
