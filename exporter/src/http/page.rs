//! The page in the browser and what it is made of. All of it is embedded; nothing is asked of anybody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portolan_graphs::{Boxes, Group, Map};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::escape;
use crate::publication::{FlowRecord, Publication};
use crate::view::{View, flows_of};

pub(super) const PAGE: &str = include_str!("../../assets/page.html");
pub(super) const STYLE: &str = include_str!("../../assets/map.css");
pub(super) const ICON: &str = include_str!("../../assets/icon.svg");
/// Plain scripts that share one scope, in this order.
pub(super) const SCRIPT: &str = concat!(
    include_str!("../../assets/words.js"),
    include_str!("../../assets/filter.js"),
    include_str!("../../assets/picture.js"),
    include_str!("../../assets/panels.js"),
    include_str!("../../assets/arrivals.js"),
    include_str!("../../assets/page.js"),
);

/// What the page may do: run its own script, be styled by its own sheet, ask its own host. No text ever becomes markup.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                 img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                                 require-trusted-types-for 'script'; trusted-types 'none'";

/// Where the page's head ends, and with it what a picture that stands for itself replaces.
const HEAD_ENDS: &str = "</head>";
/// Lines of the page's head that name what is served beside it.
const BESIDE: [&str; 3] = [
    "<link rel=\"icon\" href=\"/icon.svg\">\n",
    "<link rel=\"stylesheet\" href=\"/map.css\">\n",
    "<script src=\"/map.js\" defer></script>\n",
];

/// What a picture that stands for itself holds.
#[derive(Serialize)]
struct Held<'a> {
    views: Vec<View<'a>>,
    flows: &'a [FlowRecord],
}

/// Writes the map as one file that needs no daemon and asks nobody for anything: by service and by container, with
/// the findings and the latest flows.
///
/// # Errors
///
/// None that a publication can cause.
pub fn self_contained(publication: &Publication) -> Result<String, serde_json::Error> {
    let views = [Group::Service, Group::Container].map(|group| View::of(publication, group, Boxes::Project));
    page_of(views.into(), publication)
}

/// Returns the same page with maps that were drawn otherwise than of the publication: of several hosts.
///
/// # Errors
///
/// None that a publication can cause.
pub fn self_contained_with(publication: &Publication, maps: Vec<Map>) -> Result<String, serde_json::Error> {
    page_of(maps.into_iter().map(|map| View::with(publication, map)).collect(), publication)
}

fn page_of(views: Vec<View<'_>>, publication: &Publication) -> Result<String, serde_json::Error> {
    let held = serde_json::to_string(&Held { views, flows: flows_of(publication) })?;
    // Hostile characters first; then nothing in it can end the element.
    let held = escape::json(&held).replace('<', "\\u003c");
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {}; style-src {}; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'\">\n\
         <style>{STYLE}</style>\n{HEAD_ENDS}",
        hash(SCRIPT),
        hash(STYLE),
    );
    let foot = format!(
        "<script type=\"application/json\" id=\"held\">{held}</script>\n<script>{SCRIPT}</script>\n</body>"
    );
    let mut page = PAGE.to_owned();
    for line in BESIDE {
        page = page.replacen(line, "", 1);
    }
    Ok(page.replacen(HEAD_ENDS, &head, 1).replacen("</body>", &foot, 1))
}
