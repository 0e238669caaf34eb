//! What each fuzz target does with the bytes it is given, and what must hold whatever they are.
//!
//! # Where it sits
//!
//! `fuzz_targets/` hands libFuzzer's bytes to these functions; `daemon/tests/corpora.rs` takes the same files as a
//! module and hands them every input kept under `corpus/`, so that an ordinary test run replays what was ever found.
//! `docs/fuzzing.md` says what each target promises and how it is run.
//!
//! # Invariants
//!
//! - A target panics where a promise is broken, and nowhere else.
//! - What an output says is read by a reader of its own here, which shares nothing with the writer.
#![allow(
    unreachable_pub,
    reason = "public for the fuzz targets, private where tests take the file as a module"
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "each test that takes the file as a module uses another part of it"
)]
#![allow(clippy::unwrap_used, reason = "a target may end by panicking")]

pub mod capture;
mod documents;
pub mod drawings;
pub mod exposition;
pub mod flow_table;
pub mod http;
pub mod input;
mod journal;
pub mod mutate;
pub mod named;
pub mod seeds;
pub mod terminal;
pub mod text;

pub use capture::{capture_file, dns, fast_path, frame};
pub use documents::{config, contract, docker_json, roster};
pub use drawings::graph_outputs;
pub use exposition::exposition;
pub use flow_table::flow_table;
pub use http::http_request;
pub use journal::{journal, picture};
pub use terminal::{result, terminal};

/// What a target does with its bytes.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 16] = [
    ("dns", dns),
    ("frame", frame),
    ("fast_path", fast_path),
    ("capture_file", capture_file),
    ("flow_table", flow_table),
    ("docker_json", docker_json),
    ("roster", roster),
    ("contract", contract),
    ("config", config),
    ("journal", journal),
    ("picture", picture),
    ("result", result),
    ("exposition", exposition),
    ("graph_outputs", graph_outputs),
    ("terminal", terminal),
    ("http_request", http_request),
];
