//! Which backends answer, and by which binary.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::{check, process, workspace};

/// A driver that is there but does not work may leave a process waiting for ever.
const LIMIT: Duration = Duration::from_secs(120);

/// A backend of Burn's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The processor
    Flex,
    /// A GPU through Vulkan, Metal or DirectX
    Wgpu,
    /// An NVIDIA GPU
    Cuda,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// What `PEFT_BENCH_DEVICE` calls it.
    pub fn device(self) -> &'static str {
        match self {
            Self::Flex => "cpu",
            Self::Wgpu | Self::Cuda => self.name(),
        }
    }

    /// Builds `peft-bench` for it, with more features of its own: a GPU's in a build folder of their own, where the
    /// processor's build stays as it is.
    pub fn build(self, more: &[&str]) -> Result<PathBuf> {
        if self == Self::Cuda {
            check::backends::expect_llvm()?;
        }
        match self {
            Self::Flex => workspace::build("peft-bench", true),
            Self::Wgpu | Self::Cuda => {
                let features = [&[self.name()], more].concat();
                workspace::build_with("peft-benches", "peft-bench", &features)
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A `peft-bench` that was built before: `PATH`, or `BACKEND=PATH`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub backend: Option<Backend>,
    pub path: PathBuf,
}

impl FromStr for Binary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |(name, path): (&str, &str)| {
            let known = [Backend::Flex, Backend::Wgpu, Backend::Cuda];
            let backend = known.into_iter().find(|known| known.name() == name)?;
            Some((backend, path.to_owned()))
        };
        Ok(match text.split_once('=').and_then(named) {
            Some((backend, path)) => Self {
                backend: Some(backend),
                path: path.into(),
            },
            None => Self {
                backend: None,
                path: text.into(),
            },
        })
    }
}

/// The one binary of a run that compares no backends.
pub fn only(given: &[Binary]) -> Result<Option<&PathBuf>> {
    match given {
        [] => Ok(None),
        [
            Binary {
                backend: None,
                path,
            },
        ] => Ok(Some(path)),
        _ => bail!("without --backend, --bench-binary takes one path and no backend's name"),
    }
}

/// A backend that answers.
#[derive(Clone, Debug)]
pub struct Answering {
    pub backend: Backend,
    pub binary: PathBuf,
    pub device: Adapter,
}

/// What a device says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Adapter {
    /// As the driver calls it; `None` for the processor.
    pub name: Option<String>,
    /// Whether it is a program on the processor.
    pub software: bool,
}

/// Builds a backend's binary where none is given, and asks it for its device.
pub fn look(backend: Backend, given: &[Binary]) -> Result<Answering> {
    let named = given
        .iter()
        .find(|binary| binary.backend == Some(backend))
        .or_else(|| given.iter().find(|binary| binary.backend.is_none()));
    let binary = match named {
        Some(binary) => binary.path.clone(),
        None => backend.build(&[])?,
    };
    ensure!(binary.is_file(), "there is no {}", binary.display());
    let ready = ask(Command::new(&binary), backend.device())?;
    Ok(Answering {
        backend,
        binary,
        device: adapter(&ready),
    })
}

fn adapter(ready: &Value) -> Adapter {
    let told = &ready["device"];
    Adapter {
        name: told["name"].as_str().map(str::to_owned),
        software: told["software"] == true,
    }
}

/// What `peft-bench` says when it starts on a device: in a process of its own, for a driver that does not work may
/// take it down or leave it waiting.
fn ask(mut command: Command, device: &str) -> Result<Value> {
    let folder = workspace::target().join("benchmarks");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let log = folder.join(format!("start-on-{device}.log"));
    let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let program = Path::new(command.get_program()).to_owned();
    let mut child = command
        .env("PEFT_BENCH_DEVICE", device)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut output = child.stdout.take().context("no standard output")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        // What was read before an error is what there is to say.
        let _ = output.read_to_string(&mut text);
        text
    });
    let status = process::wait_until(&mut child, Some(Instant::now() + LIMIT))?;
    let said = reader.join().unwrap_or_default();
    let program = program.file_name().unwrap_or(OsStr::new("it"));
    let program = program.to_string_lossy();
    let Some(status) = status else {
        bail!(
            "{program} did not say that it is ready within {} s; the end of its messages: {}",
            LIMIT.as_secs(),
            reason(&process::tail(&log, 100))
        );
    };
    let first: Option<Value> = said
        .lines()
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    match first {
        Some(ready) if ready["ready"] == true => Ok(ready),
        Some(Value::Object(answer)) if answer.contains_key("error") => {
            bail!(
                "{}",
                answer["error"].as_str().unwrap_or("it gave no reason")
            )
        }
        _ => bail!(
            "{program} ended with {status}: {}",
            reason(&process::tail(&log, 100))
        ),
    }
}

/// Of a program's messages, the one that says why it ended: an error's or a panic's own, else the last.
fn reason(messages: &str) -> &str {
    let mut lines = messages.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("Error: ") {
            return line;
        }
        if line.contains(" panicked at ") {
            // The place stands on this line, the words on the next.
            return lines.next().unwrap_or(line);
        }
    }
    messages.lines().next_back().unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn binaries_are_named_by_backend_or_not() {
        let parsed: Binary = "cuda=/b/peft-bench".parse().unwrap();
        assert_eq!(parsed.backend, Some(Backend::Cuda));
        assert_eq!(parsed.path, Path::new("/b/peft-bench"));
        let plain: Binary = "/odd=name".parse().unwrap();
        assert_eq!(plain.backend, None);
        assert_eq!(plain.path, Path::new("/odd=name"));
        assert_eq!(only(&[]).unwrap(), None);
        assert!(only(std::slice::from_ref(&parsed)).is_err());
        assert!(only(std::slice::from_ref(&plain)).unwrap().is_some());
        assert!(only(&[plain, parsed]).is_err());
    }

    #[test]
    fn a_backend_that_does_not_answer_says_why() {
        let cases = [
            (
                r#"echo '{"ready":true,"device":{"name":"llvmpipe","software":true}}'"#,
                Ok("llvmpipe"),
            ),
            (
                r#"echo '{"ready":false,"error":"no CUDA driver (libcuda) found"}'; exit 1"#,
                Err("no CUDA driver"),
            ),
            ("echo 'no adapter' >&2; exit 101", Err("no adapter")),
            (
                "printf 'thread x panicked at a.rs:1:2:\\nno device\\nstack:\\n 0: a\\n' >&2; exit 101",
                Err("no device"),
            ),
            (
                "printf 'Error: not built with it\\n\\nStack:\\n 0: a\\n' >&2; exit 1",
                Err("Error: not built"),
            ),
        ];
        for (place, (script, expected)) in cases.into_iter().enumerate() {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            let found = ask(shell, &format!("test-{place}"));
            match (found, expected) {
                (Ok(ready), Ok(name)) => {
                    let device = adapter(&ready);
                    assert_eq!(device.name.as_deref(), Some(name));
                    assert!(device.software);
                }
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{error}");
                }
                (found, expected) => panic!("{found:?} for {expected:?}"),
            }
        }
        let nothing = json!({"ready": true});
        assert_eq!(adapter(&nothing), Adapter::default());
    }
}
