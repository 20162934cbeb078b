//! Requests to one hub, and what may go wrong with them.

use std::fmt;
use std::fs;
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use crate::HubError;
use crate::cache::variable;

/// Redirects that are followed.
const HOPS: usize = 5;
const ENDPOINT: &str = "https://huggingface.co";

/// How long a silent server is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(8),
            silence: Duration::from_secs(15),
        }
    }
}

/// A secret that no message shows.
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Sends requests to one hub.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
}

impl Client {
    /// The hub at `HF_ENDPOINT`, by default that of Hugging Face, with `HF_TOKEN` where it is set.
    /// Certificates are checked against `SSL_CERT_FILE` where it is set, else against Mozilla's.
    ///
    /// # Errors
    /// If the endpoint is no address, or the certificates cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self::new(&endpoint, text("HF_TOKEN"), Limits::default())
    }

    /// The hub at `endpoint`.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn new(endpoint: &str, token: Option<String>, limits: Limits) -> Result<Self, HubError> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if origin(&endpoint).is_none() {
            return Err(HubError::Remote {
                url: endpoint,
                problem: "it is no address of a hub".into(),
                fix: "set HF_ENDPOINT to one such as https://huggingface.co, or leave it out"
                    .into(),
            });
        }
        let roots = match variable("SSL_CERT_FILE") {
            None => RootCerts::WebPki,
            Some(path) => {
                let pem = fs::read(&path).map_err(HubError::io("read", &path))?;
                let certificates: Vec<Certificate> = parse_pem(&pem)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                RootCerts::new_with_certs(&certificates)
            }
        };
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .https_only(endpoint.starts_with("https://"))
            // Followed here instead: the token must stay with the hub.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("peft/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.silence))
            .timeout_per_read(Some(limits.silence))
            .build()
            .into();
        Ok(Self {
            agent,
            endpoint,
            token: token.map(Token),
        })
    }

    /// The address of a path on the hub.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// The answer to a request, redirects followed. The token goes to the hub's own host only; with
    /// `elsewhere` unset, so does the request.
    pub(super) fn get(
        &self,
        url: &str,
        from: u64,
        elsewhere: bool,
    ) -> Result<Response<Body>, HubError> {
        let home = origin(&self.endpoint);
        let mut url = url.to_owned();
        for _ in 0..=HOPS {
            let at_home = origin(&url) == home;
            if !at_home && !elsewhere {
                return Err(remote(
                    &url,
                    "the hub sends there for a file whose content it does not vouch for",
                ));
            }
            let mut request = self.agent.get(&url);
            if let Some(token) = self.token.as_ref().filter(|_| at_home) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.0));
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| self.fault(&url, &error))?;
            let status = answer.status();
            if !status.is_redirection() {
                return Ok(answer);
            }
            let next = answer.headers().get(header::LOCATION);
            let next = next.and_then(|next| next.to_str().ok());
            url = next
                .and_then(|next| absolute(next, &url))
                .ok_or_else(|| remote(&url, "it redirects to no address"))?;
        }
        Err(remote(&url, "it redirects too often"))
    }

    fn fault(&self, url: &str, error: &ureq::Error) -> HubError {
        remote(
            url,
            match error {
                ureq::Error::Timeout(_) => "no answer in time".to_owned(),
                other => other.to_string(),
            },
        )
    }

    /// What a status other than success means.
    pub(super) fn refusal(&self, url: &str, status: u16, model: &str) -> HubError {
        let (problem, fix) = match status {
            401 | 403 => (
                format!("the hub refuses `{model}` (status {status})"),
                format!(
                    "check the name; if the model is private or gated, accept its terms at {} and set \
                     HF_TOKEN",
                    self.url(model)
                ),
            ),
            404 => (
                format!("the hub has no `{model}` or no such revision of it"),
                "check the name".to_owned(),
            ),
            429 => (
                "the hub has had too many requests from here".to_owned(),
                "wait a while, or set HF_TOKEN".to_owned(),
            ),
            _ => (
                format!("the hub answers with status {status}"),
                BY_HAND.to_owned(),
            ),
        };
        HubError::Remote {
            url: shown(url).to_owned(),
            problem,
            fix,
        }
    }
}

const BY_HAND: &str = "try again later, or download the model by hand and give its folder";

pub(super) fn remote(url: &str, problem: impl Into<String>) -> HubError {
    HubError::Remote {
        url: shown(url).to_owned(),
        problem: problem.into(),
        fix: format!("check the network and HTTPS_PROXY; {BY_HAND}"),
    }
}

/// An address without what may be a signature in it.
fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#', '\\']).next()?;
    // Credentials before the host would make another host look like this one.
    (!host.is_empty() && !host.contains('@')).then(|| &url[..url.len() - rest.len() + host.len()])
}

/// Where a redirect leads: to another address, or to another path of the same host.
fn absolute(next: &str, current: &str) -> Option<String> {
    if origin(next).is_some() {
        return Some(next.to_owned());
    }
    let here = next.starts_with('/') && !next.starts_with("//");
    here.then(|| origin(current).map(|origin| format!("{origin}{next}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_addresses_only() {
        let current = "https://hub.example/a/b?sig=1";
        let to = |next| absolute(next, current);
        assert_eq!(to("/c").as_deref(), Some("https://hub.example/c"));
        assert_eq!(to("http://other:1/x").as_deref(), Some("http://other:1/x"));
        for bad in [
            "//other/x",
            "file:///etc/passwd",
            "c",
            "",
            "https://",
            "https://hub.example@evil/x",
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
        assert_eq!(origin("https://a.b:1/c@d"), Some("https://a.b:1"));
        assert_ne!(origin("https://hub.example.evil/"), origin(current));
    }

    #[test]
    fn the_token_is_in_no_debug_output() {
        let client = Client::new(
            "https://hub.example",
            Some("hf_secret".into()),
            Limits::default(),
        );
        assert!(!format!("{client:?}").contains("hf_secret"));
    }
}
