//! The columns of the files of the field.

/// Text and pair columns that go together, in order of preference.
pub(super) const PAIRS: &[(&str, &str)] = &[
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("#1 string", "#2 string"),
];
/// Text columns that stand alone.
pub(super) const TEXTS: &[&str] = &[
    "text",
    "sentence",
    "sentence1",
    "question",
    "question1",
    "premise",
    "review",
    "content",
    "text1",
    "text_a",
    "tweet",
    "comment",
    "document",
    "body",
    "message",
    "review_text",
    "query",
    "utterance",
    "abstract",
    "description",
    "title",
    "input",
];
/// Label columns.
pub(super) const LABELS: &[&str] = &[
    "label",
    "labels",
    "gold_label",
    "class",
    "target",
    "score",
    "is_duplicate",
    "sentiment",
    "category",
    "intent",
    "rating",
    "stars",
    "emotion",
    "quality",
    "topic",
    "similarity",
    "y",
];

/// Columns of words and of a label each, as token classification has them.
pub(super) const WORDS: &[&str] = &["tokens", "words"];
pub(super) const WORD_LABELS: &[&str] = &[
    "ner_tags",
    "ner",
    "pos_tags",
    "chunk_tags",
    "tags",
    "labels",
];
