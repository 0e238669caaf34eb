//! What running containers use, asked of Docker now and then.
//!
//! One question at a time, each with a limit of time, for so many containers a round: an engine that is slow is asked
//! less, never more at once. Nothing waits for an answer.
//!
//! # Sources
//!
//! `GET /containers/{id}/stats` of the Docker Engine API. Memory in use is counted as the reference of `docker stats`
//! does: usage without `total_inactive_file` (cgroup v1) or `inactive_file` (cgroup v2).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::StatsOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use portolan_flowtable::Workload;
use portolan_flowtable::indicators::{Indicators, Reading, Round};
use serde_json::{Map, Value};
use tokio::time;

use crate::docker::{is_id, object};
use crate::follow::{FollowOptions, clock};
use crate::registry::RosterBook;

/// Most containers asked in one round.
pub(crate) const ASKED_MAX: usize = 256;
/// Nanoseconds of the unit that Windows counts processor time in.
const WINDOWS_UNIT: u64 = 100;

/// Asks all running containers again and again; returns at once where that is not wanted.
pub(crate) async fn follow_indicators(options: &FollowOptions, book: &Arc<RosterBook>) {
    let (Some(every), Some(socket)) = (options.indicators_every, &options.docker_socket) else { return };
    let socket = socket.display().to_string();
    loop {
        time::sleep(every).await;
        let running = book.running();
        // Whether Docker is there at all is told by whoever follows it.
        let Some(docker) = connect(&socket, options.answer_within).await else {
            book.indicators_seen(Round { at: clock(), unanswered: count(running.len()), ..Round::default() });
            continue;
        };
        let ask = async |id: String| answer(&docker, &id).await;
        book.indicators_seen(round(running, options.answer_within, ask).await);
    }
}

/// Asks one container behind the other. `ask` returns what its engine says, where it can be read.
async fn round<A: Future<Output = Option<Indicators>>>(
    running: BTreeMap<String, Arc<Workload>>,
    answer_within: Duration,
    ask: impl Fn(String) -> A,
) -> Round {
    let mut round = Round { left_out: count(running.len().saturating_sub(ASKED_MAX)), ..Round::default() };
    for (container_id, workload) in running.into_iter().take(ASKED_MAX) {
        match time::timeout(answer_within, ask(container_id.clone())).await {
            Ok(Some(indicators)) => round.readings.push(Reading {
                at: clock(),
                container_id,
                container: workload.container.clone(),
                service: workload.service.clone(),
                project: workload.project.clone(),
                indicators,
            }),
            Ok(None) | Err(_) => round.unanswered = round.unanswered.saturating_add(1),
        }
    }
    round.at = clock();
    round
}

async fn connect(socket: &str, answer_within: Duration) -> Option<Docker> {
    let docker =
        Docker::connect_with_socket(socket, answer_within.as_secs().max(1), API_DEFAULT_VERSION).ok()?;
    time::timeout(answer_within, docker.negotiate_version()).await.ok()?.ok()
}

async fn answer(docker: &Docker, id: &str) -> Option<Indicators> {
    if !is_id(id) {
        return None;
    }
    let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
    let answer = std::pin::pin!(docker.stats(id, Some(options))).next().await?.ok()?;
    let indicators = read_indicators(&object(&answer)?);
    // A container that is not running any more is answered for with nothing in it.
    (indicators != Indicators::default()).then_some(indicators)
}

/// Reads the answer to one question. What is missing, negative or no whole number is `None`.
pub(crate) fn read_indicators(stats: &Map<String, Value>) -> Indicators {
    let part = |name: &str| stats.get(name).and_then(Value::as_object);
    let number = |of: Option<&Map<String, Value>>, name: &str| of?.get(name)?.as_u64();
    let memory = part("memory_stats");
    let is_windows = stats.get("os_type").and_then(Value::as_str) == Some("windows")
        || number(memory, "privateworkingset").is_some();
    let detail = memory.and_then(|memory| memory.get("stats")).and_then(Value::as_object);
    let idle_cache = number(detail, "total_inactive_file").or_else(|| number(detail, "inactive_file"));
    let usage = number(memory, "usage");
    let used = usage.map(|usage| usage.checked_sub(idle_cache.unwrap_or(0)).unwrap_or(usage));
    let usage = part("cpu_stats").and_then(|cpu| cpu.get("cpu_usage")).and_then(Value::as_object);
    let cpu = number(usage, "total_usage");
    if is_windows {
        let storage = part("storage_stats");
        return Indicators {
            memory_bytes: number(memory, "privateworkingset"),
            cpu_nanoseconds: cpu.map(|units| units.saturating_mul(WINDOWS_UNIT)),
            block_read_bytes: number(storage, "read_size_bytes"),
            block_written_bytes: number(storage, "write_size_bytes"),
            pids: None,
        };
    }
    let blocks = part("blkio_stats")
        .and_then(|blocks| blocks.get("io_service_bytes_recursive"))
        .and_then(Value::as_array);
    let moved = |what: &str| -> Option<u64> {
        let is_that = |row: &&Value| {
            row.get("op").and_then(Value::as_str).is_some_and(|op| op.eq_ignore_ascii_case(what))
        };
        let amounts = blocks?.iter().filter(is_that).filter_map(|row| row.get("value")?.as_u64());
        amounts.reduce(u64::saturating_add)
    };
    let pids = number(part("pids_stats"), "current");
    // Where nothing runs, Docker says 0 of processor time and leaves the rest out.
    let is_running = used.is_some() || pids.is_some();
    Indicators {
        memory_bytes: used,
        cpu_nanoseconds: cpu.filter(|nanoseconds| *nanoseconds > 0 || is_running),
        block_read_bytes: moved("read"),
        block_written_bytes: moved("write"),
        pids,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn read(json: &str) -> Indicators {
        let value: Value = serde_json::from_str(json).unwrap();
        // As an answer goes: through the client's types, and back.
        let typed: Option<bollard::models::ContainerStatsResponse> =
            serde_json::from_value(value.clone()).ok();
        let plain = read_indicators(value.as_object().unwrap());
        if let Some(typed) = typed {
            assert_eq!(read_indicators(&object(&typed).unwrap()), plain, "{json}");
        }
        plain
    }

    fn said(memory: u64, cpu: u64, read: u64, written: u64, pids: u64) -> Indicators {
        Indicators {
            memory_bytes: Some(memory),
            cpu_nanoseconds: Some(cpu),
            block_read_bytes: Some(read),
            block_written_bytes: Some(written),
            pids: Some(pids),
        }
    }

    #[test]
    fn every_form_of_the_answer_is_read_and_what_is_missing_is_not_zero() {
        let first = r#"{"os_type":"linux","num_procs":0,"pids_stats":{"current":3,"limit":4915},
            "cpu_stats":{"cpu_usage":{"total_usage":12000,"percpu_usage":[7000,5000]},"online_cpus":2},
            "memory_stats":{"usage":5000,"max_usage":9000,"limit":90000,
                "stats":{"inactive_file":900,"total_inactive_file":1000}},
            "blkio_stats":{"io_service_bytes_recursive":[
                {"major":8,"minor":0,"op":"Read","value":10},{"major":8,"minor":0,"op":"Write","value":20},
                {"major":8,"minor":0,"op":"Sync","value":30},{"major":8,"minor":0,"op":"Total","value":30},
                {"major":253,"minor":0,"op":"Read","value":5}]}}"#;
        let second = r#"{"pids_stats":{"current":4,"limit":18446744073709551615},
            "cpu_stats":{"cpu_usage":{"total_usage":24000}},
            "memory_stats":{"usage":5000,"stats":{"inactive_file":500,"file":700},"limit":90000},
            "blkio_stats":{"io_service_bytes_recursive":[
                {"major":8,"minor":0,"op":"read","value":0},{"major":8,"minor":0,"op":"write","value":4096}]}}"#;
        let idle = r#"{"pids_stats":{"current":1},"cpu_stats":{"cpu_usage":{"total_usage":0}},
            "memory_stats":{"usage":100,"stats":{"inactive_file":200}},
            "blkio_stats":{"io_service_bytes_recursive":null}}"#;
        let windows = r#"{"num_procs":2,"pids_stats":{},"blkio_stats":{},
            "cpu_stats":{"cpu_usage":{"total_usage":31}},
            "memory_stats":{"commitbytes":7000,"commitpeakbytes":8000,"privateworkingset":6000},
            "storage_stats":{"read_size_bytes":11,"write_size_bytes":12}}"#;
        let ended = r#"{"read":"0001-01-01T00:00:00Z","pids_stats":{},"blkio_stats":{},"memory_stats":{},
            "cpu_stats":{"cpu_usage":{"total_usage":0}}}"#;
        #[rustfmt::skip]
        let cases = [
            ("cgroup v1", first,   said(4_000, 12_000, 15, 20, 3)),
            ("cgroup v2", second,  said(4_500, 24_000, 0, 4_096, 4)),
            ("cache larger than what is used, no devices", idle, Indicators { block_read_bytes: None, block_written_bytes: None, ..said(100, 0, 0, 0, 1) }),
            ("Windows",   windows, Indicators { pids: None, ..said(6_000, 3_100, 11, 12, 0) }),
            ("not running", ended, Indicators::default()),
            ("empty",     "{}",    Indicators::default()),
        ];
        for (name, json, expected) in cases {
            assert_eq!(read(json), expected, "{name}");
        }
    }

    #[test]
    fn hostile_numbers_are_left_out_or_saturate() {
        let most = u64::MAX;
        let json = format!(
            r#"{{"os_type":"windows","cpu_stats":{{"cpu_usage":{{"total_usage":{most}}}}},
                "memory_stats":{{"privateworkingset":{most}}},"storage_stats":{{"read_size_bytes":-1}}}}"#
        );
        let windows = read(&json);
        assert_eq!((windows.cpu_nanoseconds, windows.block_read_bytes), (Some(most), None));
        let json = format!(
            r#"{{"memory_stats":{{"usage":-5,"stats":{{"inactive_file":{most}}}}},"pids_stats":{{"current":1e300}},
                "cpu_stats":{{"cpu_usage":{{"total_usage":"many"}}}},
                "blkio_stats":{{"io_service_bytes_recursive":[{{"op":"read","value":{most}}},
                    {{"op":"READ","value":{most}}},{{"op":7}},{{}},null,{{"op":"write","value":-9}}]}}}}"#
        );
        assert_eq!(read(&json), Indicators { block_read_bytes: Some(most), ..Indicators::default() });
        for json in [
            r#"{"memory_stats":[],"cpu_stats":7,"blkio_stats":"x","pids_stats":null}"#,
            r#"{"cpu_stats":{"cpu_usage":[]},"blkio_stats":{"io_service_bytes_recursive":{}}}"#,
        ] {
            assert_eq!(read(json), Indicators::default(), "{json}");
        }
    }

    fn running(containers: usize) -> BTreeMap<String, Arc<Workload>> {
        let named = |number: usize| {
            let (project, service) = ("shop".to_owned(), "web".to_owned());
            let workload =
                Workload { container: format!("web-{number}"), project, service, ..Workload::default() };
            (format!("{number:05}"), Arc::new(workload))
        };
        (0..containers).map(named).collect()
    }

    #[tokio::test]
    async fn one_is_asked_at_a_time_and_what_is_beyond_the_limit_is_counted() {
        let (in_flight, asked) = (Cell::new(0), Cell::new(0_usize));
        let ask = async |id: String| {
            asked.set(asked.get() + 1);
            in_flight.set(in_flight.get() + 1);
            assert_eq!(in_flight.get(), 1);
            tokio::task::yield_now().await;
            in_flight.set(in_flight.get() - 1);
            (id != "00001").then_some(said(1, 2, 3, 4, 5))
        };
        let round = round(running(ASKED_MAX + 3), Duration::from_secs(5), ask).await;
        assert_eq!((asked.get(), round.readings.len()), (ASKED_MAX, ASKED_MAX - 1));
        assert_eq!((round.unanswered, round.left_out), (1, 3));
        assert_eq!(
            (round.readings[0].container.as_str(), round.readings[0].qualified().as_str()),
            ("web-0", "shop/web")
        );
    }

    #[tokio::test]
    async fn a_container_that_does_not_answer_is_waited_for_so_long_and_the_next_one_is_asked() {
        let ask = async |id: String| {
            if id == "00000" {
                std::future::pending::<()>().await;
            }
            Some(said(1, 2, 3, 4, 5))
        };
        let round = round(running(2), Duration::from_millis(20), ask).await;
        let answered: Vec<&str> = round.readings.iter().map(|reading| reading.container.as_str()).collect();
        assert_eq!((answered.as_slice(), round.unanswered), (["web-1"].as_slice(), 1));
    }
    #[tokio::test]
    async fn nothing_is_asked_where_nobody_wants_it() {
        let book = RosterBook::new(&[], std::path::Path::new("/proc"));
        let off = FollowOptions { indicators_every: None, ..FollowOptions::default() };
        // Asking never ends by itself; not asking does at once.
        let ended = time::timeout(Duration::from_secs(30), follow_indicators(&off, &book)).await;
        assert!(ended.is_ok() && book.take_indicators().is_none());
    }
}
