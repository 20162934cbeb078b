//! Time that workers spent, by a clock that the tests set.

use std::cell::Cell;

use peft_search::study::*;
use peft_search::*;

use crate::toy::*;

thread_local! {
    static NOW: Cell<f64> = const { Cell::new(0.0) };
}

fn at(seconds: f64) {
    NOW.set(seconds);
}

fn open(folder: &std::path::Path, description: Description) -> Study {
    begin(folder, description).unwrap().with_clock(|| NOW.get())
}

fn limited(seconds: f64) -> Description {
    let budget = Budget {
        seconds: Some(seconds),
        ..Budget::default()
    };
    Description {
        budget,
        pruning: None,
        attempts: 2,
        ..description(0)
    }
}

fn asked(study: &mut Study) -> Assignment {
    match study.ask().unwrap() {
        Next::Run(assignment) => assignment,
        other => panic!("{other:?}"),
    }
}

fn measured() -> Outcome {
    let measured = vec![0.7];
    Outcome::Complete { measured }
}

/// A night in which nobody worked is not counted: a killed worker was there as long as it was heard of.
#[test]
fn time_without_workers_is_not_counted() {
    const NIGHT: f64 = 50_000.0;
    let folder = tempfile::tempdir().unwrap();
    let budget = limited(100.0);
    let mut study = open(folder.path(), budget.clone());
    at(100.0);
    let first = asked(&mut study);
    at(110.0);
    study.report(&first, 1, &[0.5]).unwrap();
    at(115.0);
    assert_eq!(study.spent().unwrap().seconds, 15.0);
    // Killed: it gives nothing back.
    drop(study);
    at(NIGHT);
    let mut study = open(folder.path(), budget.clone());
    let status = study.status().unwrap();
    assert_eq!(
        (status.spent.seconds, status.running[0].seconds),
        (10.0, 10.0)
    );
    let again = asked(&mut study);
    assert_eq!((again.trial, again.earlier), (first.trial, 1));
    at(NIGHT + 5.0);
    assert_eq!(study.spent().unwrap().seconds, 15.0);
    drop(study);
    // The last attempt: the trial has failed, and not just now.
    at(2.0 * NIGHT);
    let mut study = open(folder.path(), budget.clone());
    let second = asked(&mut study);
    assert_eq!(second.trial, 1);
    assert_eq!(study.timing(0).unwrap().ended, Some(NIGHT));
    at(2.0 * NIGHT + 7.0);
    study.release(&second, false).unwrap();
    at(3.0 * NIGHT);
    assert_eq!(study.spent().unwrap().seconds, 17.0);
    let third = asked(&mut study);
    at(3.0 * NIGHT + 3.0);
    study.tell(&third, measured()).unwrap();
    assert_eq!(study.spent().unwrap().seconds, 20.0);
}

/// What running trials have used of the time is subtracted from it once.
#[test]
fn the_time_that_is_left_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = open(folder.path(), limited(100.0));
    at(0.0);
    let first = asked(&mut study);
    at(10.0);
    study.tell(&first, measured()).unwrap();
    asked(&mut study);
    at(30.0);
    assert_eq!(study.status().unwrap().remaining, Some(70.0));
}
