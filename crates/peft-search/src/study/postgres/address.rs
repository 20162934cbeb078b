//! The URL of a study in a database.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ::postgres::Config;
use ::postgres::config::SslMode;

use super::encryption::{Encryption, Tls};
use crate::SearchError;

/// The parameter of the URL that names the study.
const STUDY: &str = "study";
/// Longest name of a study, in bytes.
const LONGEST: usize = 200;
/// What a URL looks like, for messages.
const FORM: &str = "postgres://USER:PASSWORD@HOST:PORT/DATABASE?study=NAME";

/// Where a study is in a database: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?study=NAME`, with further parameters as
/// PostgreSQL has them. The password may come from the environment instead, `PGPASSWORD`.
///
/// Connections are encrypted with `sslmode=verify-full`, or `require`, which is the same here: the server's certificate must be
/// for its host, and be signed by an authority that this machine trusts, or by one of the file that `sslrootcert` or the
/// environment's `PGSSLROOTCERT` names. Without, or with `disable`, they are not encrypted.
///
/// Written out, it has no password.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: Option<Tls>,
    study: String,
    shown: String,
}

impl Address {
    /// The study's name in the database.
    pub fn study(&self) -> &str {
        &self.study
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn refuse(reason: &str) -> SearchError {
    SearchError::Study {
        reason: format!("its URL {reason}; expected {FORM}"),
    }
}

impl FromStr for Address {
    type Err = SearchError;

    fn from_str(url: &str) -> Result<Self, SearchError> {
        // Nothing of the URL is repeated in an error: with a stray `@`, `:` or `/` any part may be the password's.
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refuse("does not begin with postgres://"));
        };
        if rest.matches('@').count() > 1 {
            return Err(refuse(
                "has more than one @: write one within the user or the password as %40",
            ));
        }
        let (credentials, rest) = match rest.split_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (server, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut study, mut kept, mut shown) = (None, Vec::new(), Vec::new());
        let mut encryption = Encryption::default();
        for parameter in parameters.split('&').filter(|one| !one.is_empty()) {
            match parameter.split_once('=') {
                Some((STUDY, name)) if study.is_none() => study = Some(name),
                Some((STUDY, _)) => return Err(refuse("names two studies")),
                Some(("password", _)) => kept.push(parameter),
                Some(("sslmode", mode)) => {
                    encryption
                        .set_mode(mode)
                        .map_err(|reason| refuse(&reason))?;
                    shown.push(parameter);
                }
                Some(("sslrootcert", file)) => {
                    let file = decode(file).ok_or_else(|| refuse("names a file in no UTF-8"))?;
                    encryption.set_authorities(file.into());
                    shown.push(parameter);
                }
                _ => {
                    kept.push(parameter);
                    shown.push(parameter);
                }
            }
        }
        let encoded = study.ok_or_else(|| refuse("names no study"))?;
        let study = decode(encoded).ok_or_else(|| refuse("names its study in no UTF-8"))?;
        if study.is_empty() || study.len() > LONGEST || study.chars().any(char::is_control) {
            return Err(refuse(
                "names its study in none or too many characters, or in control characters",
            ));
        }
        let login = credentials.map_or(String::new(), |text| format!("{text}@"));
        let user = credentials.map(|text| text.split(':').next().unwrap_or_default());
        let user = user.map_or(String::new(), |user| format!("{user}@"));
        let mut config: Config = format!("{scheme}://{login}{server}?{}", kept.join("&"))
            .parse()
            .map_err(|_| {
                refuse("has a parameter, a host or a port that PostgreSQL does not know")
            })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refuse("has no host"));
        }
        let tls = encryption
            .tls()
            .map_err(|reason| SearchError::Study { reason })?;
        if config.get_password().is_none()
            && let Some(password) = std::env::var_os("PGPASSWORD")
        {
            config.password(password.as_encoded_bytes());
        }
        // A server that is gone must be noticed before others take this worker for lost.
        config
            .ssl_mode(match tls {
                Some(_) => SslMode::Require,
                None => SslMode::Disable,
            })
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        if config.get_application_name().is_none() {
            config.application_name("peft search");
        }
        shown.push("study=");
        Ok(Self {
            config,
            tls,
            study,
            shown: format!("{scheme}://{user}{server}?{}{encoded}", shown.join("&")),
        })
    }
}

/// Undoes percent-encoding; none where the bytes are no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}
