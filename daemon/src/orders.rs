//! Orders to the running daemon: who may give them, what they do, what is told of them.

use portolan_exporter::events::BaselineNews;
use portolan_exporter::http::{Order, OrderAnswer};
use portolan_flowtable::Timestamp;
use portolan_policy::Alert;
use portolan_policy::baseline::{Act, Baseline, Edge};
use portolan_policy::findings::FindingAct;

use crate::engine::Chart;

/// What carrying an order out brought, besides its answer.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// News of findings.
    pub(crate) alerts: Vec<Alert>,
    /// News of the baseline.
    pub(crate) baseline: Option<BaselineNews>,
}

/// Carries an order out: for root, and for the user the daemon runs as. Answers whoever asked once `keep` has written
/// down what changed.
pub(crate) fn carry_out(
    chart: &mut Chart,
    order: Order,
    now: Timestamp,
    keep: impl FnOnce(&Chart) -> Result<(), String>,
) -> Carried {
    let mut carried = Carried::default();
    let own = rustix::process::geteuid().as_raw();
    if order.by != 0 && order.by != own {
        let sentence =
            format!("uid {} may not: only root and the user the daemon runs as (uid {own})", order.by);
        order.answer(OrderAnswer::Forbidden(sentence));
        return carried;
    }
    let done = match order.what.split_once('/') {
        Some(("findings", what)) => findings(chart, &order, what, now, &mut carried),
        Some(("baseline", what)) => baseline(chart, &order, what, now, &mut carried),
        Some(_) | None => Err(format!("unknown order {:?}", order.what)),
    };
    let is_change = carried.baseline.is_some() || !carried.alerts.is_empty();
    let done = match (done, is_change) {
        (Ok(text), true) => match keep(chart) {
            Ok(()) => Ok(text),
            Err(error) => Err(format!("done, and not kept for after a restart: {error}")),
        },
        (done, _) => done,
    };
    order.answer(match done {
        Ok(text) => OrderAnswer::Done(text),
        Err(sentence) => OrderAnswer::Wrong(sentence),
    });
    carried
}

fn findings(
    chart: &mut Chart,
    order: &Order,
    what: &str,
    now: Timestamp,
    carried: &mut Carried,
) -> Result<String, String> {
    let with = |name: &str| order.with.get(name).map_or("", String::as_str);
    let act = match what {
        "ack" => FindingAct::Acknowledge,
        "reopen" => FindingAct::Reopen,
        "suppress" => {
            let until = with("until").parse().map_err(|_| format!("until {:?} is no time", with("until")))?;
            FindingAct::Suppress { until }
        }
        other => return Err(format!("unknown order findings/{other}")),
    };
    let Some(docket) = chart.docket_mut() else {
        return Err("this daemon holds no findings".to_owned());
    };
    let by = format!("uid {}", order.by);
    let alert = docket.act(with("id"), &act, &by, with("reason"), now).map_err(|error| error.to_string())?;
    let finding = &alert.finding;
    let text = format!(
        "F-{}  {}  {} -> {}\n",
        finding.id.get(..6).unwrap_or(&finding.id),
        finding.kind.words(),
        finding.initiator,
        finding.responder
    );
    carried.alerts.push(alert);
    Ok(text)
}

fn baseline(
    chart: &mut Chart,
    order: &Order,
    what: &str,
    now: Timestamp,
    carried: &mut Carried,
) -> Result<String, String> {
    let with = |name: &str| order.with.get(name).map_or("", String::as_str);
    let Some(baseline) = chart.baseline_mut() else {
        return Err("this daemon has no baseline: name its file in [baseline] of portolan.toml".to_owned());
    };
    if what == "text" {
        return Ok(baseline.to_text());
    }
    if what == "show" {
        let service = Some(with("service")).filter(|service| !service.is_empty());
        return crate::baseline::show(baseline, service).map_err(|failure| failure.message);
    }
    let by = format!("uid {}", order.by);
    let asked = Asked { service: with("service"), edge: with("edge"), reason: with("reason"), by: &by };
    let text = act(baseline, what, &asked, now)?;
    carried.baseline = Some(BaselineNews {
        action: what.to_owned(),
        service: asked.service.to_owned(),
        edge: Some(asked.edge.to_owned()).filter(|edge| !edge.is_empty()),
        by: Some(by.clone()),
        reason: Some(asked.reason.to_owned()).filter(|reason| !reason.is_empty()),
    });
    Ok(text)
}

/// What somebody asks to be done to a baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// `SERVICE` or `SERVICE@IMAGE`.
    pub(crate) service: &'a str,
    /// An edge, or empty.
    pub(crate) edge: &'a str,
    /// Why, or empty.
    pub(crate) reason: &'a str,
    /// Who.
    pub(crate) by: &'a str,
}

/// Does what is asked, and says to which profiles.
///
/// # Errors
///
/// Returns what is unknown or cannot be done.
pub(crate) fn act(
    baseline: &mut Baseline,
    what: &str,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<String, String> {
    let edge = || asked.edge.parse::<Edge>().map_err(|error| error.to_string());
    let act = match (what, asked.edge.is_empty()) {
        ("promote", true) => Act::Promote,
        ("promote", false) => Act::Learn(edge()?),
        ("forget", true) => Act::Reset,
        ("forget", false) => Act::Forget(edge()?),
        ("forbid", _) => {
            Act::Forbid { edge: edge()?, by: asked.by.to_owned(), reason: asked.reason.to_owned() }
        }
        ("permit", _) => Act::Permit(edge()?),
        ("freeze", _) => Act::Freeze,
        ("thaw", _) => Act::Thaw,
        (other, _) => return Err(format!("unknown order baseline/{other}")),
    };
    let acted = baseline.act(asked.service, &act, now).map_err(|error| error.to_string())?;
    if acted.changed.is_empty() {
        return Ok("nothing to change: it is so already\n".to_owned());
    }
    let lines: Vec<String> = acted
        .changed
        .iter()
        .map(|key| {
            let profile = baseline.profiles().get(key);
            let reference = profile.map_or("", |profile| profile.reference.as_str());
            format!("{what}: {}@{}\n", key.service, if reference.is_empty() { &key.image } else { reference })
        })
        .collect();
    Ok(lines.concat())
}
