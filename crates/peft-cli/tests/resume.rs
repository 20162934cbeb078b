//! Runs that are interrupted from outside: signals, full disks, folders that cannot be written.

#[path = "../../../tests/shared/kills.rs"]
mod kills;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kills::{Place, Setup, output, tiny};

const PEFT: &str = env!("CARGO_BIN_EXE_peft");

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

/// A run of a tiny model that can be stopped in its middle.
struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_model(&goldens(), &dir.path().join("model")).unwrap();
        tiny::write_rows(&dir.path().join("rows.csv")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn arguments(&self, output: &Path, more: &[&str]) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut arguments = vec![
            "train".to_owned(),
            "--model".into(),
            path(&self.path("model")),
            "--data".into(),
            path(&self.path("rows.csv")),
            "--output".into(),
            path(output),
        ];
        let fixed = "--batch-size 16 --max-length 24 --learning-rate 1e-2 --threads 1";
        arguments.extend(fixed.split_whitespace().map(str::to_owned));
        arguments.extend(more.iter().map(|&more| more.to_owned()));
        arguments
    }

    fn start(&self, output: &Path, more: &[&str]) -> Child {
        let mut command = Command::new(PEFT);
        command.args(self.arguments(output, more));
        let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        pipes.spawn().unwrap()
    }
}

/// Exit code, standard output and the last line on standard error.
fn end(child: Child) -> (Option<i32>, String, String) {
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let errors = text(done.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    let last = errors.lines().last().unwrap_or_default().to_owned();
    (done.status.code(), text(done.stdout), last)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[cfg(unix)]
fn killed_runs_end_in_the_bits_of_the_run_left_alone() {
    kill_runs(false, 10);
}

#[test]
#[cfg(unix)]
fn killed_runs_on_a_quantised_base_do_so_too() {
    kill_runs(true, 5);
}

#[cfg(unix)]
fn kill_runs(quantised: bool, count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        peft: PEFT.into(),
        goldens: goldens(),
        work: dir.path().to_owned(),
        quantised,
        count,
        seed: 1,
    };
    let outcome = kills::run(&setup, &mut |_| {}).unwrap();
    assert_eq!(outcome.kills.len(), count);
    assert!(outcome.runs > 0 && outcome.files > 6, "{outcome:?}");
    for kill in &outcome.kills {
        assert!(
            kill.run < outcome.runs && kill.after < outcome.whole,
            "{kill:?}"
        );
        assert!([1, 2, 4].contains(&kill.threads));
        assert_eq!(kill.step.is_none(), kill.place == Place::BeforeCheckpoints);
        assert!(
            kill.step.is_none_or(|step| step <= outcome.steps),
            "{kill:?}"
        );
    }
}

#[test]
#[cfg(unix)]
fn a_signal_saves_and_says_how_to_go_on() {
    let work = Work::new();
    let (whole, out) = (work.path("whole"), work.path("out"));
    let long = ["--epochs", "20"];
    let (code, _, _) = end(work.start(&whole, &long));
    assert_eq!(code, Some(0));

    for name in ["-INT", "-TERM"] {
        let resume = out.exists();
        let mut more = long.to_vec();
        more.extend(resume.then_some("--resume"));
        let mut child = work.start(&out, &more);
        // Not before the first step is told: the handler is in place then.
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("step ") && errors.read_line(&mut line).unwrap() > 0 {
            if !line.starts_with("step ") {
                line.clear();
            }
        }
        signal(&child, name);
        let rest: Vec<String> = errors.lines().map(Result::unwrap).collect();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(2), "{rest:?}");
        let last = rest.last().unwrap();
        assert!(last.starts_with("peft: interrupted after step"), "{last}");
        assert!(last.contains("--resume"), "{last}");
        assert!(out.join("last/adapter_model.safetensors").exists());
    }
    // The folder has the rest.
    let mut alone = Command::new(PEFT);
    alone.args(["train", "--resume", "--output"]).arg(&out);
    let alone = alone.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let (code, first, _) = end(alone.unwrap());
    assert_eq!(code, Some(0));
    let content = |folder| output::content(folder).unwrap();
    assert_eq!(output::difference(&content(&whole), &content(&out)), None);
    // Once more: nothing is left to do, and the result is the same. The report, which comes last, may have been missed.
    std::fs::remove_file(out.join("report.html")).unwrap();
    let (code, again, last) = end(work.start(&out, &["--epochs", "20", "--resume"]));
    assert_eq!((code, again), (Some(0), first));
    assert!(last.contains("finished"), "{last}");
    assert_eq!(output::difference(&content(&whole), &content(&out)), None);
}

/// Lets no file grow beyond so many blocks of 512 bytes: as on a full disk, writing fails.
#[cfg(unix)]
fn start_limited(work: &Work, output: &Path, more: &[&str], blocks: u64) -> Child {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, PEFT]);
    command.args(work.arguments(output, more));
    let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    pipes.spawn().unwrap()
}

#[test]
#[cfg(unix)]
fn a_disk_that_fills_up_leaves_the_last_checkpoint_whole() {
    let work = Work::new();
    let (whole, out) = (work.path("whole"), work.path("out"));
    let more = ["--steps", "20", "--save-steps", "3"];
    assert_eq!(end(work.start(&whole, &more)).0, Some(0));

    // Room for the first state, which has no moments yet, and not for the next.
    let first = {
        let probe = work.path("probe");
        let child = start_limited(&work, &probe, &more, u64::MAX / 1024);
        assert_eq!(end(child).0, Some(0));
        let size = |path: PathBuf| fs::metadata(path).unwrap().len();
        size(probe.join("adapter_model.safetensors"))
    };
    let (code, _, last) = end(start_limited(&work, &out, &more, first * 2 / 512));
    assert_eq!(code, Some(2), "{last}");
    assert!(last.contains(out.to_str().unwrap()), "{last}");
    assert!(
        last.contains("make room") && last.contains("--resume"),
        "{last}"
    );
    assert!(last.contains("File too large"), "{last}");
    let state = fs::read_to_string(out.join("checkpoint/state.json")).unwrap();
    assert!(state.contains("\"step\": 0"), "{state}");

    let mut again = more.to_vec();
    again.push("--resume");
    assert_eq!(end(work.start(&out, &again)).0, Some(0));
    let content = |folder| output::content(folder).unwrap();
    assert_eq!(output::difference(&content(&whole), &content(&out)), None);

    // Without room for anything, nothing is trained.
    let (code, _, last) = end(start_limited(&work, &work.path("none"), &more, 1));
    assert_eq!(code, Some(2));
    assert!(last.contains("cannot be written"), "{last}");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_training() {
    let work = Work::new();
    let file = work.path("rows.csv");
    for output in [file.clone(), file.join("below")] {
        let (code, out, last) = end(work.start(&output, &[]));
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(
            last.starts_with("peft: ") && last.contains("--output"),
            "{last}"
        );
    }
}
