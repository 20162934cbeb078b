//! Resuming, with a `peft` that is a shell script: it counts its calls and learns nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::definition::Study;
use super::definition_tests::{EXAMPLE, sampled};
use super::outcome::Outcome;
use super::runner::Tools;
use super::{all_progress, execute, readme};

const FAKE: &str = r#"#!/bin/sh
# The selection accuracy is the learning rate's first digit, so that the sweep has a winner.
command=$1
[ "$command" = --version ] && { echo "peft 0.0.0"; exit; }
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=$2;; --learning-rate) rate=$2;; --data) data=$2;; --adapter) adapter=$2;;
  esac
  shift
done
echo "$command $rate" >> "@CALLS@"
if [ "$command" = train ]; then
  [ -e "@FAIL@" ] && { echo "out of luck" >&2; exit 3; }
  mkdir -p "$output/last"
  accuracy=0.$(printf %s "$rate" | tr -d 0.)
  {
    echo '{"event":"plan","trainable_parameters":1000,"head_parameters":10}'
    echo '{"event":"step","step":1,"loss":0.7,"learning_rate":0.1,"tokens_per_s":10,"step_time_s":0.5}'
    echo '{"event":"eval","step":1,"epoch":1,"split":"selection","loss":0.6,"accuracy":'$accuracy'}'
  } > "$output/metrics.jsonl"
  for folder in "$output" "$output/last"; do
    printf '\073\0\0\0\0\0\0\0{"lora_A":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' > "$folder/adapter_model.safetensors"
  done
else
  [ -d "$adapter" ] || exit 4
  for row in 0 1 2; do echo '{"index":'$row',"label":"positive","probabilities":{}}'; done > "$output"
fi
"#;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> (Self, Tools) {
        let root = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let data = root.join("data/rotten_tomatoes");
        fs::create_dir_all(&data).unwrap();
        fs::write(
            data.join("report.csv"),
            "text,label\na,positive\nb,negative\nc,positive\n",
        )
        .unwrap();
        let script = FAKE
            .replace("@CALLS@", root.join("calls").to_str().unwrap())
            .replace("@FAIL@", root.join("fail").to_str().unwrap());
        let peft = root.join("peft");
        fs::write(&peft, script).unwrap();
        fs::set_permissions(&peft, fs::Permissions::from_mode(0o755)).unwrap();
        let tools = Tools {
            peft,
            python: "python3".into(),
            data: root.join("data"),
            work: root.join("work"),
            docs: root.join("docs"),
            contended: false,
        };
        (Self(root), tools)
    }

    fn trainings(&self) -> usize {
        let calls = fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        calls
            .lines()
            .filter(|line| line.starts_with("train"))
            .count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn sweeps_then_seeds_and_repeats_nothing() {
    let (place, tools) = Place::new("sweep");
    let study = Study::parse(EXAMPLE).unwrap();
    assert_eq!(execute(&study, Some("lora"), Some(2), &tools).unwrap(), 2);
    assert_eq!(place.trainings(), 2);
    // A fail leaves no result, so that the run is tried again.
    fs::write(place.0.join("fail"), "").unwrap();
    let error = execute(&study, Some("lora"), None, &tools)
        .unwrap_err()
        .to_string();
    assert!(error.contains("out of luck"), "{error}");
    fs::remove_file(place.0.join("fail")).unwrap();
    // Three rates on one seed, the report of the winner, one more seed, for each of the two arms.
    assert_eq!(execute(&study, None, None, &tools).unwrap(), 3 + 5);
    assert_eq!(place.trainings(), 2 + 1 + 6);
    let calls = fs::read_to_string(place.0.join("calls")).unwrap();
    let reports = calls.lines().filter(|line| line.starts_with("predict"));
    assert_eq!(
        reports.count(),
        4,
        "one a seed and arm, as both checkpoints are one"
    );
    assert_eq!(execute(&study, None, None, &tools).unwrap(), 0);
    assert!(
        tools.docs.join("runs/lora/lr4e-3-s1/result.json").is_file(),
        "4e-3 scores highest"
    );
    let loser = Outcome::read(&tools.docs.join("runs/lora/lr1e-3-s0/result.json")).unwrap();
    assert!(
        loser.report.is_none(),
        "the report split is read at the chosen rate only"
    );
    // The committed results are enough.
    fs::remove_dir_all(&tools.work).unwrap();
    assert_eq!(execute(&study, None, None, &tools).unwrap(), 0);
    readme::write(&study, &all_progress(&study, &tools).unwrap(), &tools.docs).unwrap();
    let text = fs::read_to_string(tools.docs.join("README.md")).unwrap();
    assert!(
        text.contains("| lora equal to vera | last | +0.00 | +0.00 … +0.00 | **shown** |"),
        "{text}"
    );
    assert!(text.contains("66.67 ± 0.00"), "{text}");
    assert!(!text.contains("Incomplete"));
}

#[test]
fn samples_of_rows_are_drawn_and_reported_by_their_number() {
    let (place, tools) = Place::new("samples");
    let study = Study::parse(&sampled()).unwrap();
    let error = execute(&study, None, Some(1), &tools).unwrap_err();
    assert!(format!("{error:#}").contains("fit.csv"), "{error:#}");
    let rows = "text,label\na,positive\nb,negative\nc,positive\nd,negative\ne,positive\n";
    fs::write(tools.data.join("rotten_tomatoes/fit.csv"), rows).unwrap();
    // Two arms on two numbers of rows, each of three rates, a report and one more seed.
    assert_eq!(execute(&study, None, None, &tools).unwrap(), 20);
    assert_eq!(place.trainings(), 16);
    let drawn = fs::read_to_string(tools.samples().join("fit_4_s1.csv")).unwrap();
    assert_eq!(drawn.lines().count(), 5);
    assert_eq!(execute(&study, None, None, &tools).unwrap(), 0);
    readme::write(&study, &all_progress(&study, &tools).unwrap(), &tools.docs).unwrap();
    let text = fs::read_to_string(tools.docs.join("README.md")).unwrap();
    assert!(
        text.contains("| arm | 2 rows | 4 rows |\n|---|--:|--:|"),
        "{text}"
    );
    assert!(
        text.contains("| vera | 66.67 ± 0.00 | 66.67 ± 0.00 |"),
        "{text}"
    );
    assert!(text.contains("| lora-n4 equal to vera-n4 |"), "{text}");
    assert!(text.contains("2 (4 epochs, selection every 2)"), "{text}");
    let plot = fs::read_to_string(tools.docs.join("rows.svg")).unwrap();
    assert_eq!(plot.matches("<polyline").count(), 2, "a line an arm");
    assert!(!tools.docs.join("parameters.svg").exists());
}

#[test]
fn damaged_or_foreign_results_do_not_count() {
    let (place, tools) = Place::new("damaged");
    let study = Study::parse(&EXAMPLE.replace("\"sweep\"", "\"fixed\"")).unwrap();
    execute(&study, Some("lora"), None, &tools).unwrap();
    assert_eq!(place.trainings(), 2);
    let result = |folder: &Path| folder.join("lora/lr2e-3-s0/result.json");
    fs::write(result(&tools.docs.join("runs")), "{\"arm\":").unwrap();
    assert_eq!(
        execute(&study, Some("lora"), None, &tools).unwrap(),
        0,
        "the work folder has it"
    );
    fs::write(result(&tools.docs.join("runs")), "{").unwrap();
    fs::write(result(&tools.work), "{").unwrap();
    assert_eq!(execute(&study, Some("lora"), None, &tools).unwrap(), 1);
    // Another rank is another study.
    let other = EXAMPLE
        .replace("\"sweep\"", "\"fixed\"")
        .replace("rank = 8", "rank = 4");
    let other = Study::parse(&other).unwrap();
    assert_eq!(execute(&other, Some("lora"), None, &tools).unwrap(), 2);
}
