//! Writes the sample picture where a person can look at it.
mod support;

use portolan_graphs::{Graph, Group};
use portolan_policy::Contract;

#[test]
fn sample() {
    let contract = Contract::parse(support::CONTRACT, "contract.toml").unwrap();
    let assessment = contract.assess(support::shop());
    println!("{:#?}\n{:?}\n{:?}", assessment.findings, assessment.warnings, assessment.contract);
    for group in Group::ALL {
        let graph = Graph::draw(&assessment, group);
        std::fs::write(format!("/tmp/shop-{}.dot", group.name()), graph.to_dot()).unwrap();
        std::fs::write(format!("/tmp/shop-{}.mmd", group.name()), graph.to_mermaid()).unwrap();
    }
}
