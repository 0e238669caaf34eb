//! A dashboard, put together from panels. Queries are made from the catalogue's own constants.

use portolan_exporter::catalogue::Metric;
use serde_json::{Value, json};

/// What tells one edge from another.
pub(crate) const EDGE: &str =
    "job, instance, host, client, client_project, server, server_project, port, protocol";

/// Selects a family on the hosts that are looked at.
pub(crate) fn of(metric: Metric, matchers: &str) -> String {
    let further = if matchers.is_empty() { String::new() } else { format!(",{matchers}") };
    format!("{}{{job=~\"$job\",instance=~\"$instance\"{further}}}", metric.name)
}

/// What a counter of edges grew by in the time shown. Edges first seen in it count whole: `increase()` alone misses what
/// a series held at its first scrape, and with it every connection that was the first and the last.
pub(crate) fn growth(counter: Metric, matchers: &str) -> String {
    let counter = of(counter, matchers);
    let first = of(portolan_exporter::catalogue::EDGE_FIRST_SEEN, "");
    format!(
        "((last_over_time({counter}[$__range]) and on ({EDGE}) \
         (last_over_time({first}[$__range]) > time() - $__range_s)) or increase({counter}[$__range]))"
    )
}

/// A dashboard under construction: panels go from left to right, and down where a line is full.
#[derive(Debug)]
pub(crate) struct Board {
    file: &'static str,
    title: &'static str,
    description: &'static str,
    variables: Vec<Value>,
    panels: Vec<Value>,
    at: (u64, u64),
    line: u64,
}

/// What a column or an axis counts in, in Grafana's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit(pub(crate) &'static str);

/// Title and what it means.
pub(crate) type Words = (&'static str, &'static str);

impl Board {
    pub(crate) fn new(file: &'static str, title: &'static str, description: &'static str) -> Self {
        let datasource = json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "",
        });
        let build = portolan_exporter::catalogue::BUILD_INFO.name;
        Self {
            file,
            title,
            description,
            variables: vec![
                datasource,
                variable("job", "Job", &format!("label_values({build}, job)"), Choice::Many(".+")),
                variable(
                    "instance",
                    "Instance",
                    &format!("label_values({build}{{job=~\"$job\"}}, instance)"),
                    Choice::Many(".+"),
                ),
            ],
            panels: Vec::new(),
            at: (0, 0),
            line: 0,
        }
    }

    pub(crate) fn file(&self) -> &'static str {
        self.file
    }

    /// Adds a variable.
    pub(crate) fn choose(mut self, name: &str, label: &str, query: &str, choice: Choice) -> Self {
        self.variables.push(variable(name, label, query, choice));
        self
    }

    /// Replaces all variables.
    pub(crate) fn only(mut self, variables: Vec<Value>) -> Self {
        self.variables = variables;
        self
    }

    /// Adds one number, or a word for each series.
    pub(crate) fn stat(self, words: Words, width: u64, unit: Unit, expr: &str, shows: Shows) -> Self {
        let (legend, mode) = match shows {
            Shows::Value => ("", "value"),
            Shows::Name(legend) => (legend, "name"),
        };
        let panel = json!({
            "type": "stat",
            "targets": [instant("A", expr, legend)],
            "fieldConfig": { "defaults": { "unit": unit.0, "noValue": "none" }, "overrides": [] },
            "options": {
                "colorMode": "none", "graphMode": "none", "justifyMode": "auto", "orientation": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "textMode": mode,
            },
        });
        self.panel(words, (width, 4), panel)
    }

    /// Adds curves.
    pub(crate) fn curves(self, words: Words, width: u64, unit: Unit, queries: &[(&str, &str)]) -> Self {
        let targets: Vec<Value> = queries
            .iter()
            .zip('A'..)
            .map(|((expr, legend), letter)| {
                json!({
                    "refId": letter, "expr": expr, "legendFormat": legend, "range": true, "instant": false,
                    "datasource": source(),
                })
            })
            .collect();
        let panel = json!({
            "type": "timeseries",
            "targets": targets,
            "fieldConfig": {
                "defaults": { "unit": unit.0, "min": 0, "custom": { "fillOpacity": 8, "showPoints": "auto", "spanNulls": false } },
                "overrides": [],
            },
            "options": {
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            },
        });
        self.panel(words, (width, 8), panel)
    }

    /// Adds a table of one query: labels as columns with these headings, then the value; sorted by the value, largest
    /// first.
    pub(crate) fn table(
        self,
        words: Words,
        width: u64,
        expr: &str,
        columns: &[(&str, &str)],
        value: (&str, Unit),
    ) -> Self {
        let mut rename = serde_json::Map::new();
        let mut place = serde_json::Map::new();
        for ((label, heading), position) in columns.iter().zip(0..) {
            rename.insert((*label).to_owned(), json!(heading));
            place.insert((*label).to_owned(), json!(position));
        }
        rename.insert("Value".to_owned(), json!(value.0));
        place.insert("Value".to_owned(), json!(columns.len()));
        // What a heading is left out for: the hosts' own labels, and the scrape's.
        let names: Vec<&str> = columns.iter().map(|(label, _)| *label).chain(["Value"]).collect();
        let panel = json!({
            "type": "table",
            "targets": [table_query("A", expr)],
            "fieldConfig": {
                "defaults": { "unit": "none", "custom": { "align": "auto", "filterable": true } },
                "overrides": [{
                    "matcher": { "id": "byName", "options": value.0 },
                    "properties": [{ "id": "unit", "value": value.1.0 }],
                }],
            },
            "options": { "showHeader": true, "cellHeight": "sm", "sortBy": [{ "displayName": value.0, "desc": true }] },
            "transformations": [
                { "id": "filterFieldsByName", "options": { "include": { "names": names } } },
                { "id": "organize", "options": { "excludeByName": {}, "indexByName": place, "renameByName": rename } },
            ],
        });
        self.panel(words, (width, 8), panel)
    }

    /// Adds any panel, as high as it is wide or long.
    pub(crate) fn panel(mut self, words: Words, size: (u64, u64), mut panel: Value) -> Self {
        let (width, height) = size;
        if self.at.0 + width > 24 {
            self.at = (0, self.at.1 + self.line);
            self.line = 0;
        }
        let own = json!({
            "id": self.panels.len() + 1, "title": words.0, "description": words.1,
            "gridPos": { "x": self.at.0, "y": self.at.1, "w": width, "h": height },
        });
        if panel.get("datasource").is_none() {
            panel["datasource"] = source();
        }
        merge(&mut panel, own);
        self.panels.push(panel);
        self.at.0 += width;
        self.line = self.line.max(height);
        self
    }

    /// Writes it as Grafana provisions it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": null, "uid": format!("portolan-{}", self.file), "title": format!("Portolan / {}", self.title),
            "description": self.description, "tags": ["portolan"], "schemaVersion": 39, "version": 1,
            "editable": false, "graphTooltip": 1, "timezone": "utc", "refresh": "30s", "fiscalYearStartMonth": 0,
            "weekStart": "", "liveNow": false,
            "time": { "from": "now-1h", "to": "now" },
            "timepicker": {},
            "annotations": { "list": [] },
            "links": [{
                "type": "dashboards", "title": "Portolan", "tags": ["portolan"], "asDropdown": true, "includeVars": true,
                "keepTime": true, "icon": "external link", "targetBlank": false, "tooltip": "", "url": "",
            }],
            "templating": { "list": self.variables },
            "panels": self.panels,
        })
    }
}

/// What a stat shows of each series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shows {
    /// Its value.
    Value,
    /// Its name, by this legend.
    Name(&'static str),
}

/// How many values of a variable may be chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// One.
    One,
    /// Any number; all of them are this expression.
    Many(&'static str),
}

fn variable(name: &str, label: &str, query: &str, choice: Choice) -> Value {
    let mut variable = json!({
        "name": name, "label": label, "type": "query", "datasource": source(),
        "query": { "query": query, "refId": name }, "refresh": 2, "sort": 1, "regex": "", "hide": 0,
        "includeAll": false, "multi": false, "options": [], "skipUrlSync": false,
    });
    if let Choice::Many(all) = choice {
        let current = json!({ "selected": true, "text": "All", "value": "$__all" });
        let many = json!({ "includeAll": true, "multi": true, "allValue": all, "current": current });
        merge(&mut variable, many);
    }
    variable
}

pub(crate) fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn instant(letter: &str, expr: &str, legend: &str) -> Value {
    json!({
        "refId": letter, "expr": expr, "legendFormat": legend, "instant": true, "range": false, "datasource": source(),
    })
}

/// Asks for a table: a row a series, a column a label.
pub(crate) fn table_query(letter: &str, expr: &str) -> Value {
    json!({
        "refId": letter, "expr": expr, "format": "table", "instant": true, "range": false, "datasource": source(),
    })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
