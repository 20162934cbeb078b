//! What a run leaves for people.

mod common;

use common::{Workspace, done};

fn train(
    work: &Workspace,
    data: &str,
    output: &str,
    more: &[&str],
) -> impl Fn(&str) -> String + use<> {
    let [model, data, out] = ["model", data, output].map(|name| work.path(name));
    let base = [
        "train", "--model", &model, "--data", &data, "--output", &out,
    ];
    done(&[&base, more].concat());
    move |name: &str| std::fs::read_to_string(format!("{out}/{name}")).unwrap()
}

/// A drawing without a number that is none.
#[track_caller]
fn plot(svg: &str, words: &[&str]) {
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    for word in words {
        assert!(svg.contains(word), "{word}: {svg}");
    }
}

#[test]
fn a_run_describes_itself() {
    let work = Workspace::new();
    let rows = work.path("rows.csv");
    let read = train(
        &work,
        "rows.csv",
        "out",
        &["--epochs", "3", "--eval-data", &rows, "--rank", "4"],
    );
    let card = read("README.md");
    let head = format!(
        "---\nbase_model: \"{}\"\nlibrary_name: peft\n",
        work.path("model")
    );
    assert!(card.starts_with(&head), "{card}");
    for part in [
        "\n- lora\n",
        "`blame`, `praise`",
        "| report: chose nothing | 160 |",
        "accuracy",
        "num_labels=2)",
        "peft predict --model",
        "| `r` | `4` |",
        "| `learning_rate` | `0.002` |",
        "It was trained on 144 rows.",
        "(loss.svg)",
        "(accuracy.svg)",
        "(run.toml)",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    plot(
        &read("loss.svg"),
        &["training, smoothed", "selection", "report", "kept: step"],
    );
    plot(
        &read("accuracy.svg"),
        &["selection", "report", "lora on model: accuracy"],
    );
}

/// What readers are told to do with an adapter works for it.
#[test]
fn a_card_says_what_the_adapter_can_be_used_with() {
    let work = Workspace::new();
    let short = |method| ["--steps", "1", "--method", method];
    let card = |name: &str, method| train(&work, "rows.csv", name, &short(method))("README.md");
    let lora = card("lora", "lora");
    assert!(lora.contains("library_name: peft") && lora.contains("from peft import"));
    let sdctft = card("sdctft", "sdctft");
    assert!(!sdctft.contains("library_name") && !sdctft.contains("from peft import"));
    assert!(sdctft.contains("PEFT does not know sdctft") && sdctft.contains("\npeft merge "));
    let bottleneck = card("bottleneck", "bottleneck");
    assert!(!bottleneck.contains("from peft import") && !bottleneck.contains("\npeft merge "));
    let page = std::fs::read_to_string(work.path("bottleneck/report.html")).unwrap();
    assert!(page.contains("peft predict --model") && !page.contains("peft merge --model"));
}

#[test]
fn one_step_of_another_task_makes_a_picture_too() {
    let work = Workspace::new();
    let rows: String = (0..60)
        .map(|i| {
            format!(
                "{{\"text\": \"word{} good\", \"score\": {}}}\n",
                7 + i % 90,
                i % 5
            )
        })
        .collect();
    std::fs::write(work.path("scores.jsonl"), rows).unwrap();
    let more = [
        "--task",
        "regress",
        "--label-column",
        "score",
        "--steps",
        "1",
    ];
    let read = train(&work, "scores.jsonl", "scores", &more);
    assert!(read("README.md").contains("It predicts a number."));
    plot(&read("pearson.svg"), &["selection"]);
    plot(&read("loss.svg"), &["training", "selection"]);

    let rows: String = (0..60)
        .map(|i| {
            format!(
                "{{\"text\": \"good word{}\", \"labels\": [\"{}\"]}}\n",
                7 + i,
                ["a|b", "c"][i % 2]
            )
        })
        .collect();
    std::fs::write(work.path("labels.jsonl"), rows).unwrap();
    let more = ["--task", "multi-label", "--steps", "2"];
    let read = train(&work, "labels.jsonl", "labels", &more);
    let card = read("README.md");
    assert!(
        card.contains("multi_label_classification") && card.contains(r"`a\|b`"),
        "{card}"
    );
    plot(&read("f1.svg"), &["selection"]);
}
