//! Series that follow what changed are those of one that takes everything in anew.

use std::sync::Arc;

use portolan_exporter::exposition::render_with;
use portolan_exporter::{EdgeMemory, OwnMetrics, Publication, SeriesLimits};
use portolan_flowtable::{DocumentSource, InitiatorEvidence, Peer, Protocol, Workload};
use portolan_policy::{Judged, Verdict};

use crate::fixture::{at, external, judged, publication, workload};

/// Small, so that folds, admissions and expiries happen all the time.
const LIMITS: SeriesLimits =
    SeriesLimits { edges_max: 9, undocumented_ports_per_pair_max: 2, listeners_max: 4, linger_seconds: 5 };

#[test]
fn series_that_follow_changes_are_those_taken_in_anew() {
    let (mut follow_ups, mut expired, mut folded) = (0, 0, 0);
    for seed in 0..50 {
        let mut world = World::new(seed);
        let (mut following, mut anew) = (EdgeMemory::new(LIMITS), EdgeMemory::new(LIMITS));
        let mut before = 0_usize;
        for step in 0..40 {
            follow_ups += usize::from(world.step());
            let publication = world.publish();
            following.turn(&publication);
            anew.turn(&with_other_records(&publication));
            let series = |memory: &EdgeMemory| -> Vec<_> {
                let row = |(key, series): (&_, &portolan_exporter::collect::EdgeSeries)| {
                    (format!("{key:?}"), series.clone())
                };
                memory.series().map(row).collect()
            };
            assert_eq!(series(&following), series(&anew), "seed {seed}, step {step}");
            assert_eq!(following.folded(), anew.folded(), "seed {seed}, step {step}");
            let own = OwnMetrics::new();
            let page = |memory: &EdgeMemory| render_with(&publication, memory, &own);
            assert!(page(&following) == page(&anew), "seed {seed}, step {step}");
            let count = following.series().count();
            expired += before.saturating_sub(count);
            before = count;
        }
        folded += following.folded();
    }
    // What it is about did happen.
    assert!(follow_ups > 300 && expired > 30 && folded > 30, "{follow_ups} {expired} {folded}");
}

/// The same publication, whose containers are other records of the same containers: nothing of it can be followed.
fn with_other_records(publication: &Publication) -> Publication {
    let mut other = publication.clone();
    let copied = |workload: &Arc<Workload>| Arc::new(Workload::clone(workload));
    for judged in &mut other.assessment.judged {
        for end in [&mut judged.conversation.initiator, &mut judged.conversation.responder] {
            if let Peer::Workload { workload, .. } = end {
                *workload = copied(workload);
            }
        }
    }
    let snapshot = &mut other.assessment.snapshot;
    snapshot.workloads = snapshot.workloads.iter().map(copied).collect();
    other
}

/// A host whose services come and go and call each other.
struct World {
    random: u64,
    seconds: i64,
    services: Vec<Arc<Workload>>,
    living: Vec<bool>,
    said: Vec<Judged>,
}

impl World {
    fn new(seed: u64) -> Self {
        let services: Vec<Arc<Workload>> =
            ["web", "cart", "db", "mail"].into_iter().map(|name| workload("shop", name)).collect();
        Self { random: seed, seconds: 0, living: vec![true; services.len()], services, said: Vec::new() }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % end
    }

    /// Lets something happen. Returns whether all that was said before is said again, in its order.
    fn step(&mut self) -> bool {
        self.seconds += [1, 1, 1, 1, 1, 2, 6][self.below(7)];
        let mut goes_on = true;
        for _ in 0..self.below(4) {
            let place = self.below(self.said.len() + 1);
            match self.below(12) {
                0..5 => {
                    let what = self.below(7);
                    let Some(judged) = self.said.get_mut(place) else { continue };
                    let conversation = &mut judged.conversation;
                    match what {
                        0 => conversation.sent.bytes += 100,
                        1 => conversation.connections.answered += 1,
                        2 => conversation.rtt_p50 = Some(i64::try_from(place).unwrap()),
                        3 => conversation.network.push('x'),
                        4 => conversation.first_at = at(-i64::try_from(place).unwrap()),
                        5 => judged.documented_by = Some(DocumentSource::Run),
                        _ if judged.verdict == Verdict::Unjudged => judged.verdict = Verdict::Denied,
                        _ => judged.conversation.port.protocol = Protocol::UDP,
                    }
                    goes_on &= judged.conversation.port.protocol == Protocol::TCP;
                }
                5..8 => {
                    let call = self.call();
                    self.said.push(call);
                }
                8 => {
                    let call = self.call();
                    goes_on &= place == self.said.len();
                    self.said.insert(place, call);
                }
                9 => {
                    let verdicts = [Verdict::Documented, Verdict::UndocumentedPort, Verdict::Backscatter];
                    let verdict = verdicts[self.below(3)];
                    if let Some(judged) = self.said.get_mut(place) {
                        goes_on = false;
                        judged.verdict = verdict;
                        judged.conversation.evidence = InitiatorEvidence::Port;
                    }
                }
                10 => {
                    goes_on = false;
                    let service = self.below(self.living.len());
                    self.living[service] = !self.living[service];
                }
                _ => {
                    if place < self.said.len() {
                        goes_on = false;
                        self.said.remove(place);
                    }
                }
            }
        }
        goes_on
    }

    fn call(&mut self) -> Judged {
        let ends: Vec<Peer> = self
            .services
            .iter()
            .map(|workload| Peer::Workload {
                workload: Arc::clone(workload),
                address: "172.20.0.3".parse().unwrap(),
            })
            .chain([
                external(),
                Peer::Bare { address: "10.1.1.1".parse().unwrap() },
                Peer::Unclaimed { address: "172.20.0.77".parse().unwrap(), attachment: None },
            ])
            .collect();
        let (from, to) = (ends[self.below(ends.len())].clone(), ends[self.below(ends.len())].clone());
        let port = [80, 81, 82, 83, 40_000][self.below(5)];
        let mut call = judged(from, to, port, 1_000);
        if self.below(2) == 0 {
            call.documented_by = Some(DocumentSource::Image);
        }
        if self.below(3) == 0 {
            call.conversation.evidence = InitiatorEvidence::Port;
        }
        call
    }

    fn publish(&self) -> Publication {
        let mut publication = publication(self.seconds, self.said.clone());
        publication.assessment.snapshot.at = at(self.seconds);
        let living = self.services.iter().zip(&self.living).filter(|(_, is_living)| **is_living);
        publication.assessment.snapshot.workloads =
            living.map(|(workload, _)| Arc::clone(workload)).collect();
        publication
    }
}
