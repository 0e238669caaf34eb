//! Dashboards and rules: drawn from the catalogue, held against it, and against the rules of Grafana's linter.

#[cfg(test)]
mod board;
#[cfg(test)]
mod contents;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod promql;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use portolan_exporter::catalogue;
    use serde_json::Value;

    use crate::contents;
    use crate::lint::{lint, list, text};
    use crate::promql::{Selector, names};

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// The dashboards as they lie there, by file name.
    fn boards() -> Vec<(String, Value)> {
        let mut boards = Vec::new();
        for entry in fs::read_dir(folder("dashboards")).expect("exporter/dashboards") {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".json") {
                let board = fs::read_to_string(&path).expect("readable");
                boards.push((name.to_owned(), serde_json::from_str(&board).expect("JSON")));
            }
        }
        boards.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(boards.len(), contents::all().len(), "dashboards");
        boards
    }

    /// Labels a family has, once it is scraped; `None` where there is no such family.
    fn labels(metric: &str, recorded: &BTreeMap<String, String>) -> Option<BTreeSet<String>> {
        let scraped = ["job", "instance"].map(str::to_owned);
        if matches!(metric, "up" | "scrape_duration_seconds") {
            return Some(scraped.into());
        }
        if let Some(expr) = recorded.get(metric) {
            let sources = names(expr).selectors;
            return sources.iter().map(|source| labels(&source.metric, recorded)).try_fold(
                BTreeSet::new(),
                |mut all, labels| {
                    all.extend(labels?);
                    Some(all)
                },
            );
        }
        let is_histogram = |found: &catalogue::Metric| found.kind == catalogue::Kind::Histogram;
        let family = catalogue::ALL.iter().find(|found| match metric.strip_prefix(found.name) {
            Some("") => !is_histogram(found),
            Some("_bucket" | "_sum" | "_count") => is_histogram(found),
            _ => false,
        })?;
        let mut labels: BTreeSet<String> = family.labels.iter().map(|label| (*label).to_owned()).collect();
        labels.extend(scraped);
        labels.insert("host".to_owned());
        if metric.ends_with("_bucket") {
            labels.insert("le".to_owned());
        }
        Some(labels)
    }

    /// What an expression names and the catalogue does not have.
    fn unknown(expr: &str, recorded: &BTreeMap<String, String>) -> Vec<String> {
        let asked = names(expr);
        let mut faults = Vec::new();
        let mut known = asked.made.clone();
        for Selector { metric, matchers, .. } in &asked.selectors {
            match labels(metric, recorded) {
                None => faults.push(format!("no metric {metric}")),
                Some(labels) => {
                    let wrong = matchers.iter().filter(|(label, _)| !labels.contains(label));
                    faults.extend(wrong.map(|(label, _)| format!("{metric} has no label {label}")));
                    known.extend(labels);
                }
            }
        }
        let used = asked.grouped.union(&asked.read).filter(|label| !known.contains(*label));
        faults.extend(used.map(|label| format!("nothing has a label {label}: {expr}")));
        faults
    }

    fn rules() -> Value {
        let text = fs::read_to_string(folder("rules/portolan.rules.yaml")).expect("rules");
        serde_saphyr::from_str(&text).expect("YAML")
    }

    /// The rules that record: name and expression.
    fn recorded() -> BTreeMap<String, String> {
        let rules = rules();
        let groups = list(&rules["groups"]);
        let rules = groups.iter().flat_map(|group| list(&group["rules"]));
        let recording = rules.filter(|rule| rule.get("record").is_some());
        recording.map(|rule| (text(&rule["record"]).to_owned(), text(&rule["expr"]).to_owned())).collect()
    }

    #[test]
    fn the_files_are_what_is_drawn() {
        for board in contents::all() {
            let path = folder("dashboards").join(format!("{}.json", board.file()));
            let drawn = format!("{:#}\n", board.json());
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &drawn).expect("writable");
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                kept == drawn,
                "{} is stale: UPDATE_GOLDEN=1 cargo test -p portolan-exporter --test dashboards",
                path.display()
            );
        }
    }

    #[test]
    fn every_metric_and_label_on_a_dashboard_is_in_the_catalogue() {
        let recorded = recorded();
        let mut faults = Vec::new();
        for (name, board) in boards() {
            let panels = list(&board["panels"]);
            let targets = panels.iter().flat_map(|panel| list(&panel["targets"]));
            let expressions = targets.filter_map(|target| target.get("expr"));
            let variables = list(&board["templating"]["list"]);
            let queries = variables.iter().filter_map(|variable| variable["query"].get("query"));
            for expr in expressions.chain(queries) {
                let found = unknown(text(expr), &recorded);
                faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
            }
        }
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn columns_are_labels_their_query_has() {
        for (name, board) in boards() {
            for panel in list(&board["panels"]).into_iter().filter(|panel| panel["type"] == "table") {
                let asked = names(text(&panel["targets"][0]["expr"]));
                let mut known = asked.made.clone();
                for selector in &asked.selectors {
                    known.extend(labels(&selector.metric, &BTreeMap::new()).unwrap_or_default());
                }
                for column in list(&panel["transformations"][0]["options"]["include"]["names"]) {
                    let is_known = text(column) == "Value" || known.contains(text(column));
                    assert!(is_known, "{name}: {}: {column}", panel["title"]);
                }
            }
        }
    }

    #[test]
    fn every_metric_and_label_in_a_rule_is_in_the_catalogue() {
        let (recorded, rules) = (recorded(), rules());
        let mut count = 0;
        for rule in list(&rules["groups"]).into_iter().flat_map(|group| list(&group["rules"])) {
            let faults = unknown(text(&rule["expr"]), &recorded);
            assert!(faults.is_empty(), "{rule}: {faults:#?}");
            count += 1;
            if rule.get("alert").is_none() {
                continue;
            }
            for words in ["summary", "description", "remedy"] {
                assert!(text(&rule["annotations"][words]).len() > 20, "{} has no {words}", rule["alert"]);
            }
            assert!(
                ["info", "warning", "critical"].contains(&text(&rule["labels"]["severity"])),
                "{}: severity",
                rule["alert"]
            );
        }
        assert!(count > 15, "{count} rules");
    }

    #[test]
    fn every_family_is_on_a_dashboard_or_left_out_on_purpose() {
        // Frames say what bytes and connections do not; the rest is words for tables nobody needs drawn.
        let left_out = [
            "portolan_edge_frames_total",
            "portolan_findings_left_out",
            "portolan_capture_backward_steps_total",
            "portolan_config_last_reload_success_timestamp_seconds",
            "portolan_baseline_edges",
            "portolan_baseline_promoted",
            "portolan_pending_conversations",
            // What containers use is drawn by boards that are there already; here it is for findings.
            "portolan_container_memory_bytes",
            "portolan_container_cpu_seconds_total",
            "portolan_container_block_read_bytes_total",
            "portolan_container_block_written_bytes_total",
            "portolan_container_pids",
            "portolan_indicators_containers",
            "portolan_policy_info",
        ];
        let shown: BTreeSet<String> = boards()
            .iter()
            .flat_map(|(_, board)| {
                let panels = list(&board["panels"]);
                let targets: Vec<&Value> = panels.iter().flat_map(|panel| list(&panel["targets"])).collect();
                targets.iter().flat_map(|target| names(text(&target["expr"])).selectors).collect::<Vec<_>>()
            })
            .map(|selector| selector.metric.trim_end_matches("_bucket").to_owned())
            .collect();
        for metric in catalogue::ALL {
            assert_ne!(shown.contains(metric.name), left_out.contains(&metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn dashboards_keep_the_rules_of_grafanas_linter() {
        for (name, board) in boards() {
            let faults = lint(&board, name != "map");
            assert!(faults.is_empty(), "{name}: {faults:#?}");
        }
    }

    #[test]
    fn panels_do_not_lie_on_each_other() {
        for (name, board) in boards() {
            let mut taken = BTreeSet::new();
            for panel in list(&board["panels"]) {
                let [x, y, w, h] =
                    ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
                assert!(x + w <= 24, "{name}: {}", panel["title"]);
                for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                    assert!(taken.insert(place), "{name}: {} lies on another at {place:?}", panel["title"]);
                }
            }
        }
    }

    #[test]
    fn rules_do_what_their_tests_say() {
        let output = Command::new("promtool")
            .args(["test", "rules", "portolan.test.yaml"])
            .current_dir(folder("rules"))
            .output()
            .expect("promtool is needed: apt-get install prometheus");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }

    #[test]
    fn what_an_expression_names_is_found() {
        let asked = names(
            "label_replace(sum by (a, b) (rate(portolan_x_total{job=~\"$job\",c!=\"d\"}[5m])) * on (e) \
             group_left (f) portolan_y, \"made\", \"$1\", \"read\", \"(.*)\") > time() - 300",
        );
        let metrics: Vec<&str> = asked.selectors.iter().map(|found| found.metric.as_str()).collect();
        assert_eq!(metrics, ["portolan_x_total", "portolan_y"]);
        let first = &asked.selectors[0];
        assert_eq!(first.matchers, [("job".to_owned(), "$job".to_owned()), ("c".to_owned(), "d".to_owned())]);
        assert_eq!((first.within.as_str(), first.range.as_str()), ("rate", "5m"));
        assert_eq!(asked.grouped.iter().collect::<Vec<_>>(), ["a", "b", "e", "f"]);
        assert_eq!(asked.made.iter().chain(&asked.read).collect::<Vec<_>>(), ["made", "read"]);
        let faults =
            unknown("portolan_edge_bytes_total{verdict=\"x\"} and portolan_nothing", &BTreeMap::new());
        assert_eq!(faults, ["portolan_edge_bytes_total has no label verdict", "no metric portolan_nothing"]);
    }
}
