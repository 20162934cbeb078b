use std::time::Duration;

use peft_search::problems::SynthPeft;
use peft_search::study::*;
use peft_search::*;

use crate::toy::*;

fn events(study: &Study) -> Vec<String> {
    let events = study.events().iter();
    events
        .map(|event| serde_json::to_string(event).unwrap())
        .collect()
}

/// Reports once, and stops.
fn stopping(why: Stopped) -> impl FnMut(&Assignment, &mut Watch<'_>) -> Result<Vec<f64>, Stopped> {
    move |assignment, watch| {
        let accuracy = SynthPeft::default().after(&assignment.configuration, 1, EPOCHS);
        watch.report(1, &[accuracy])?;
        Err(why.clone())
    }
}

/// Works, and gives up where it would wait for ever.
fn work(study: &mut Study, evaluate: &mut dyn Evaluate) -> Worked {
    let mut calls = 0;
    let mut proceed = |_: &Study| {
        calls += 1;
        calls < 100
    };
    study
        .work(evaluate, Duration::from_millis(1), &mut proceed)
        .unwrap()
}

/// A worker that is asked to stop gives its trial back, however often, and the study comes to the same end.
#[test]
fn stops_are_no_losses() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [calm, stopped] = folders.each_ref().map(|folder| folder.path());
    let mut calm = begin(calm, description(4)).unwrap();
    work(&mut calm, &mut train);
    let mut study = begin(stopped, description(4)).unwrap();
    for stops in 1..=5 {
        assert_eq!(
            work(&mut study, &mut stopping(Stopped::Interrupted)),
            Worked::Interrupted
        );
        let timing = study.timing(0).unwrap();
        assert_eq!((timing.attempts, timing.returned), (stops, stops));
    }
    let running = study.status().unwrap().running;
    assert_eq!(
        (running[0].worker.as_ref(), running[0].at_work),
        (None, false)
    );
    assert_eq!(
        work(&mut study, &mut train),
        Worked::Ended(Ending::Spent(Limit::Trials))
    );
    assert_eq!(events(&study), events(&calm));
    // Who reads the journal anew sees the same.
    let read = Study::look(stopped).unwrap();
    assert_eq!(events(&read), events(&calm));
    assert_eq!(read.timing(0), study.timing(0));
}

/// What hinders every worker is in the end the trial's fault.
#[test]
fn hindrances_are_losses() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = begin(folder.path(), description(1)).unwrap();
    for _ in 0..3 {
        let worked = work(&mut study, &mut stopping(Stopped::Hindered));
        assert_eq!(worked, Worked::Interrupted);
    }
    let worked = work(&mut study, &mut train);
    assert_eq!(worked, Worked::Ended(Ending::Spent(Limit::Trials)));
    let outcome = &study.history().trials()[0].outcome;
    assert!(matches!(outcome, Some(Outcome::Failed { reason }) if reason.starts_with('3')));
}

/// Only who has a trial gives it back, and who gave it back has it no more.
#[test]
fn a_trial_is_given_back_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = begin(folder.path(), description(2)).unwrap();
    let Next::Run(first) = study.ask().unwrap() else {
        panic!("nothing to do")
    };
    study.release(&first, false).unwrap();
    assert!(study.release(&first, false).is_err());
    assert!(study.report(&first, 1, &[0.5]).is_err());
    let Next::Run(second) = study.ask().unwrap() else {
        panic!("nothing to do")
    };
    assert_eq!((second.trial, second.earlier), (first.trial, 1));
    let lost = study.release(&first, false);
    assert!(matches!(lost, Err(SearchError::Lost { .. })), "{lost:?}");
    study.report(&second, 1, &[0.5]).unwrap();
}
