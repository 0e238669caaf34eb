//! What containers use, as a scrape has it.

use portolan_exporter::{Publication, SeriesLimits, render};
use portolan_flowtable::indicators::{Indicators, Reading, Round};

use crate::fixture::{at, empty, parse};

fn reading(container: &str, indicators: Indicators) -> Reading {
    let (service, project) = ("web".to_owned(), "shop".to_owned());
    Reading {
        at: at(1),
        container_id: format!("c0ffee{container}"),
        container: container.to_owned(),
        service,
        project,
        indicators,
    }
}

fn samples(round: Option<Round>) -> Vec<(String, String, String)> {
    let publication = Publication { indicators: round, ..empty() };
    let all = parse(&render(&publication, SeriesLimits::default()));
    all.into_iter()
        .filter(|((name, _), _)| {
            name.starts_with("portolan_container_") || name.starts_with("portolan_indicators_")
        })
        .map(|((name, labels), value)| {
            let label = labels.get("container").or(labels.get("state")).cloned().unwrap_or_default();
            (name, label, value)
        })
        .collect()
}

#[test]
fn each_container_has_the_series_its_engine_knows_and_no_others() {
    let all = Indicators {
        memory_bytes: Some(u64::MAX),
        cpu_nanoseconds: Some(u64::MAX),
        block_read_bytes: Some(0),
        block_written_bytes: Some(7),
        pids: Some(3),
    };
    let some = Indicators { cpu_nanoseconds: Some(1_000_000_001), ..Indicators::default() };
    let round = Round {
        at: at(1),
        // Two names that look the same are one label set: the first has it.
        readings: vec![reading("web-1", all), reading("web\u{1b}", some), reading("web\\u{1b}", all)],
        unanswered: 2,
        left_out: 5,
    };
    let found = samples(Some(round));
    let found: Vec<(&str, &str, &str)> =
        found.iter().map(|(name, label, value)| (name.as_str(), label.as_str(), value.as_str())).collect();
    assert_eq!(
        found,
        [
            ("portolan_container_block_read_bytes_total", "web-1", "0"),
            ("portolan_container_block_written_bytes_total", "web-1", "7"),
            ("portolan_container_cpu_seconds_total", "web-1", "18446744073.709551615"),
            ("portolan_container_cpu_seconds_total", "web\\u{1b}", "1.000000001"),
            ("portolan_container_memory_bytes", "web-1", "18446744073709551615"),
            ("portolan_container_pids", "web-1", "3"),
            ("portolan_indicators_containers", "left_out", "5"),
            ("portolan_indicators_containers", "read", "3"),
            ("portolan_indicators_containers", "unanswered", "2"),
        ]
    );
}

#[test]
fn where_nobody_asks_there_are_no_series() {
    assert_eq!(samples(None), []);
}
