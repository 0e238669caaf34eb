//! Reading `[groups]`, `[defaults]`, `[[rule]]` and `[standard]` of a contract.

use std::collections::BTreeMap;
use std::ops::Range;

use ipnet::IpNet;
use portolan_flowtable::{Protocol, Timestamp};
use toml_edit::{Item, TableLike, Value};

use super::{Place, Reader, Written, nearest, range};
use crate::assessment::{FindingKind, Severity};
use crate::icmp::IcmpPattern;
use crate::rules::{Action, DefaultRule, Exemption, PolicyRule, Ports, Relation, Rules, Scope, Standard};

/// Most rules of one file.
const RULES_MAX: usize = 10_000;
const RULE_KEYS: [&str; 13] = [
    "action",
    "id",
    "from",
    "to",
    "ports",
    "icmp",
    "direction",
    "severity",
    "owner",
    "purpose",
    "control",
    "expires",
    "comment",
];
const REMARKS: [&str; 4] = ["owner", "purpose", "control", "comment"];
const STANDARD_KEYS: [&str; 2] = ["enabled", "except"];
const EXCEPT_KEYS: [&str; 2] = ["reason", "expires"];
const SEVERITIES: [Severity; 4] = [Severity::Info, Severity::Low, Severity::Medium, Severity::High];
/// Protocols a rule may name without a port.
const PROTOCOLS: [(&str, Protocol); 5] = [
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("sctp", Protocol::SCTP),
    ("icmp", Protocol::ICMP),
    ("icmp6", Protocol::ICMPV6),
];

pub(super) type Groups = BTreeMap<String, Vec<IpNet>>;

impl Reader<'_> {
    /// Reads the named groups of addresses of one file.
    pub(super) fn groups(&mut self, root: &dyn TableLike) -> Groups {
        let mut groups = Groups::new();
        let Some(item) = root.get("groups") else { return groups };
        let Some(table) = item.as_table_like() else {
            self.wrong_type(item.span(), "groups", "a table", item.type_name());
            return groups;
        };
        for (name, item) in table.iter() {
            let mut ranges = Vec::new();
            for value in self.values(item, name) {
                let Some(text) = value.as_str() else {
                    self.wrong_type(value.span(), name, "ranges of addresses", value.type_name());
                    continue;
                };
                let address = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
                match text.parse::<IpNet>().or_else(|_| address()) {
                    Ok(range) => ranges.push(range),
                    Err(_) => {
                        let message =
                            format!("{text:?} is no range of addresses: expected as in \"10.0.0.0/8\"");
                        self.report(value.span(), message, None);
                    }
                }
            }
            groups.insert(name.to_owned(), ranges);
        }
        groups
    }

    pub(super) fn rules(&mut self, root: &dyn TableLike) -> Rules {
        let mut rules = Rules::default();
        if let Some(item) = root.get("rule") {
            let tables = self.tables(item, "rule", "[[rule]]");
            if tables.len() > RULES_MAX {
                self.report(item.span(), format!("{} rules are more than {RULES_MAX}", tables.len()), None);
                return rules;
            }
            rules.list = tables.into_iter().map(|(table, span)| self.policy_rule(table, span)).collect();
        }
        if let Some(item) = root.get("defaults") {
            match item.as_table_like() {
                Some(table) => rules.defaults = self.defaults(table),
                None => self.wrong_type(item.span(), "defaults", "a table", item.type_name()),
            }
        }
        if let Some(item) = root.get("standard") {
            match item.as_table_like() {
                Some(table) => rules.standard = self.standard(table),
                None => self.wrong_type(item.span(), "standard", "a table", item.type_name()),
            }
        }
        rules
    }

    fn defaults(&mut self, table: &dyn TableLike) -> BTreeMap<Relation, DefaultRule> {
        let names = Relation::ALL.map(Relation::name);
        self.check_keys(table, &names, "defaults");
        let mut defaults = BTreeMap::new();
        for relation in Relation::ALL {
            let Some(item) = table.get(relation.name()) else { continue };
            if let Some(action) = self.action(item, relation.name()) {
                let place = self.place(item.span());
                defaults.insert(relation, DefaultRule { place, action });
            }
        }
        defaults
    }

    fn action(&mut self, item: &Item, key: &str) -> Option<Action> {
        let text = self.text_of(item, key)?;
        let found = [Action::Deny, Action::Allow].into_iter().find(|action| action.name() == text);
        if found.is_none() {
            let hint = nearest(&text, ["deny", "allow"]);
            self.report(item.span(), format!("{key:?} is deny or allow, not {text:?}"), hint);
        }
        found
    }

    fn policy_rule(&mut self, table: &dyn TableLike, span: Option<Range<usize>>) -> PolicyRule {
        self.check_keys(table, &RULE_KEYS, "a rule");
        let action = match table.get("action") {
            Some(item) => self.action(item, "action"),
            None => {
                self.report(span.clone(), "this rule has no \"action\": deny or allow".to_owned(), None);
                None
            }
        };
        if !["from", "to", "ports", "icmp"].iter().any(|key| table.contains_key(key)) {
            let message = "this rule speaks of everything: give from, to, ports or icmp, or set [defaults]";
            self.report(span.clone(), message.to_owned(), None);
        }
        let mut remarks = BTreeMap::new();
        for key in REMARKS {
            if let Some(text) = table.get(key).and_then(|item| self.text_of(item, key)) {
                remarks.insert(key, text);
            }
        }
        let place = self.place(span);
        let id = table.get("id").and_then(|item| self.text_of(item, "id")).filter(|id| !id.is_empty());
        PolicyRule {
            id: id.unwrap_or_else(|| place.line()),
            place,
            action: action.unwrap_or(Action::Deny),
            scope: self.scope(table),
            severity: table.get("severity").and_then(|item| self.severity(item)).unwrap_or(Severity::High),
            remarks,
        }
    }

    fn severity(&mut self, item: &Item) -> Option<Severity> {
        let text = self.text_of(item, "severity")?;
        let found = SEVERITIES.into_iter().find(|severity| severity.name() == text);
        if found.is_none() {
            let hint = nearest(&text, SEVERITIES.map(Severity::name));
            self.report(
                item.span(),
                format!("unknown severity {text:?}: expected info, low, medium, high"),
                hint,
            );
        }
        found
    }

    fn scope(&mut self, table: &dyn TableLike) -> Scope {
        let mut ends = |key: &str| -> Vec<Written> {
            table.get(key).map(|item| self.expected(item, key).initiators).unwrap_or_default()
        };
        let (from, to) = (ends("from"), ends("to"));
        let ports = table.get("ports").map(|item| self.rule_ports(item)).unwrap_or_default();
        let icmp = table.get("icmp").map(|item| self.icmp(item)).unwrap_or_default();
        let is_both = match table.get("direction") {
            None => false,
            Some(item) => match self.text_of(item, "direction").as_deref() {
                None | Some("forward") => false,
                Some("both") => true,
                Some(other) => {
                    let hint = nearest(other, ["forward", "both"]);
                    self.report(
                        item.span(),
                        format!("\"direction\" is forward or both, not {other:?}"),
                        hint,
                    );
                    false
                }
            },
        };
        let expires = table.get("expires").and_then(|item| self.expires(item));
        // A list that is there and empty selects nobody; left out, it would select all.
        let lists = [
            ("from", from.is_empty()),
            ("to", to.is_empty()),
            ("ports", ports.is_empty()),
            ("icmp", icmp.is_empty()),
        ];
        for (key, list) in lists {
            if let Some(item) =
                table.get(key).filter(|item| list && item.as_array().is_some_and(|it| it.is_empty()))
            {
                self.report(
                    item.span(),
                    format!("an empty {key:?} speaks of nothing: leave it out for all"),
                    None,
                );
            }
        }
        Scope { from, to, ports, icmp, is_both, expires }
    }

    /// Reads kinds of ICMP messages.
    fn icmp(&mut self, item: &Item) -> Vec<IcmpPattern> {
        let mut patterns = Vec::new();
        for value in self.values(item, "icmp") {
            let text = match value {
                Value::String(text) => text.value().clone(),
                Value::Integer(number) => number.value().to_string(),
                Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)
                | Value::InlineTable(_) => {
                    let expected = "texts as in \"echo-request\" or \"3/1\"";
                    self.wrong_type(value.span(), "icmp", expected, value.type_name());
                    continue;
                }
            };
            match IcmpPattern::parse(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err((message, hint)) => self.report(value.span(), message, hint),
            }
        }
        patterns
    }

    fn rule_ports(&mut self, item: &Item) -> Vec<Ports> {
        let mut ports = Vec::new();
        for value in self.values(item, "ports") {
            let text = match value {
                Value::String(text) => text.value().clone(),
                Value::Integer(number) => number.value().to_string(),
                Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)
                | Value::InlineTable(_) => {
                    self.wrong_type(value.span(), "ports", "texts as in \"5432/tcp\"", value.type_name());
                    continue;
                }
            };
            if let Some((_, protocol)) = PROTOCOLS.iter().find(|(name, _)| *name == text) {
                ports.push(Ports::All(*protocol));
                continue;
            }
            match range(&text) {
                Ok((first, last, protocol)) => ports.push(Ports::Range(first, last, protocol)),
                Err((message, hint)) => self.report(value.span(), message, hint),
            }
        }
        ports
    }

    /// Reads a date (its first moment, in UTC) or a time.
    fn expires(&mut self, item: &Item) -> Option<Timestamp> {
        let time = item.as_datetime().map(ToString::to_string);
        let Some(text) = time.or_else(|| item.as_str().map(str::to_owned)) else {
            self.wrong_type(item.span(), "expires", "a date as in 2027-01-31", item.type_name());
            return None;
        };
        let whole = if text.contains(['T', 't', ' ']) { text.clone() } else { format!("{text}T00:00:00Z") };
        let read = whole.parse().ok();
        if read.is_none() {
            let message =
                format!("\"expires\" takes a date as in 2027-01-31, or a time with its zone, not {text:?}");
            self.report(item.span(), message, None);
        }
        read
    }

    fn standard(&mut self, table: &dyn TableLike) -> Vec<Standard> {
        let names: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.name()).collect();
        self.check_keys(table, &names, "standard");
        let mut all = Vec::new();
        for kind in FindingKind::ALL {
            let Some(item) = table.get(kind.name()) else { continue };
            let Some(own) = item.as_table_like() else {
                self.wrong_type(item.span(), kind.name(), "a table", item.type_name());
                continue;
            };
            let own_keys = kind.thresholds().iter().map(|threshold| threshold.name);
            let ports_key = kind.names_ports().then_some("ports");
            let keys: Vec<&str> = STANDARD_KEYS.into_iter().chain(own_keys).chain(ports_key).collect();
            self.check_keys(own, &keys, &format!("standard.{}", kind.name()));
            let thresholds = self.thresholds(kind, own);
            let ports = own.get("ports").filter(|_| kind.names_ports()).map(|item| self.login_ports(item));
            let is_enabled = own.get("enabled").is_none_or(|item| match item.as_bool() {
                Some(is_enabled) => is_enabled,
                None => {
                    self.wrong_type(item.span(), "enabled", "true or false", item.type_name());
                    true
                }
            });
            let tables = match own.get("except") {
                Some(item) => self.tables(item, "except", &format!("[[standard.{}.except]]", kind.name())),
                None => Vec::new(),
            };
            let exempt = tables.into_iter().map(|(table, span)| self.exemption(kind, table, span)).collect();
            all.push(Standard {
                place: self.place(item.span()),
                kind,
                is_enabled,
                thresholds,
                ports,
                exempt,
            });
        }
        all
    }

    /// Reads the ports passwords are guessed at: of TCP, as nothing else opens and ends connections.
    fn login_ports(&mut self, item: &Item) -> Vec<Ports> {
        let ports = self.rule_ports(item);
        let is_tcp = |ports: &Ports| match ports {
            Ports::Range(_, _, protocol) | Ports::All(protocol) => *protocol == Protocol::TCP,
        };
        if let Some(other) = ports.iter().find(|ports| !is_tcp(ports)) {
            let message = format!("\"ports\" of password_guessing are of TCP, not {other}");
            self.report(item.span(), message, Some("22/tcp".to_owned()));
        }
        if item.as_array().is_some_and(|list| list.is_empty()) {
            let message = "an empty \"ports\" speaks of nothing: leave it out for the ports that are known, or set enabled = false";
            self.report(item.span(), message.to_owned(), None);
        }
        ports
    }

    fn thresholds(&mut self, kind: FindingKind, table: &dyn TableLike) -> BTreeMap<&'static str, u64> {
        let mut thresholds = BTreeMap::new();
        for threshold in kind.thresholds() {
            let Some(item) = table.get(threshold.name) else { continue };
            let Some(number) = item.as_integer() else {
                self.wrong_type(item.span(), threshold.name, "a whole number", item.type_name());
                continue;
            };
            let said = u64::try_from(number).unwrap_or(0);
            let within = said.clamp(threshold.least, threshold.most);
            if number < 0 || within != said {
                let message = format!(
                    "{:?} ({}) is from {} to {}, not {number}",
                    threshold.name, threshold.means, threshold.least, threshold.most
                );
                self.report(item.span(), message, Some(within.to_string()));
                continue;
            }
            thresholds.insert(threshold.name, said);
        }
        thresholds
    }

    fn exemption(
        &mut self,
        kind: FindingKind,
        table: &dyn TableLike,
        span: Option<Range<usize>>,
    ) -> Exemption {
        let keys: Vec<&str> = kind.exempts_by().iter().copied().chain(EXCEPT_KEYS).collect();
        self.check_keys(table, &keys, &format!("an exemption from {}", kind.name()));
        let reason = table.get("reason").and_then(|item| self.text_of(item, "reason")).unwrap_or_default();
        if reason.is_empty() {
            self.report(span.clone(), "this exemption has no \"reason\"".to_owned(), None);
        }
        let place: Place = self.place(span);
        Exemption { place, scope: self.scope(table), reason }
    }
}
