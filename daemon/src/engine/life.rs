//! What happened to containers, numbered and kept for a while, and which images a service is new to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use portolan_exporter::LifeRow;
use portolan_flowtable::lifecycle::{Change, Happening};
use portolan_flowtable::{Timestamp, Workload};

/// Happenings published; as many as one tick may bring, and room for images.
const KEPT: usize = 1_024;
/// Services whose images are remembered, and images of each.
const SERVICES_MAX: usize = 4_096;
const IMAGES_MAX: usize = 8;

/// The latest happenings.
#[derive(Debug, Default)]
pub(super) struct Life {
    rows: VecDeque<LifeRow>,
    numbered: u64,
    left_out: u64,
    /// Images of each service, those seen latest last.
    images: BTreeMap<String, Vec<String>>,
    /// Services there were in the turn before whose images found no room: each is counted once.
    without_room: BTreeSet<String>,
}

/// What a turn brings of happenings.
#[derive(Clone, Debug, Default)]
pub struct Happenings {
    /// Since the turn before, oldest first.
    pub list: Vec<Happening>,
    /// Further ones, that found no room.
    pub left_out: u64,
}

impl Life {
    /// Takes a turn's happenings in.
    pub(super) fn turn(&mut self, at: Timestamp, happenings: Happenings, workloads: &[Arc<Workload>]) {
        self.left_out = self.left_out.saturating_add(happenings.left_out);
        happenings.list.into_iter().for_each(|happening| self.push(happening));
        for happening in self.new_images(at, workloads) {
            self.push(happening);
        }
    }

    /// Returns what is kept, oldest first.
    pub(super) fn rows(&self) -> Vec<LifeRow> {
        self.rows.iter().cloned().collect()
    }

    /// Returns how many happenings are in no row, neither these nor earlier ones.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn push(&mut self, happening: Happening) {
        if self.rows.len() >= KEPT {
            self.rows.pop_front();
        }
        self.numbered += 1;
        self.rows.push_back(LifeRow { number: self.numbered, happening });
    }

    /// Replicas that are first seen together are no news to each other, whatever their images.
    fn new_images(&mut self, at: Timestamp, workloads: &[Arc<Workload>]) -> Vec<Happening> {
        let mut news = Vec::new();
        let mut first: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for workload in workloads.iter().filter(|workload| !workload.image_id.is_empty()) {
            let service = workload.qualified();
            let Some(known) = self.images.get_mut(&service) else {
                let images = first.entry(service).or_default();
                if !images.contains(&workload.image_id) && images.len() < IMAGES_MAX {
                    images.push(workload.image_id.clone());
                }
                continue;
            };
            if known.contains(&workload.image_id) {
                continue;
            }
            let change = Change::NewImage { image_id: workload.image_id.clone(), previous: known.clone() };
            if known.len() >= IMAGES_MAX {
                known.remove(0);
            }
            known.push(workload.image_id.clone());
            news.push(Happening {
                at,
                container_id: workload.container_id.clone(),
                container: workload.container.clone(),
                service,
                image: workload.image.clone(),
                change,
                times: 1,
            });
        }
        let before = std::mem::take(&mut self.without_room);
        for (service, images) in first {
            if self.images.len() < SERVICES_MAX {
                self.images.insert(service, images);
                continue;
            }
            self.left_out = self.left_out.saturating_add(u64::from(!before.contains(&service)));
            self.without_room.insert(service);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(service: &str, image_id: &str) -> Arc<Workload> {
        Arc::new(Workload {
            project: "shop".to_owned(),
            service: service.to_owned(),
            image_id: image_id.to_owned(),
            ..Workload::default()
        })
    }

    fn told(life: &mut Life, workloads: &[Arc<Workload>]) -> Vec<(String, String, usize)> {
        let before = life.numbered;
        life.turn(Timestamp(1), Happenings::default(), workloads);
        let new = life.rows().into_iter().filter(|row| row.number > before);
        new.map(|row| {
            let Change::NewImage { image_id, previous } = row.happening.change else { panic!("{row:?}") };
            (row.happening.service, image_id, previous.len())
        })
        .collect()
    }

    #[test]
    fn an_image_is_new_to_a_service_that_ran_another() {
        let mut life = Life::default();
        let web = |image: &str| workload("web", image);
        assert_eq!(told(&mut life, &[web("a"), web("b"), workload("db", "")]), []);
        assert_eq!(told(&mut life, &[web("a"), workload("db", "d")]), []);
        let new = ("shop/web".to_owned(), "c".to_owned(), 2);
        assert_eq!(told(&mut life, &[web("a"), web("c"), web("c")]), [new]);
        assert_eq!(told(&mut life, &[web("b"), web("c")]), []);
        assert_eq!(told(&mut life, &[]), []);
        // A whole restart does not forget what ran before.
        assert_eq!(told(&mut life, &[web("a")]), []);
        for number in 0..40 {
            assert_eq!(told(&mut life, &[web(&number.to_string())]).len(), 1);
        }
        assert!(life.images.values().all(|images| images.len() <= IMAGES_MAX));
    }

    #[test]
    fn a_service_whose_images_find_no_room_is_counted_once_and_not_each_turn() {
        let mut life = Life::default();
        let services = |count: usize| -> Vec<Arc<Workload>> {
            (0..count).map(|number| workload(&format!("web-{number:04}"), "a")).collect()
        };
        let all = services(SERVICES_MAX + 3);
        for _ in 0..5 {
            assert_eq!(told(&mut life, &all), []);
        }
        assert_eq!(life.left_out(), 3);
        assert_eq!(told(&mut life, &services(SERVICES_MAX + 4)), []);
        assert_eq!(life.left_out(), 4);
        // Nothing of those that are gone is kept.
        assert_eq!(told(&mut life, &[]), []);
        assert!(life.without_room.is_empty());
    }

    #[test]
    fn the_latest_are_kept_and_numbered_without_gaps() {
        let happening = |at| Happening {
            at: Timestamp(at),
            container_id: String::new(),
            container: String::new(),
            service: String::new(),
            image: String::new(),
            change: Change::Start,
            times: 1,
        };
        let mut life = Life::default();
        for at in 0..2_000 {
            life.turn(Timestamp(at), Happenings { list: vec![happening(at)], left_out: 0 }, &[]);
        }
        let numbers: Vec<u64> = life.rows().iter().map(|row| row.number).collect();
        assert_eq!(numbers, (2_000 - KEPT as u64 + 1..=2_000).collect::<Vec<_>>());
    }
}
