//! The steps, in order, and how a cargo command is run as one.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::tally::Tally;
use super::{backends, packages, real_model, search};
use crate::{process, python, workspace};

pub struct Step {
    pub name: &'static str,
    /// Part of the plain `cargo xtask test`.
    pub always: bool,
    pub run: fn(&mut Tally) -> Result<()>,
}

pub fn all() -> Vec<Step> {
    let step = |name, always, run| Step { name, always, run };
    vec![
        step("format", true, |tally| {
            cargo(&["fmt", "--all", "--check"], tally)
        }),
        step("clippy", true, |tally| {
            cargo(
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--features",
                    "peft-search/postgres,peft-search/nuts",
                    "--",
                    "-D",
                    "warnings",
                ],
                tally,
            )
        }),
        step("test", true, |tally| {
            cargo(&["test", "--workspace", "--no-fail-fast"], tally)
        }),
        step("docs", false, |tally| {
            let mut command = workspace::cargo();
            command
                .args(["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings");
            run(command, None, tally)
        }),
        step("package", false, packages::package),
        step("hub", false, packages::hub),
        step("arm check", false, packages::arm),
        step("ndarray", false, backends::ndarray),
        step("nuts", false, search::nuts),
        step("postgres", false, search::postgres),
        step("peft", false, peft),
        step("real model", false, real_model::run),
        step("wgpu", false, backends::wgpu),
        step("cuda check", false, backends::cuda),
    ]
}

/// Hugging Face PEFT loads what runs write.
fn peft(tally: &mut Tally) -> Result<()> {
    let mut command = workspace::cargo();
    command.args([
        "test",
        "--workspace",
        "--test",
        "suite",
        "--",
        "--ignored",
        "hf_peft",
    ]);
    command.env("PEFT_TEST_PYTHON", python::interpreter(None)?);
    run(command, None, tally)
}

fn cargo(arguments: &[&str], tally: &mut Tally) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(arguments);
    run(command, None, tally)
}

/// Runs a command, shows what it prints and counts its tests; past `limit` it is ended and has failed.
pub fn run(mut command: Command, limit: Option<Duration>, tally: &mut Tally) -> Result<()> {
    println!("{}", describe(&command));
    if limit.is_some() {
        command.process_group(0);
    }
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the command")?;
    let output = child.stdout.take().context("the command has no output")?;
    let reader = thread::spawn(move || {
        let mut tally = Tally::default();
        // Bytes, not text: a test may print what is no UTF-8.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.read(&line);
        }
        tally
    });
    let status = process::wait_until(&mut child, deadline)?;
    let counted = reader.join().unwrap_or_default();
    tally.passed += counted.passed;
    tally.failed += counted.failed;
    match (status, limit) {
        (Some(status), _) => ensure!(status.success(), "it ended with {status}"),
        (None, limit) => bail!(
            "it was ended after its {} minutes",
            limit.unwrap_or_default().as_secs().div_ceil(60)
        ),
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    let words = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned());
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(program)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn counts_and_reports_failure() {
        let mut tally = Tally::default();
        let script = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101";
        let error = run(shell(script), None, &mut tally)
            .unwrap_err()
            .to_string();
        assert!(error.contains("101"), "{error}");
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 1,
                skipped: None
            }
        );
    }

    #[test]
    fn ends_the_whole_group_at_the_limit() {
        let started = Instant::now();
        let limit = Some(Duration::from_millis(300));
        // The grandchild holds the pipe: only ending the group lets the reader finish.
        let error = run(shell("sleep 30 & sleep 30"), limit, &mut Tally::default()).unwrap_err();
        assert!(error.to_string().contains("ended after"));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
