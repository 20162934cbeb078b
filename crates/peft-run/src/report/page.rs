//! The report of a run.

use peft_report::{Block, Cell, Column, Page, Section, Table, Tile};
use serde_json::Value;

use super::{
    RunFolder, RunStatus, classes, settings,
    text::{bytes, count, date, duration, figure},
};
use crate::{Evaluation, summary::curves};

/// The page of a run.
pub fn page(run: &RunFolder) -> Page {
    let (step, total) = (run.step(), run.total_steps());
    let warning = match &run.status {
        RunStatus::Finished => None,
        RunStatus::Running => Some(format!("The run is at work: step {step} of {total}.")),
        RunStatus::Interrupted => Some(format!(
            "The run was interrupted after step {step} of {total}; `peft train --config {} --resume` continues it.",
            crate::summary::shell(&run.path.join(crate::config::RECORD).to_string_lossy())
        )),
        RunStatus::BrokeDown(reason) => Some(format!("Training broke down: {reason}")),
    };
    let mut sections = vec![results(run), plots(run)];
    if let Some((rows, evaluation)) = shown(run)
        && let (Some(confusion), Some(task)) = (&evaluation.confusion, &run.task)
    {
        sections.push(classes::section(confusion, &task.labels, rows));
    }
    sections.extend(worst(run));
    sections.push(trained(run));
    sections.push(settings::section(run));
    sections.push(usage(run));
    let begun = run.begun().map(|time| format!("begun {}, ", date(time)));
    let said = |key: &str| {
        run.log
            .plan
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let on = [said("device"), said("machine")].into_iter().flatten();
    Page {
        title: format!("{} on {}", run.method(), run.model()),
        subtitle: format!(
            "{}, {}; {}{}",
            run.setting("task"),
            super::folder::last_part(&run.setting("data")),
            begun.unwrap_or_default(),
            run.path.display()
        ),
        warning,
        tiles: tiles(run),
        sections,
        footer: format!(
            "Computed on {}. Trained by peft {}{}.",
            on.collect::<Vec<_>>().join("; "),
            said("peft").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            said("commit").map_or_else(String::new, |commit| format!(" ({commit})"))
        ),
    }
}

/// The evaluation to show: that of the rows that only report, else that of those that select.
fn shown(run: &RunFolder) -> Option<(&'static str, &Evaluation)> {
    let best = run.best()?;
    Some(match &best.report {
        Some(report) => ("report", report),
        None => ("selection", &best.selection),
    })
}

fn tiles(run: &RunFolder) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some((rows, evaluation)) = shown(run) {
        let metric = run.main_metric();
        if let Some(value) = evaluation.metrics.get(&metric) {
            let mut note = format!("{} {rows} rows", count(evaluation.rows as u64));
            if metric == "accuracy" {
                let error = (value * (1.0 - value) / evaluation.rows.max(1) as f64).sqrt();
                note += &format!(", ± {} standard error", figure(error));
            }
            tiles.push(Tile::new(metric, figure(*value), note));
        }
        let note = format!(
            "{rows} rows, kept step {}",
            run.best().map_or(0, |best| best.step)
        );
        tiles.push(Tile::new("loss", figure(evaluation.loss), note));
    }
    let (adapters, head) = run.trained();
    let all = run.log.planned("total_parameters").max(1);
    tiles.push(Tile::new(
        "trained parameters",
        count(adapters + head),
        format!(
            "{:.2} % of the model; {} of them in the head",
            100.0 * (adapters + head) as f64 / all as f64,
            count(head)
        ),
    ));
    let size = run.log.planned("adapter_bytes");
    tiles.push(Tile::new(
        "adapter file",
        bytes(size),
        "adapter_model.safetensors",
    ));
    let (time, steps) = (run.train_time_s(), run.step());
    if steps > 0 && time > 0.0 {
        tiles.push(Tile::new(
            "training time",
            duration(time),
            format!(
                "{} steps, {} each; evaluations not counted",
                count(steps),
                duration(time / steps as f64)
            ),
        ));
    }
    if let Some(peak) = run.peak_memory() {
        let planned = run
            .log
            .plan
            .get("memory")
            .and_then(|memory| memory.get("peak")?.as_u64());
        let note = planned.map_or(String::new(), |planned| {
            format!("{} were planned", bytes(planned))
        });
        tiles.push(Tile::new("peak memory", bytes(peak), note));
    }
    tiles
}

fn results(run: &RunFolder) -> Section {
    let Some(best) = run.best() else {
        return Section::new(
            "Results",
            vec![Block::Text("Nothing was evaluated yet.".into())],
        );
    };
    let names: Vec<&String> = best.selection.metrics.keys().collect();
    let mut columns = vec![
        Column::text("rows"),
        Column::number("number"),
        Column::number("loss"),
    ];
    columns.extend(names.iter().map(|name| Column::number(name.as_str())));
    let row = |what: &str, evaluation: &Evaluation| {
        let mut cells = vec![
            Cell::new(what),
            count(evaluation.rows as u64).into(),
            figure(evaluation.loss).into(),
        ];
        let of = |name: &&String| evaluation.metrics.get(*name).map(|value| figure(*value));
        cells.extend(
            names
                .iter()
                .map(|name| Cell::new(of(name).unwrap_or_default())),
        );
        cells
    };
    let mut rows = vec![row("selection: chose the adapter", &best.selection)];
    if let Some(report) = &best.report {
        rows.push(row("report: chose nothing", report));
    }
    let text = format!(
        "The adapter that is kept is that of step {} of {}, chosen by {} on the selection rows.",
        best.step,
        run.step(),
        run.select_metric()
    );
    let table = Table {
        caption: String::new(),
        columns,
        rows,
    };
    Section::new("Results", vec![Block::Text(text), Block::Table(table)])
}

fn plots(run: &RunFolder) -> Section {
    let (method, model) = (run.method(), run.model());
    let of = curves::Of {
        method: &method,
        model: &model,
        kept: run.best().map(|best| best.step),
    };
    let log = &run.log;
    let mut blocks = vec![Block::Plot(curves::loss(of, log).inline())];
    if let Some(objective) = run.objective() {
        blocks.push(Block::Plot(
            curves::metric(of, log, objective.as_ref()).inline(),
        ));
    }
    let more = [
        curves::figure(of, log, "learning rate", "rate of the adapter", |step| {
            step.learning_rate
        }),
        curves::figure(of, log, "gradient norm", "norm before clipping", |step| {
            step.gradient_norm
        }),
        curves::figure(of, log, "speed", "tokens a second", |step| {
            step.tokens_per_s
        }),
        curves::figure(of, log, "peak memory", "MB", |step| {
            step.peak_memory.map(|b| b as f64 / 1e6)
        }),
    ];
    blocks.push(Block::Details {
        summary: "Learning rate, gradient norm, speed and memory".into(),
        blocks: more
            .iter()
            .map(|chart| Block::Plot(chart.inline()))
            .collect(),
    });
    Section::new("Curves", blocks)
}

fn worst(run: &RunFolder) -> Option<Section> {
    let first = run.worst.first()?;
    let labelled = run
        .worst
        .iter()
        .any(|row| !row.prediction.is_empty() || !row.truth.is_empty());
    let sure = run.worst.iter().any(|row| row.probability.is_some());
    let mut columns = vec![Column::number("row"), Column::number("loss")];
    if labelled {
        columns.extend(["true", "predicted"].map(Column::text));
    }
    if sure {
        columns.push(Column::number("probability"));
    }
    columns.push(Column::text("text"));
    let rows = run.worst.iter().map(|row| {
        let mut cells = vec![Cell::new(row.index.to_string()), figure(row.loss).into()];
        if labelled {
            cells.push(Cell::new(&*row.truth));
            cells.push(Cell::new(&*row.prediction).strong_if(row.prediction != row.truth));
        }
        if sure {
            let probability = row.probability.map(|p| format!("{p:.3}"));
            cells.push(Cell::new(probability.unwrap_or_default()));
        }
        cells.push(Cell::new(&*row.text));
        cells
    });
    let file = match first.split.as_str() {
        "report" => run.setting("eval_data"),
        _ => match run.setting("select_data") {
            own if !own.is_empty() => own,
            _ => run.setting("data"),
        },
    };
    let text = format!(
        "The {} rows of highest loss, with the adapter that is kept, and their texts as the model reads them: \
         wrong labels and rows that are hard stand here first. Rows are counted from 0 in {file}, as by `peft predict`.",
        first.split
    );
    let table = Table {
        caption: String::new(),
        columns,
        rows: rows.collect(),
    };
    Some(Section::new(
        "Worst rows",
        vec![Block::Text(text), Block::Table(table)],
    ))
}

fn trained(run: &RunFolder) -> Section {
    let plan = &run.log.plan;
    let groups = plan.get("modules").and_then(Value::as_array);
    let rows = groups.into_iter().flatten().map(|group| {
        let text = |key: &str| {
            group
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |key: &str| group.get(key).and_then(Value::as_u64).unwrap_or(0);
        let shape = group
            .get("shape")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let shape: Vec<String> = shape.map(Value::to_string).collect();
        vec![
            Cell::new(text("name")),
            count(number("count")).into(),
            shape.join("×").into(),
            count(number("trained")).into(),
        ]
    });
    let modules = Table {
        caption: "Adapted modules; {} stands for the number of the layer.".into(),
        columns: vec![
            Column::text("module"),
            Column::number("of them"),
            Column::number("shape"),
            Column::number("trained"),
        ],
        rows: rows.collect(),
    };
    let mut blocks = vec![Block::Table(modules)];
    if let Some(rows) = plan.get("rows").and_then(Value::as_u64) {
        let number = |key: &str| count(run.log.planned(key));
        let mut text = format!(
            "{} rows to fit, {} to select",
            count(rows),
            number("selection_rows")
        );
        if run.log.planned("truncated_rows") > 0 {
            text += &format!("; {} rows were cut to max_length", number("truncated_rows"));
        }
        blocks.push(Block::Text(text + "."));
    }
    let parts = [
        ("the process, tokenizer and rows", "process"),
        ("weights", "weights"),
        ("activations of a step", "activations"),
        ("adapters and optimizer", "trained"),
        ("largest moment, as planned", "peak"),
    ];
    let memory = plan.get("memory").and_then(Value::as_object);
    let planned = parts.iter().filter_map(|(name, key)| {
        let value = memory?.get(*key)?.as_u64()?;
        Some(vec![Cell::new(*name), bytes(value).into()])
    });
    let measured = run.peak_memory().map(|peak| {
        vec![
            Cell::new("largest moment, as measured"),
            Cell::new(bytes(peak)).strong_if(true),
        ]
    });
    blocks.push(Block::Table(Table {
        caption: "Where memory goes: parts are what was planned.".into(),
        columns: vec![Column::text("part"), Column::number("size")],
        rows: planned.chain(measured).collect(),
    }));
    Section::new("What was trained", blocks)
}

fn usage(run: &RunFolder) -> Section {
    let [model, data] = ["model", "data"].map(|key| crate::summary::shell(&run.setting(key)));
    let folder = crate::summary::shell(&run.path.to_string_lossy());
    let verb = match run.setting("task").as_str() {
        "causal-lm" => "generate",
        _ => "predict",
    };
    let method = peft_methods::by_name(&run.setting("method"));
    let method = method.and_then(|entry| (entry.build)(&(entry.defaults)()));
    let merge = match method {
        Ok(method) if !crate::summary::can_merge(method.as_ref()) => String::new(),
        _ => format!("peft merge --model {model} --adapter {folder} --output MERGED\n"),
    };
    Section::new(
        "How to use it",
        vec![Block::Code(format!(
            "peft {verb} --model {model} --adapter {folder} --data TEXTS\n\
             peft eval --model {model} --adapter {folder} --data {data}\n\
             {merge}peft train --config {folder}/run.toml output=ELSEWHERE"
        ))],
    )
}
