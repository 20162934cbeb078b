use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use peft_search::study::*;

use crate::toy::*;

/// Runs a study to its end, and returns its journal.
fn finish(folder: &Path, trials: u64) -> Vec<u8> {
    let mut study = begin(folder, description(trials)).unwrap();
    let worked = study
        .work(&mut train, Duration::from_millis(1), &mut |_| true)
        .unwrap();
    assert_eq!(worked, Worked::Ended(Ending::Spent(Limit::Trials)));
    std::fs::read(folder.join(JOURNAL)).unwrap()
}

/// The lines of a journal that are not leases: those name processes.
fn events(journal: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(journal).unwrap();
    text.lines()
        .filter(|line| !line.contains("\"lease\""))
        .collect()
}

/// A killed worker leaves a prefix of its journal. From every one of them, cut at any byte, the next goes on to the
/// same journal.
#[test]
fn a_study_cut_anywhere_goes_on_to_the_same_journal() {
    let whole_folder = tempfile::tempdir().unwrap();
    let whole = finish(whole_folder.path(), 10);
    let all = events(&whole);
    for outcome in ["complete", "failed", "diverged", "pruned"] {
        let told = format!("\"outcome\":\"{outcome}\"");
        assert!(all.iter().any(|line| line.contains(&told)), "{outcome}");
    }
    let ends: Vec<usize> = (0..whole.len())
        .filter(|&at| whole[at] == b'\n')
        .map(|at| at + 1)
        .collect();
    for cut in ends.iter().flat_map(|&end| [end, end.saturating_sub(7)]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(
            whole_folder.path().join(DESCRIPTION),
            folder.path().join(DESCRIPTION),
        )
        .unwrap();
        std::fs::write(folder.path().join(JOURNAL), &whole[..cut]).unwrap();
        let again = finish(folder.path(), 10);
        assert_eq!(events(&again), all, "cut at byte {cut}");
    }
}

const FOLDER: &str = "PEFT_SEARCH_TEST_FOLDER";
const WAIT: &str = "PEFT_SEARCH_TEST_WAIT";

/// Not a test of its own: the process that [`killed_processes_come_to_the_same_result`] starts.
#[test]
fn worker_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let wait = std::env::var(WAIT).unwrap().parse().unwrap();
    let patient = Description {
        attempts: u32::MAX,
        ..description(14)
    };
    let mut study = begin(Path::new(&folder), patient).unwrap();
    let mut run = |assignment: &Assignment, watch: &mut Watch<'_>| {
        std::thread::sleep(Duration::from_millis(wait));
        train(assignment, watch)
    };
    study
        .work(&mut run, Duration::from_millis(5), &mut |_| true)
        .unwrap();
}

/// Processes killed by the system, again and again, against one that ran undisturbed.
#[test]
fn killed_processes_come_to_the_same_result() {
    let start = |folder: &Path, wait: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::worker_process"])
            .envs([(FOLDER, folder.as_os_str()), (WAIT, wait.as_ref())])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (calm, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(start(calm.path(), "0").wait().unwrap().success());
    let mut kills = 0;
    loop {
        // A hindered machine may get nowhere between two kills: the last process is left to end.
        let mut child = start(killed.path(), if kills < 40 { "20" } else { "0" });
        if kills < 40 {
            std::thread::sleep(Duration::from_millis(60 + 23 * (kills % 7)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
        }
        // Killed processes have no code; those that ended ended well.
        match child.wait().unwrap().code() {
            Some(0) => break,
            Some(code) => panic!("the worker ended with {code}"),
            None => {}
        }
    }
    assert!(kills > 0);
    let read = |folder: &Path| Study::look(folder).unwrap();
    let (calm, killed) = (read(calm.path()), read(killed.path()));
    assert_eq!(killed.history().trials().len(), 14);
    let lines = |study: &Study| -> Vec<String> {
        let events = study.events().iter();
        events
            .map(|event| serde_json::to_string(event).unwrap())
            .collect()
    };
    assert_eq!(lines(&killed), lines(&calm));
    assert_eq!(killed.volumes(), calm.volumes());
}
