//! Whether and how a connection is encrypted.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::postgres::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The largest file of certificates that is read, in bytes; those of all public authorities are a quarter of a mebibyte.
const LARGEST: u64 = 16 << 20;

/// How connections are encrypted.
#[derive(Clone)]
pub struct Tls(pub MakeRustlsConnect);

/// What a URL and the environment say of it.
#[derive(Default)]
pub struct Encryption {
    wanted: bool,
    authorities: Option<PathBuf>,
}

impl Encryption {
    /// Takes a `sslmode`. There is none here that encrypts without knowing whom to: who can read a connection can, as a rule,
    /// answer in the server's place, too.
    pub fn set_mode(&mut self, mode: &str) -> Result<(), String> {
        self.wanted = match mode {
            "disable" => false,
            "require" | "verify-full" => true,
            _ => {
                return Err(
                    "has a sslmode that is none of disable, require and verify-full, of which the last two are the same: \
                     encrypted, with the server's certificate checked"
                        .into(),
                );
            }
        };
        Ok(())
    }

    /// Takes the file with the certificates of those who may sign the server's.
    pub fn set_authorities(&mut self, file: PathBuf) {
        self.authorities = Some(file);
    }

    /// What connections need; none where they are not to be encrypted.
    pub fn tls(self) -> Result<Option<Tls>, String> {
        if !self.wanted {
            return match self.authorities {
                None => Ok(None),
                Some(_) => Err(
                    "its URL has a sslrootcert and does not ask for encryption: add sslmode=verify-full".into(),
                ),
            };
        }
        let named = self
            .authorities
            .or_else(|| std::env::var_os("PGSSLROOTCERT").map(PathBuf::from));
        let roots = match named {
            Some(file) => read(&file)?,
            None => of_the_system()?,
        };
        let config =
            ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
        Ok(Some(Tls(MakeRustlsConnect::new(config))))
    }
}

/// Certificates of a PEM file.
fn read(file: &Path) -> Result<RootCertStore, String> {
    let bytes = peft_format::bounded::read(file, "the certificates of authorities", LARGEST)
        .map_err(|error| error.to_string())?;
    let wrong = |reason: String| format!("the certificates of `{}`: {reason}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| wrong(format!("expected PEM: {error}")))?;
        let number = roots.len() + 1;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("certificate {number}: {error}")))?;
    }
    match roots.is_empty() {
        true => Err(wrong(
            "there is none: expected PEM, a block that begins with BEGIN CERTIFICATE".into(),
        )),
        false => Ok(roots),
    }
}

/// The authorities that this machine trusts; those it has that cannot be read are left out, as others do.
fn of_the_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    match added {
        0 => Err(
            "this machine has no certificates of authorities (on Debian `apt-get install ca-certificates`): give those of \
             the server's as sslrootcert=FILE in the URL"
                .into(),
        ),
        _ => Ok(roots),
    }
}

/// Why encryption failed, where that is why a connection did.
enum Failure {
    /// The certificate is not one that is trusted, or not for this host.
    Certificate,
    /// The server does not encrypt.
    Plain,
    /// The two did not come to terms.
    Terms,
}

fn failure(error: &Error) -> Option<Failure> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.to_string().contains("server does not support TLS") {
            return Some(Failure::Plain);
        }
        let held = inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let told = inner
            .downcast_ref()
            .or_else(|| held.and_then(|held| held.downcast_ref::<rustls::Error>()));
        match told {
            Some(rustls::Error::InvalidCertificate(_)) => return Some(Failure::Certificate),
            Some(_) => return Some(Failure::Terms),
            None => cause = inner.source(),
        }
    }
    None
}

/// Whether a connection failed for a reason of encryption, which another attempt would meet again.
pub fn refused(error: &Error) -> bool {
    failure(error).is_some()
}

/// What to do.
pub fn advice(error: &Error) -> &'static str {
    match failure(error) {
        Some(Failure::Certificate) => {
            "; give the host by the name that the server's certificate has, and, where no public authority signed it, the \
             certificate of who did as sslrootcert=FILE in the URL"
        }
        Some(Failure::Plain) => {
            "; switch `ssl` on there, or, where nobody else can read the connection, leave sslmode out of the URL"
        }
        Some(Failure::Terms) | None => "",
    }
}
