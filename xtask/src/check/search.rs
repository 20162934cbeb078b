//! What searches have behind features: surrogates by Hamiltonian Monte Carlo, and studies in a database, on a PostgreSQL server
//! that the step starts and ends.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::steps;
use super::tally::Tally;
use crate::{files, workspace};

const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The certificate of who signed the server's, and that of somebody else, in the server's folder: tests look for both.
const AUTHORITY: &str = "authority.pem";
const STRANGER: &str = "stranger.pem";

/// The server's user where the step runs as root, whom the server refuses; Debian's package makes it.
const USER: &str = "postgres";

/// Tests of the package with both features: by itself it needs no tensor library, and with the workspace's features all of that
/// would be built again.
fn tests(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "-p", "peft-search", "--features", "postgres,nuts"]);
    command.args(arguments);
    command
}

pub fn nuts(tally: &mut Tally) -> Result<()> {
    let command = tests(&["--lib", "--test", "searches", "--", "nuts", "drawn"]);
    steps::run(command, Some(LIMIT), tally)
}

pub fn postgres(tally: &mut Tally) -> Result<()> {
    let Some(programs) = programs() else {
        tally.skip("there is no PostgreSQL server; on Debian `apt-get install postgresql`");
        return Ok(());
    };
    let server = Server::start(programs)?;
    let mut command = tests(&["--test", "study", "--", "--include-ignored", "postgres"]);
    command.env("PEFT_TEST_POSTGRES", server.url());
    command.env("PEFT_TEST_POSTGRES_TLS", server.encrypted_url());
    steps::run(command, Some(LIMIT), tally)
}

/// The folder of `initdb` and `pg_ctl`: one of `PATH`, or where Debian puts the newest version.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
    let complete = |folder: &PathBuf| {
        ["initdb", "pg_ctl"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    folders.into_iter().find(complete)
}

/// A server that a socket in its own folder reaches, and this machine alone; ended and removed when dropped.
struct Server {
    programs: PathBuf,
    folder: PathBuf,
}

impl Server {
    const PORT: u16 = 54329;

    fn start(programs: PathBuf) -> Result<Self> {
        let mut make = as_server("mktemp");
        make.args(["--directory", "--tmpdir", "peft-postgres-XXXXXX"]);
        let made = make.output().context("cannot start mktemp")?;
        ensure!(
            made.status.success(),
            "no folder for a server: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let folder = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        let server = Self { programs, folder };
        let data = server.folder.join("data");
        let mut init = as_server(server.programs.join("initdb"));
        init.arg("--pgdata").arg(&data);
        init.args([
            "--username",
            "peft",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
        ]);
        init.args(["--locale", "C", "--no-sync"]);
        server.do_it(init)?;
        let authority = server.authority(AUTHORITY)?;
        server.authority(STRANGER)?;
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &authority)?;
        let certificate = server.put("server.pem", &certificate.pem())?;
        let key = server.put("server.key", &key.serialize_pem())?;
        let options = format!(
            "-k {} -p {} -c listen_addresses=localhost -c fsync=off -c ssl=on -c ssl_cert_file={} -c ssl_key_file={}",
            server.folder.display(),
            Self::PORT,
            certificate.display(),
            key.display()
        );
        let mut start = server.control(&data);
        start.args(["--wait", "--options", &options, "start"]);
        server.do_it(start)?;
        Ok(server)
    }

    /// Somebody who signs certificates, whose own is in a file of this name.
    fn authority(&self, name: &str) -> Result<Issuer<'static, KeyPair>> {
        let mut own = CertificateParams::new(Vec::new())?;
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        self.put(name, &own.self_signed(&key)?.pem())?;
        Ok(Issuer::new(own, key))
    }

    /// Writes a file that the server's user alone can read.
    fn put(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let mut write = as_server("sh");
        write
            .args(["-c", "umask 077 && cat > \"$1\"", "sh"])
            .arg(&path);
        let mut writing = write
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start sh")?;
        let mut input = writing.stdin.take().context("sh reads nothing")?;
        input.write_all(text.as_bytes())?;
        drop(input);
        ensure!(writing.wait()?.success(), "cannot write {}", path.display());
        Ok(path)
    }

    fn control(&self, data: &Path) -> Command {
        let mut control = as_server(self.programs.join("pg_ctl"));
        control.arg("--pgdata").arg(data);
        control.arg("--log").arg(self.folder.join("log"));
        control
    }

    /// Runs a command of the server's, with what it prints kept for an error.
    fn do_it(&self, mut command: Command) -> Result<()> {
        let log = workspace::target().join("postgres.log");
        crate::process::run_measured(&mut command, &log).with_context(|| {
            let server = files::read(&self.folder.join("log")).unwrap_or_default();
            format!("the server does not start; its log:\n{server}")
        })?;
        Ok(())
    }

    fn url(&self) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://peft@{folder}:{}/postgres", Self::PORT)
    }

    /// The same server over an encrypted connection.
    fn encrypted_url(&self) -> String {
        format!(
            "postgres://peft@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}",
            Self::PORT,
            self.folder.join(AUTHORITY).display()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = self.control(&self.folder.join("data"));
        stop.args(["--mode", "immediate", "stop"]);
        // It may not have started.
        let _ = stop.output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A command in the name of a user whom the server accepts.
fn as_server(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut command = match is_root {
        true => Command::new("runuser"),
        false => return Command::new(program),
    };
    command.args(["-u", USER, "--"]).arg(program);
    command.current_dir("/");
    command
}
