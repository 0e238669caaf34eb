//! The rules of Grafana's dashboard-linter, as far as they are about what is in a dashboard, written anew. Where we go
//! another way, the rule says so.

use serde_json::Value;

use crate::promql::names;

/// Returns what a dashboard does against the rules. `is_prometheus` is false where another data source is asked.
pub(crate) fn lint(board: &Value, is_prometheus: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut rule = |rule: &str, is_kept: bool, what: &str| {
        if !is_kept {
            faults.push(format!("{rule}: {what}"));
        }
    };
    rule("uneditable-dashboard", board["editable"] == false, "may be edited");
    let variables = list(&board["templating"]["list"]);
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name).copied();
    if is_prometheus {
        let source = variable("datasource");
        let is_source = source.is_some_and(|source| {
            source["type"] == "datasource"
                && source["query"] == "prometheus"
                && source["label"] == "Data source"
        });
        rule("template-datasource", is_source, "no variable `datasource` for Prometheus");
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let is_kept = variable(name).is_some_and(|variable| {
                variable["type"] == "query"
                    && variable["label"] == label
                    && variable["multi"] == true
                    && variable["includeAll"] == true
                    && variable["allValue"] == ".+"
                    && variable["datasource"]["uid"] == "${datasource}"
            });
            rule(&format!("template-{name}"), is_kept, "not as its sisters are");
        }
    }
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let (name, query) = (text(&variable["name"]), text(&variable["query"]["query"]));
        rule("template-on-time-change-reload", variable["refresh"] == 2, name);
        let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
        let is_label = inner.and_then(|inner| inner.rsplit_once(", ")).is_some_and(|(asked, label)| {
            !names(asked).selectors.is_empty() && label.bytes().all(|byte| byte.is_ascii_lowercase())
        });
        rule("template-label-promql", is_label, query);
    }
    for panel in list(&board["panels"]) {
        let title = text(&panel["title"]);
        rule("panel-title-description", !title.is_empty() && !text(&panel["description"]).is_empty(), title);
        let wanted = if is_prometheus { "${datasource}" } else { "${infinity}" };
        rule("panel-datasource", panel["datasource"]["uid"] == wanted, title);
        let targets = list(&panel["targets"]);
        rule("panel-no-targets", !targets.is_empty(), title);
        // A node graph has its units in its options; a table in the override of its column.
        let unit = text(&panel["fieldConfig"]["defaults"]["unit"]);
        let is_unit = UNITS.contains(&unit) || (panel["type"] == "nodeGraph" && !is_prometheus);
        rule("panel-units", is_unit, &format!("{title}: {unit:?}"));
        for overriding in list(&panel["fieldConfig"]["overrides"]) {
            for property in list(&overriding["properties"]) {
                let unit = text(&property["value"]);
                rule(
                    "panel-units",
                    property["id"] != "unit" || UNITS.contains(&unit),
                    &format!("{title}: {unit:?}"),
                );
            }
        }
        for target in targets {
            rule("target-datasource", target["datasource"]["uid"] == wanted, title);
            if !is_prometheus {
                continue;
            }
            let expr = text(&target["expr"]);
            let asked = names(expr);
            // promtool reads every expression too (deploy/prove).
            rule("target-promql", !asked.selectors.is_empty() && is_balanced(expr), expr);
            for selector in &asked.selectors {
                for label in ["job", "instance"] {
                    let matcher = (label.to_owned(), format!("${label}"));
                    rule(&format!("target-{label}"), selector.matchers.contains(&matcher), &selector.metric);
                }
                // Curves ask over the interval between two points; what is asked once is asked over the time shown.
                let range = if target["instant"] == true { "$__range" } else { "$__rate_interval" };
                let is_kept = selector.range.is_empty() || selector.range == range;
                rule("target-rate-interval", is_kept, &format!("{title}: [{}]", selector.range));
                // A counter is shown by what it grew. Of an edge seen first in the time shown that is all it holds, and
                // `increase()` would not see it: that, and only that, is last_over_time's.
                if selector.metric.ends_with("_total") {
                    let is_rate = matches!(selector.within.as_str(), "rate" | "increase");
                    let is_growth = selector.within == "last_over_time"
                        && expr.contains(&format!("or increase({}", selector.metric));
                    rule(
                        "target-counter-agg",
                        is_rate || is_growth,
                        &format!("{title}: {}", selector.metric),
                    );
                }
            }
        }
    }
    faults
}

/// Units of Grafana's that we use.
const UNITS: [&str; 8] = ["none", "short", "bytes", "Bps", "cps", "s", "percentunit", "dateTimeAsIso"];

fn is_balanced(expr: &str) -> bool {
    let depth = expr.chars().try_fold(0_i32, |depth, sign| match sign {
        '(' | '{' | '[' => Some(depth + 1),
        ')' | '}' | ']' => Some(depth - 1).filter(|depth| *depth >= 0),
        _ => Some(depth),
    });
    depth == Some(0)
}

pub(crate) fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map(|values| values.iter().collect()).unwrap_or_default()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
