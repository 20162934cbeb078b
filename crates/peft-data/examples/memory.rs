//! Measures that memory stays flat, on a file of any size made for it.
//!
//!     cargo run --release -p peft-data --example memory -- 5000000000 [csv|jsonl|txt]
//!
//! Writes the file into the folder for temporary files, goes through it in every way there is, each
//! in a process of its own, prints one JSON object a way and deletes the file. `rss_anon_mib` is the
//! greatest resident anonymous memory (`RssAnon`), sampled every 20 ms; pages of temporary files are
//! not in it, as the system can drop them. Linux only.

use peft_data::{
    Dataset, LabelMap, LoadOptions, Preview, ReadOptions, RowReader, Task, TextTokenizer,
};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Fallible<T> = Result<T, Box<dyn Error>>;

const LABELS: [&str; 3] = ["bad", "fair", "good"];
const WAYS: [&str; 5] = ["rows", "parts", "preview", "train", "causal"];

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).map(String::as_str);
    if let (Some("--way"), Some(way), Some(path)) = (argument(0), argument(1), argument(2)) {
        return go(way, Path::new(path));
    }
    let bytes: u64 = argument(0).unwrap_or("50000000").parse()?;
    let format = argument(1).unwrap_or("csv");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(format!("rows.{format}"));
    // Plain text has no labels, and a tokenizer that makes a token of every byte.
    let plain = format == "txt";
    let rows = match plain {
        true => prose(&path, bytes)?,
        false => write(&path, bytes, format == "jsonl")?,
    };
    let tokenizer = if plain { letters() } else { tokenizer() };
    fs::write(folder.path().join("tokenizer.json"), tokenizer)?;
    println!(
        "{}",
        serde_json::json!({"bytes": bytes, "rows": rows, "format": format})
    );
    for way in WAYS {
        if plain && way != "rows" && way != "causal" {
            continue;
        }
        let run = Command::new(std::env::current_exe()?)
            .args(["--way", way])
            .arg(&path)
            .status()?;
        if !run.success() {
            return Err(format!("{way} failed").into());
        }
    }
    Ok(())
}

/// Rows of about 500 bytes, of which the text is a third: the rest is a column that nobody asks for,
/// so that it is the reading of bytes that takes time and not the tokenizer.
fn write(path: &Path, bytes: u64, json: bool) -> Fallible<u64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    if !json {
        writeln!(file, "text,note,label")?;
    }
    let note = "nothing of interest ".repeat(17);
    let (mut written, mut row) = (0u64, 0u64);
    while written < bytes {
        let words: Vec<String> = (0..1 + row % 4)
            .map(|i| word((row * 31 + i * 17) % 5000))
            .collect();
        let (text, label) = (words.join(" "), LABELS[(row % 7 % 3) as usize]);
        let line = match json {
            true => format!("{{\"text\":\"{text}\",\"note\":\"{note}\",\"label\":\"{label}\"}}\n"),
            false => format!("\"{text}\",{note},{label}\n"),
        };
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        row += 1;
    }
    file.flush()?;
    Ok(row)
}

/// Lines of 80 letters.
fn prose(path: &Path, bytes: u64) -> Fallible<u64> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let lines = bytes / 80;
    for line in 0..lines {
        writeln!(file, "{line:015} {}", "abcdefg ".repeat(8).trim_end())?;
    }
    file.flush()?;
    Ok(lines)
}

/// One token a letter.
fn letters() -> String {
    let digits = (0..=9).map(|digit| digit.to_string());
    let letters = ('a'..='g').map(String::from);
    let all = [" ".to_owned(), "\n".to_owned()]
        .into_iter()
        .chain(digits)
        .chain(letters);
    let vocab: serde_json::Map<_, _> = all.zip(0..).map(|(t, id)| (t, id.into())).collect();
    serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "abcdefg|[0-9 \n]"},
                          "behavior": "Isolated", "invert": false},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
    .to_string()
}

fn word(i: u64) -> String {
    format!("{}{i:04}", "longword".repeat(7))
}

/// One token a word.
fn tokenizer() -> String {
    let words = (0..5000).map(|i| (word(i), serde_json::json!(i + 1)));
    let mut vocab: serde_json::Map<_, _> = words.collect();
    vocab.insert("[UNK]".to_owned(), 0.into());
    serde_json::json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })
    .to_string()
}

fn go(way: &str, path: &Path) -> Fallible<()> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static PEAK: AtomicU64 = AtomicU64::new(0);
    let sampler = std::thread::spawn(|| {
        while !STOP.load(Ordering::Relaxed) {
            PEAK.fetch_max(anonymous().unwrap_or(0), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let start = Instant::now();
    let found = run(way, path)?;
    let seconds = start.elapsed().as_secs_f64();
    PEAK.fetch_max(anonymous().unwrap_or(0), Ordering::Relaxed);
    STOP.store(true, Ordering::Relaxed);
    sampler.join().map_err(|_| "the sampler failed")?;
    let peak = PEAK.load(Ordering::Relaxed) as f64 / 1024.0;
    println!(
        "{}",
        serde_json::json!({
            "way": way, "found": found, "rss_anon_mib": (peak * 10.0).round() / 10.0,
            "seconds": (seconds * 10.0).round() / 10.0,
        })
    );
    Ok(())
}

/// Kibibytes of resident anonymous memory.
fn anonymous() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    line.trim().split(' ').next()?.parse().ok()
}

fn run(way: &str, path: &Path) -> Fallible<u64> {
    if way == "rows" {
        let mut count = 0;
        for row in RowReader::open(path, &ReadOptions::default())? {
            row?;
            count += 1;
        }
        return Ok(count);
    }
    let tokenizer = TextTokenizer::from_dir(path.parent().ok_or("no folder")?)?;
    let options = LoadOptions::new(Task::Classify, 8);
    match way {
        // What prediction and evaluation do.
        "parts" => {
            let labels = LabelMap::from_names(LABELS)?;
            let options = LoadOptions {
                labels: Some(&labels),
                ..options
            };
            let mut rows = 0;
            for part in Dataset::parts(path, &options, &tokenizer, 8192)? {
                let part = part?;
                let plan = part.plan(64, 0, 0)?;
                for batch in plan.iter_from(0) {
                    rows += part.batch(batch)?.rows() as u64;
                }
            }
            Ok(rows)
        }
        "causal" => {
            let options = LoadOptions::new(Task::CausalLm, 256);
            let (set, _) = Dataset::load(path, &options, &tokenizer)?;
            let (fit, select) = set.split_sets(0.1, 1)?;
            let plan = fit.plan(8, 1, 0)?;
            let mut rows = select.len() as u64;
            for batch in plan.iter_from(0) {
                rows += fit.batch(batch)?.rows() as u64;
            }
            Ok(rows)
        }
        "preview" => Ok(Preview::of(path, &options, &tokenizer, 5)?.rows as u64),
        // What training does: the whole set, a tenth set aside, an epoch's order, its batches.
        _ => {
            let (set, _) = Dataset::load(path, &options, &tokenizer)?;
            let (fit, select) = set.split_sets(0.1, 1)?;
            let plan = fit.plan(32, 1, 0)?;
            let mut rows = select.len() as u64;
            for batch in plan.iter_from(0) {
                rows += fit.batch(batch)?.rows() as u64;
            }
            Ok(rows)
        }
    }
}
