//! The baseline's place among verdicts: behind deny, allow and documented intent, before the default; what it forbids
//! holds against documentation.

use portolan_flowtable::Conversation;

use super::Opinion;
use crate::assessment::{FindingKind, Severity, Verdict};
use crate::verdict::{Charge, Ruling};

/// Lets an opinion change a ruling that no explicit rule decided.
pub(crate) fn judge(opinion: &Opinion, conversation: &Conversation, mut ruling: Ruling) -> Ruling {
    let is_answered = conversation.connections.answered > 0;
    match opinion {
        Opinion::Forbidden { service, edge, forbidden } => {
            let why = if forbidden.reason.is_empty() { "no reason given" } else { &forbidden.reason };
            ruling.verdict = Verdict::Forbidden;
            ruling.decided_by = format!("baseline of {service} forbids {edge}");
            ruling.charges.push(Charge {
                kind: FindingKind::ForbiddenEdge,
                severity: if is_answered { Severity::High } else { Severity::Low },
                against: format!(
                    "baseline of {service} forbids {edge}: {why} ({} {:.10})",
                    forbidden.by,
                    forbidden.at.to_string()
                ),
            });
        }
        Opinion::Learned if is_undecided(ruling.verdict) => {
            ruling.verdict = Verdict::Learned;
            "the baseline learned it".clone_into(&mut ruling.decided_by);
        }
        // An attempt that nobody answered is no edge; scans are judged as such.
        Opinion::New { service, edge, release } if is_undecided(ruling.verdict) && is_answered => {
            ruling.verdict = Verdict::NewEdge;
            let release = match release {
                Some(image) => format!(", new with release {}", short_image(image)),
                None => String::new(),
            };
            ruling.decided_by = format!("the baseline of {service} has not learned it");
            ruling.charges.push(Charge {
                kind: FindingKind::NewEdge,
                severity: Severity::Medium,
                against: format!("the baseline of {service} has not learned {edge}{release}"),
            });
        }
        Opinion::Learned | Opinion::New { .. } | Opinion::None => {}
    }
    ruling
}

/// Returns whether nothing above the baseline decided.
fn is_undecided(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Unjudged | Verdict::Undeclared => true,
        Verdict::Documented
        | Verdict::UnexpectedPeer
        | Verdict::UndocumentedPort
        | Verdict::SpoofedSource
        | Verdict::Backscatter
        | Verdict::Unattributed
        | Verdict::Allowed
        | Verdict::Denied
        | Verdict::Learned
        | Verdict::NewEdge
        | Verdict::Forbidden => false,
    }
}

/// Writes an image's id with its first twelve digits; a reference whole.
fn short_image(image: &str) -> &str {
    match image.strip_prefix("sha256:") {
        Some(digits) => digits.get(..12).unwrap_or(digits),
        None => image,
    }
}
