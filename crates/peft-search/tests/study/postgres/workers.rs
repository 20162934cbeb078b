//! Workers of one study in a database, and what becomes of it when they are killed.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use super::*;

const URL: &str = "PEFT_SEARCH_TEST_URL";
const TRIALS: &str = "PEFT_SEARCH_TEST_TRIALS";

/// Milliseconds after which the processes take each other for lost, if they are not known to be.
const PATIENCE: u64 = 2000;

/// One that takes others for lost soon.
fn quick(url: &str, patience: u64) -> Box<dyn Store> {
    let address: Address = url.parse().unwrap();
    let store = PostgresStore::connect(&address).unwrap();
    Box::new(store.with_patience(Duration::from_millis(patience)))
}

/// A study whose trials depend on nothing but their numbers, so that workers in any order try the same.
fn independent(trials: u64) -> Description {
    Description {
        settings: Settings::Random,
        pruning: None,
        attempts: u32::MAX,
        ..description(trials)
    }
}

fn patient(trials: u64) -> Description {
    Description {
        attempts: u32::MAX,
        ..description(trials)
    }
}

/// Not a test of its own: the process that others start.
#[test]
fn worker_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let trials: u64 = std::env::var(TRIALS).unwrap().parse().unwrap();
    let description = match trials {
        14 => patient(trials),
        _ => independent(trials),
    };
    let study = Study::begin_in(quick(&url, PATIENCE), description, problem()).unwrap();
    let mut run = |assignment: &Assignment, watch: &mut Watch<'_>| {
        std::thread::sleep(Duration::from_millis(10));
        train(assignment, watch)
    };
    let mut study = study.with_clock(|| 1.0);
    study
        .work(&mut run, Duration::from_millis(20), &mut |_| true)
        .unwrap();
}

fn start(url: &str, trials: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::workers::worker_process"])
        .env(URL, url)
        .env(TRIALS, trials.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Keeps so many workers at a study until each has ended by itself, and kills one of them now and then.
fn hunt(url: &str, trials: u64, workers: usize, kills: usize) -> usize {
    // A server that has just begun does not take closed connections for ends.
    std::thread::sleep(Duration::from_millis(PATIENCE + 100));
    let mut children: Vec<Option<Child>> = (0..workers).map(|_| Some(start(url, trials))).collect();
    let mut killed = 0;
    while children.iter().any(Option::is_some) {
        std::thread::sleep(Duration::from_millis(40 + 31 * (killed as u64 % 7)));
        let victim = killed % workers;
        for (index, slot) in children.iter_mut().enumerate() {
            let Some(child) = slot else { continue };
            let mut ended = child.try_wait().unwrap();
            if ended.is_none() && index == victim && killed < kills {
                child.kill().unwrap();
                ended = Some(child.wait().unwrap());
                killed += 1;
            }
            // Killed processes have no code; those that ended ended well.
            match ended.map(|status| status.code()) {
                Some(Some(0)) => *slot = None,
                Some(Some(code)) => panic!("the worker ended with {code}"),
                Some(None) => {
                    // Until the server has noticed.
                    std::thread::sleep(Duration::from_millis(100));
                    *slot = Some(start(url, trials));
                }
                None => {}
            }
        }
    }
    killed
}

/// One worker, killed again and again: the journal of a folder's that was not.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn a_killed_worker_comes_to_the_same_journal() {
    let folder = tempfile::tempdir().unwrap();
    let mut calm = begin(folder.path(), patient(14)).unwrap();
    work(&mut calm);
    let url = url("killed");
    let killed = hunt(&url, 14, 1, 30);
    assert!(killed > 0);
    let study = Study::look_in(store(&url)).unwrap();
    same(&events(&study), &events(&calm));
    assert_eq!(study.volumes(), calm.volumes());
}

/// Four workers, killed again and again: every trial has exactly one result, that of one worker in a folder.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn four_killed_workers_lose_no_trial_and_double_none() {
    const MANY: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let mut calm = begin(folder.path(), independent(MANY)).unwrap();
    work(&mut calm);
    let url = url("four");
    let killed = hunt(&url, MANY, 4, 24);
    assert!(killed > 0);
    let mut study = Study::look_in(store(&url)).unwrap();
    // As texts: a report that is no number equals none.
    let texts = |study: &Study| {
        let trials = study.history().trials().iter();
        trials.map(|trial| format!("{trial:?}")).collect::<Vec<_>>()
    };
    same(&texts(&study), &texts(&calm));
    assert_eq!(study.volumes().len() as u64, MANY);
    let mut results = BTreeMap::new();
    for event in study.events() {
        if let Event::Told { trial, .. } = event {
            *results.entry(*trial).or_insert(0) += 1;
        }
    }
    assert_eq!(results, (0..MANY).map(|trial| (trial, 1)).collect());
    let taken_over = (0..MANY).filter(|trial| study.timing(*trial).unwrap().attempts > 1);
    assert!(taken_over.count() > 0);
    assert!(study.status().unwrap().running.is_empty());
}

/// A worker that hangs loses its trial, and its late result is not recorded.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn who_comes_back_too_late_is_told_so() {
    let url = url("late");
    begin_at(&url, description(2)).unwrap();
    let open = |patience| Study::open_in(quick(&url, patience), problem()).unwrap();
    // The first sends no sign of life for an hour; the second has no patience.
    let (mut slow, mut hasty) = (open(14_400_000), open(100));
    let assigned = |study: &mut Study| match study.ask().unwrap() {
        Next::Run(assignment) => assignment,
        other => panic!("{other:?}"),
    };
    let first = assigned(&mut slow);
    std::thread::sleep(Duration::from_millis(300));
    let running = hasty.status().unwrap().running;
    assert!(!running[0].at_work && slow.status().unwrap().running[0].at_work);
    let taken = assigned(&mut hasty);
    assert_eq!((taken.trial, taken.earlier), (first.trial, 1));
    let measured = |value: f64| Outcome::Complete {
        measured: vec![value],
    };
    let lost = |result| matches!(result, Err(SearchError::Lost { trial: 0, .. }));
    assert!(lost(slow.report(&first, 1, &[0.5]).map(drop)));
    hasty.tell(&taken, measured(0.7)).unwrap();
    assert!(lost(slow.tell(&first, measured(0.1))));
    assert!(lost(hasty.tell(&taken, measured(0.1))));
    let study = Study::look_in(store(&url)).unwrap();
    assert_eq!(study.history().trials()[0].outcome, Some(measured(0.7)));
    // Who ends in order is gone at once, however patient the others are.
    let second = assigned(&mut slow);
    drop(slow);
    let taken = assigned(&mut open(14_400_000));
    assert_eq!((taken.trial, taken.earlier), (second.trial, 1));
}

/// Workers that begin at the same moment, in a database without tables, begin one study.
#[test]
#[ignore = "needs PEFT_TEST_POSTGRES, the URL of a PostgreSQL server; `cargo xtask test --all` starts one"]
fn many_may_begin_at_once() {
    let schema = hostile::Schema::new("crowd");
    let url = &with_study(&schema.server, "crowd");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || work(&mut begin_at(url, independent(12)).unwrap()));
        }
    });
    let study = Study::look_in(store(url)).unwrap();
    assert_eq!(study.volumes().len(), 12);
}
