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
///
/// `own` is the user id the daemon runs as.
pub(crate) fn carry_out(
    chart: &mut Chart,
    order: Order,
    own: u32,
    now: Timestamp,
    keep: impl FnOnce(&Chart) -> Result<(), String>,
) -> Carried {
    let mut carried = Carried::default();
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
            let image = if reference.is_empty() { &key.image } else { reference };
            let at = if image.is_empty() { "" } else { "@" };
            format!("{what}: {}{at}{image}\n", key.service)
        })
        .collect();
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use portolan_flowtable::Names;
    use portolan_policy::Contract;
    use portolan_policy::baseline::Enough;
    use portolan_policy::findings::Docket;

    use super::*;
    use crate::engine::{ChartOptions, Source};

    const NOW: Timestamp = Timestamp(1_795_132_800 * Timestamp::SECOND);
    const BASELINE: &str = "version = 1\n[[service]]\nname = \"shop/db\"\n";

    fn chart() -> Chart {
        let options = ChartOptions { source: Source::Live, withhold: 0, flows_kept: 1 };
        let mut chart = Chart::new(options, Arc::new(Names::default()), Arc::new(Contract::default()));
        chart.set_docket(Docket::new(1));
        let baseline = Baseline::parse(BASELINE, "baseline.toml", Enough::default());
        chart.set_baseline(baseline.unwrap(), true);
        chart
    }

    /// Has an order carried out for `by`, where the daemon runs as 7; its answer, and whether it was written down.
    fn ordered(by: u32, what: &str, with: &[(&str, &str)], is_kept: bool) -> (OrderAnswer, bool) {
        let with: BTreeMap<String, String> =
            with.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (order, mut answered) = Order::new(by, what.to_owned(), with);
        let mut has_kept = false;
        carry_out(&mut chart(), order, 7, NOW, |_| {
            has_kept = true;
            if is_kept { Ok(()) } else { Err("no room".to_owned()) }
        });
        (answered.try_recv().unwrap(), has_kept)
    }

    #[test]
    fn only_root_and_the_daemons_own_user_give_orders_and_what_changes_is_kept() {
        let wrong = |text: &str| OrderAnswer::Wrong(text.to_owned());
        let done = |text: &str| OrderAnswer::Done(text.to_owned());
        let may_not = "uid 1000 may not: only root and the user the daemon runs as (uid 7)";
        let service = [("service", "db")];
        #[rustfmt::skip]
        let cases = [
            // by   what                 with             room   answer                                                           kept
            (0,     "baseline/freeze",   &service[..],    true,  done("freeze: shop/db\n"),                                      true),
            (7,     "baseline/freeze",   &service[..],    true,  done("freeze: shop/db\n"),                                      true),
            (1000,  "baseline/freeze",   &service[..],    true,  OrderAnswer::Forbidden(may_not.to_owned()),                      false),
            (1000,  "baseline/text",     &[][..],         true,  OrderAnswer::Forbidden(may_not.to_owned()),                      false),
            (0,     "baseline/freeze",   &service[..],    false, wrong("done, and not kept for after a restart: no room"),        true),
            (0,     "baseline/melt",     &service[..],    true,  wrong("unknown order baseline/melt"),                            false),
            (0,     "findings/ack",      &[("id", "aaaa")][..], true, wrong("no finding \"aaaa\": portolan findings --handled lists them"), false),
            (0,     "nonsense",          &[][..],         true,  wrong("unknown order \"nonsense\""),                             false),
        ];
        for (by, what, with, room, answer, kept) in cases {
            assert_eq!(ordered(by, what, with, room), (answer, kept), "{by} {what}");
        }
    }
}
