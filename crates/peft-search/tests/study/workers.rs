use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use peft_search::study::*;
use peft_search::*;

use crate::toy::*;

/// Every trial of four workers, one of which gives up again and again, has exactly one result.
#[test]
fn workers_share_a_study_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (evaluated, abandoned) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let description = Description {
        attempts: 100,
        ..description(16)
    };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let description = description.clone();
            let (evaluated, abandoned) = (&evaluated, &abandoned);
            scope.spawn(move || {
                let mut calls = 0;
                loop {
                    let mut study = begin(path, description.clone()).unwrap();
                    let mut run = |assignment: &Assignment, watch: &mut Watch<'_>| {
                        calls += 1;
                        if worker == 0 && calls % 2 == 1 && calls < 8 {
                            watch.report(1, &[0.6])?;
                            abandoned.fetch_add(1, Ordering::Relaxed);
                            return Err(Stopped::Interrupted);
                        }
                        std::thread::sleep(Duration::from_millis(2));
                        let result = train(assignment, watch);
                        evaluated.fetch_add(1, Ordering::Relaxed);
                        result
                    };
                    let worked = study.work(&mut run, Duration::from_millis(5), &mut |_| true);
                    if let Worked::Ended(_) = worked.unwrap() {
                        break;
                    }
                }
            });
        }
    });
    let study = Study::look(path).unwrap();
    let trials = study.history().trials();
    assert_eq!(trials.len(), 16);
    assert!(trials.iter().all(|trial| trial.outcome.is_some()));
    assert_eq!(study.volumes().len(), 16);
    assert_eq!(evaluated.into_inner(), 16);
    let leases: u32 = (0..16)
        .map(|trial| study.timing(trial).unwrap().attempts)
        .sum();
    assert_eq!(leases as usize, 16 + abandoned.into_inner());
}

/// A worker that hangs loses its trial, and its late result is not recorded.
#[test]
fn who_comes_back_too_late_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let description = description(2);
    begin(folder.path(), description.clone()).unwrap();
    let open = |patience: u64| {
        let store = FolderStore::new(folder.path()).unwrap();
        let store = store.with_patience(Duration::from_millis(patience));
        Study::new(description.clone(), problem(), Box::new(store)).unwrap()
    };
    // The first sends no sign of life for an hour; the second has no patience.
    let (mut slow, mut quick) = (open(3_600_000), open(30));
    let Next::Run(first) = slow.ask().unwrap() else {
        panic!("nothing to do")
    };
    std::thread::sleep(Duration::from_millis(80));
    let Next::Run(taken) = quick.ask().unwrap() else {
        panic!("nothing to do")
    };
    assert_eq!((taken.trial, taken.earlier), (first.trial, 1));
    assert_eq!(taken.configuration, first.configuration);
    let lost = slow.report(&first, 1, &[0.5]).unwrap_err();
    assert!(matches!(lost, SearchError::Lost { trial: 0, .. }), "{lost}");
    let measured = |value: f64| Outcome::Complete {
        measured: vec![value],
    };
    quick.tell(&taken, measured(0.7)).unwrap();
    assert!(matches!(
        slow.tell(&first, measured(0.1)),
        Err(SearchError::Lost { .. })
    ));
    assert!(matches!(
        quick.tell(&taken, measured(0.1)),
        Err(SearchError::Lost { .. })
    ));
    let study = Study::look(folder.path()).unwrap();
    assert_eq!(study.history().trials()[0].outcome, Some(measured(0.7)));
}

/// A trial that kills its workers does not kill all of them.
#[test]
fn a_trial_that_loses_every_worker_fails() {
    let folder = tempfile::tempdir().unwrap();
    for attempt in 0..3 {
        let mut study = begin(folder.path(), description(2)).unwrap();
        let Next::Run(assignment) = study.ask().unwrap() else {
            panic!("nothing to do")
        };
        assert_eq!((assignment.trial, assignment.earlier), (0, attempt));
    }
    let mut study = begin(folder.path(), description(2)).unwrap();
    let Next::Run(assignment) = study.ask().unwrap() else {
        panic!("nothing to do")
    };
    assert_eq!((assignment.trial, assignment.earlier), (1, 0));
    let first = &study.history().trials()[0];
    assert!(matches!(&first.outcome, Some(Outcome::Failed { reason }) if reason.starts_with('3')));
}

/// What is enqueued from elsewhere comes next.
#[test]
fn a_queue_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = begin(folder.path(), description(4)).unwrap();
    worker.ask().unwrap();
    let wanted = AutoPeft::BERT_BASE.published()[2].clone();
    let mut other = Study::look(folder.path()).unwrap();
    other.enqueue(wanted.clone()).unwrap();
    assert!(other.enqueue(wanted.clone()).is_err());
    assert_eq!(other.status().unwrap().queued, 1);
    let Next::Run(assignment) = worker.ask().unwrap() else {
        panic!("nothing to do")
    };
    assert_eq!(assignment.configuration, wanted);
    // Who only looks cannot propose: it does not know the known objectives.
    assert!(other.ask().is_err());
    assert_eq!(other.status().unwrap().running.len(), 2);
}

/// Files of workers that were killed long ago are removed; those of workers that hang are not.
#[test]
fn files_of_lost_workers_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = begin(folder.path(), description(4)).unwrap();
    let now = std::time::SystemTime::now();
    let hours = |hours: u64| now - Duration::from_secs(hours * 3600);
    let left = [
        ("machine-1", 25),
        (".now-machine-1", 25),
        ("machine-2", 23),
        ("machine-3", 25),
        ("notes.txt", 25),
    ];
    let made = left.map(|(name, age)| {
        let path = folder.path().join("workers").join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(hours(age)).unwrap();
        (path, file)
    });
    made[3].1.lock().unwrap();
    study.ask().unwrap();
    let kept = made.each_ref().map(|(path, _)| path.exists());
    assert_eq!(kept, [false, false, true, true, true]);
}
